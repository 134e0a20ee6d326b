"""Use one run directory and one feature cache from two processes at the same time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.fault_injection.trainings import RunResult, prepare


def on_one_run(work: Path, random: np.random.Generator) -> None:
    """Resume one run in two processes: one trains, the other is refused with the process id of the first."""
    trainer, reference = prepare(work, random)
    while trainer.newest_run() is None:
        trainer.signal_after(random.uniform(0.3, 0.9) * reference.seconds)
    first = trainer.start()
    time.sleep(float(random.uniform(0, 0.2)))
    second = replace(trainer, output="second.txt").start()
    codes, printed = sorted([first.end(), second.end()]), first.printed() + second.printed()
    assert codes in ([0, 2], [0, 0]), printed  # both succeed if the first finishes before the second locks the run
    if codes == [0, 2]:
        assert "[run-locked]" in printed, printed
        assert any(f" {child.pid}" in printed for child in (first, second)), printed
    assert trainer.finish() == reference.result


def on_one_cache(work: Path, random: np.random.Generator) -> None:
    """Let two processes train with the same empty feature cache: both results equal that of an undisturbed run."""
    one, reference = prepare(work, random, views="2")
    other = replace(one, runs_name="other-runs", output="other.txt")
    children = [one.start()]
    time.sleep(float(random.uniform(0, 0.5)))
    children.append(other.start())
    for child in children:
        code = child.end()
        assert code == 0, f"exit code {code}: {child.printed()}"
    for trainer in (one, other):
        run = trainer.newest_run()
        assert run is not None
        assert RunResult.of(run) == reference.result
