"""Stop training at random moments and resume it: the result must equal that of an undisturbed run."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import numpy as np

from tests.fault_injection.trainings import prepare

SAVES = 12
"""Approximate number of checkpoints of the training."""
STOPS_WITHIN_S = 10.0
"""Time to react to a signal: one training step, including the tracing of its graph, and one checkpoint."""
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def once(work: Path, random: np.random.Generator) -> None:
    """Kill training once: in half of the tries at a random moment, in the other half in the middle of a save."""
    trainer, reference = prepare(work, random)
    if random.random() < 0.5:
        trainer.signal_after(random.uniform(0, reference.seconds))
    else:
        trainer.kill_inside_save(int(random.integers(1, SAVES)))
    assert trainer.finish() == reference.result


def ten_in_one_run(work: Path, random: np.random.Generator) -> None:
    """Kill the same run ten times."""
    trainer, reference = prepare(work, random)
    for _ in range(10):
        trainer.signal_after(random.uniform(0, reference.seconds))
    assert trainer.finish() == reference.result


def by_signal(work: Path, random: np.random.Generator) -> None:
    """Send SIGINT or SIGTERM at a random moment: the command exits soon, with the right exit code and a checkpoint."""
    trainer, reference = prepare(work, random)
    number = signal.SIGINT if random.random() < 0.5 else signal.SIGTERM
    child = trainer.start()
    child.wait(random.uniform(0.05, reference.seconds))
    was_running, sent = child.poll() is None, time.monotonic()
    child.send(number)
    code = child.end()
    if was_running:
        seconds, printed = time.monotonic() - sent, child.printed()
        assert code in (EXIT_CODES[number], 0), f"exit code {code}: {printed}"
        assert "Traceback" not in printed, printed
        assert seconds < STOPS_WITHIN_S, f"took {seconds:.1f} s to stop"
        if code:
            run = trainer.newest_run()
            assert run is None or re.search(rf"cnncli train \S*{run.path.name}", printed), printed
    assert trainer.finish() == reference.result
