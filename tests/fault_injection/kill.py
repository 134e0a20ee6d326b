"""Trainings that are stopped at random moments and resumed end as if nothing had happened."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np

from tests.fault_injection.trainings import prepare

SAVES = 12
"""Checkpoints of the training, about."""
OBEYS_S = 10.0
"""A signal is obeyed within a step, tracing its graph included, and a save."""
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def once(work: Path, random: np.random.Generator) -> None:
    """One kill: half of them at any moment, half inside a save."""
    trainer, reference = prepare(work, random)
    if random.random() < 0.5:
        trainer.signal_after(random.uniform(0, reference.seconds))
    else:
        trainer.kill_inside_a_save(int(random.integers(1, SAVES)))
    assert trainer.finish() == reference.ended


def ten_in_one_run(work: Path, random: np.random.Generator) -> None:
    """Killed ten times on its way."""
    trainer, reference = prepare(work, random)
    for _ in range(10):
        trainer.signal_after(random.uniform(0, reference.seconds))
    assert trainer.finish() == reference.ended


def by_signal(work: Path, random: np.random.Generator) -> None:
    """SIGINT or SIGTERM at any moment: the exit code says so, soon; what was trained is kept."""
    trainer, reference = prepare(work, random)
    number = signal.SIGINT if random.random() < 0.5 else signal.SIGTERM
    child = trainer.start()
    child.wait(random.uniform(0.05, reference.seconds))
    was_running, asked = child.poll() is None, time.monotonic()
    child.send(number)
    code = child.end()
    if was_running:
        took = time.monotonic() - asked
        assert code in (EXIT_CODES[number], 0), f"exit code {code}: {child.said()}"
        assert "Traceback" not in child.said(), child.said()
        assert took < OBEYS_S, f"took {took:.1f} s to stop"
        if code:
            _check_what_was_said(child.said(), has_run=trainer.newest() is not None)
    assert trainer.finish() == reference.ended


def _check_what_was_said(said: str, has_run: bool) -> None:
    assert "stopped" in said, said
    if has_run:
        assert "goes on from here" in said, said
