"""Measure complete runs, from the command to the test metrics: cnncli's command line, and plain Keras."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.runs.folder import RunFolder
from cnncli.runs.records import read_history
from scripts.benchmarks.commands import cnncli_command, plain_command, run
from scripts.benchmarks.images import ROOT
from scripts.benchmarks.measurements import Finding, Samples, Target, in_turns
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("VGG16", "EfficientNetLite0")
CONFIGS = ROOT / "configs" / "dogs-vs-cats"
EPOCHS = 30
MEASURED_EPOCHS = 2
GUIDE_EPOCHS = 10
ACCURACY_PERCENT = 98.8


@dataclass(frozen=True)
class Trained:
    """Total seconds of a run, and its test accuracy in 0–1 (None if epochs were extrapolated)."""

    seconds: float
    accuracy: float | None


def measure(bench: Workbench) -> None:
    """Train both sides with an empty cache, in separate processes."""
    {"VGG16": _measure_vgg16, "EfficientNetLite0": _measure_default}[bench.benchmark](bench)


def _measure_vgg16(bench: Workbench) -> None:
    data, weights, epochs = bench.splits(), _vgg16_weights(bench), bench.count(EPOCHS, 3)
    config = CONFIGS / "vgg16-features.yaml"
    settings = [f"data.path={data}", f"backbone.weights={weights}", "training.early_stopping=null"]
    fresh = [*settings, "augmentation.views=fresh"]
    sides: dict[str, Callable[[], Trained]] = {
        "views": ColdTraining(bench.work / "views", config, settings, epochs),
        "fresh": ColdTraining(bench.work / "fresh", config, fresh, epochs, MEASURED_EPOCHS),
        "Keras": lambda: _plain("vgg16", data, weights, epochs, MEASURED_EPOCHS),
    }
    found = in_turns(sides, bench.rounds)
    title = f"VGG16 frozen, 150 px, seven augmentations, {epochs} epochs, command to test metrics"
    extrapolated = f"{MEASURED_EPOCHS} epochs measured, extrapolated to {epochs}"
    theirs = f"plain Keras, {extrapolated}"
    _record_seconds(bench, f"{title}, 2 views, the default", found["views"], theirs, found["Keras"], 40.0)
    _record_seconds(bench, f"{title}, views: fresh, {extrapolated}", found["fresh"], theirs, found["Keras"], 10.0)


def _measure_default(bench: Workbench) -> None:
    data, epochs = bench.splits(), bench.count(GUIDE_EPOCHS, 2)
    weights = bench.weights_of("MobileNetV2")
    config = CONFIGS / "efficientnetlite0-features.yaml"
    sides: dict[str, Callable[[], Trained]] = {
        "cnncli": ColdTraining(bench.work / "default", config, [f"data.path={data}"]),
        "Keras": lambda: _plain("guide", data, weights, epochs, epochs),
    }
    found = in_turns(sides, bench.rounds)
    title = "EfficientNetLite0, 224 px, cold cache, command to test metrics"
    theirs = f"Keras's guide: MobileNetV2 frozen, 224 px, {epochs} epochs"
    _record_seconds(bench, title, found["cnncli"], theirs, found["Keras"], 8.0)
    bench.record(
        Finding(
            f"{title}: test accuracy",
            "%",
            _accuracies(found["cnncli"]),
            theirs,
            _accuracies(found["Keras"]),
            comparison="difference",
            target=Target("cnncli", least=ACCURACY_PERCENT),
        )
    )


def _record_seconds(
    bench: Workbench, title: str, ours: list[Trained], other: str, theirs: list[Trained], least: float
) -> None:
    bench.record(
        Finding(
            title,
            "s",
            _seconds(ours),
            other,
            _seconds(theirs),
            comparison="time",
            target=Target("comparison", least=least),
        )
    )


def _seconds(trained: list[Trained]) -> Samples:
    return Samples(tuple(one.seconds for one in trained))


def _accuracies(trained: list[Trained]) -> Samples:
    return Samples(tuple(100 * one.accuracy for one in trained if one.accuracy is not None))


class ColdTraining:
    """Run of `cnncli train` with an empty cache.

    Args:
        work: Folder for caches and runs.
        config: File in `configs/`, or a folder of images.
        settings: Overrides `key=value`.
        epochs: Number of epochs, or None for that of the config.
        measured: Number of epochs to run if `epochs` takes too long. Each additional epoch counts as the median of all
            epochs after the first.
    """

    def __init__(
        self, work: Path, config: Path, settings: list[str], epochs: int | None = None, measured: int | None = None
    ) -> None:
        words = [*settings, *([f"training.epochs={measured or epochs}"] if epochs else [])]
        self._command = cnncli_command("train", config, *words, "--json", "--quiet", "--runs-dir", work / "runs")
        self._more_epochs = (epochs or 0) - measured if measured else 0
        self._caches = (work / f"cache-{number}" for number in itertools.count())

    def __call__(self) -> Trained:
        """Train once."""
        done = run(self._command, next(self._caches))
        if not self._more_epochs:
            return Trained(done.seconds, done.document["metrics"]["test"]["top1"])
        rows = read_history(RunFolder(Path(done.document["run"])).history)
        return Trained(done.seconds + self._more_epochs * statistics.median(row.seconds for row in rows[1:]), None)


def _plain(recipe: str, data: Path, weights: str, epochs: int, measured: int) -> Trained:
    """Train in plain Keras; each additional epoch counts as the median of all epochs after the first."""
    given = [] if weights == "none" else ["--weights", weights]
    done = run(plain_command("train", recipe, data, "--epochs", str(measured), *given))
    document: Any = done.document
    rest = (epochs - measured) * statistics.median(document["epoch_seconds"][1:])
    return Trained(done.seconds + rest, None if epochs != measured else document["test_accuracy"])


def _vgg16_weights(bench: Workbench) -> str:
    """Return the weights for both sides: random ones if none are available, which does not change the speed."""
    given = bench.weights_of("VGG16")
    if given != "none":
        return given
    file = bench.work / "vgg16.weights.h5"
    code = f"import keras; keras.applications.VGG16(include_top=False, weights=None).save_weights({str(file)!r})"
    run([*plain_command("train")[:1], "-c", code])
    return str(file)
