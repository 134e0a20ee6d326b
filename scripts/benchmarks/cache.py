"""Measure the time saved by the feature cache: a second run with a different head, and a run with ten more images."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from scripts.benchmarks.commands import Finished, cnncli_command, run
from scripts.benchmarks.images import ROOT, files_below, write_many
from scripts.benchmarks.measurements import Finding, Samples, Target, in_turns
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("EfficientNetLite0",)
CONFIG = ROOT / "configs" / "dogs-vs-cats" / "efficientnetlite0-features.yaml"
ADDED = 10
OTHER_HEAD = "head.layers=[{dense: 64}, {dropout: 0.3}]"


def measure(bench: Workbench) -> None:
    """Measure three runs per round: with an empty cache, with a different head, and with ten more images."""
    found = in_turns(_Rounds(bench).sides, bench.rounds)
    cold = _seconds(found["cold"])
    for side, title in (
        ("warm", "second run, another head, warm cache, command to test metrics"),
        ("added", f"{ADDED} images added to the training images, command to test metrics"),
    ):
        target = Target("cnncli", most=10.0) if side == "warm" else None
        seconds = _seconds(found[side])
        bench.record(Finding(title, "s", seconds, "its own cold run", cold, comparison="time", target=target))
    for side, title, count in (
        ("warm", "second run, another head, warm cache: computed", 0),
        ("added", f"{ADDED} images added: computed", ADDED),
    ):
        bench.record(Finding(title, "images", _computed(found[side]), target=Target("cnncli", least=count, most=count)))


class _Rounds:
    """The three runs of a round. The folder of images is restored before each round."""

    def __init__(self, bench: Workbench) -> None:
        self.sides = {"cold": self._cold, "warm": self._warm, "added": self._added}
        self._work = bench.work
        self._data = bench.splits()
        self._more = write_many(bench.data, ADDED, bench.work / "more")
        self._caches = (bench.work / f"cache-{number}" for number in itertools.count())
        self._cache = Path()

    def _cold(self) -> Finished:
        for path in self._targets():
            path.unlink(missing_ok=True)
        self._cache = next(self._caches)
        return self._train()

    def _warm(self) -> Finished:
        return self._train(OTHER_HEAD)

    def _added(self) -> Finished:
        for source, target in zip(files_below(self._more), self._targets(), strict=True):
            shutil.copyfile(source, target)
        return self._train()

    def _targets(self) -> list[Path]:
        """Return the paths of the added images in the training folders of their classes."""
        return [self._data / "train" / path.parent.name / f"added-{path.name}" for path in files_below(self._more)]

    def _train(self, *settings: str) -> Finished:
        words = [f"data.path={self._data}", *settings, "--json", "--quiet", "--runs-dir", str(self._work / "runs")]
        return run(cnncli_command("train", CONFIG, *words), self._cache)


def _seconds(runs: list[Finished]) -> Samples:
    return Samples(tuple(one.seconds for one in runs))


def _computed(runs: list[Finished]) -> Samples:
    return Samples(tuple(float(one.document["features"]["computed"]) for one in runs))
