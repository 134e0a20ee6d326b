"""Two processes at once: on one run directory, and on one store."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.fault_injection.trainings import Ended, prepare


def on_one_run(work: Path, random: np.random.Generator) -> None:
    """Two processes go on with one run: one does, and the other is told which one that is."""
    trainer, reference = prepare(work, random)
    while trainer.newest() is None:
        trainer.signal_after(random.uniform(0.3, 0.9) * reference.seconds)
    first = trainer.start()
    time.sleep(float(random.uniform(0, 0.2)))
    second = replace(trainer, output="second.txt").start()
    codes, said = sorted([first.end(), second.end()]), first.said() + second.said()
    assert codes in ([0, 2], [0, 0]), said  # the one may have been through before the other came
    if codes == [0, 2]:
        assert any(f"is being trained by process {child.pid}" in said for child in (first, second)), said
    assert trainer.finish() == reference.ended


def on_one_store(work: Path, random: np.random.Generator) -> None:
    """Two trainings fill one empty store: both end as one alone does."""
    one, reference = prepare(work, random, views="2")
    other = replace(one, runs_name="other-runs", output="other.txt")
    children = [one.start()]
    time.sleep(float(random.uniform(0, 0.5)))
    children.append(other.start())
    for child in children:
        code = child.end()
        assert code == 0, f"exit code {code}: {child.said()}"
    for trainer in (one, other):
        run = trainer.newest()
        assert run is not None
        assert Ended.of(run) == reference.ended
