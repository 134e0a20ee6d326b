"""Whole trainings, from the command to the test figures: cnncli on the command line against plain Keras."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks.commands import cnncli_command, plain_command, run
from scripts.benchmarks.pictures import ROOT
from scripts.benchmarks.results import Finding, Reach
from scripts.benchmarks.timing import Samples, in_turns
from scripts.benchmarks.workbench import Workbench

FIGURES = ("VGG16", "VGG16-fresh", "EfficientNetLite0")
CONFIGS = ROOT / "configs" / "dogs-vs-cats"
EPOCHS = 30
MEASURED_EPOCHS = 2
GUIDE_EPOCHS = 10
ACCURACY_PERCENT = 98.8


@dataclass(frozen=True)
class Trained:
    """One training: its seconds, whole, and its test accuracy, 0–1 (None where epochs were extrapolated)."""

    seconds: float
    accuracy: float | None


def measure(bench: Workbench) -> None:
    """Both sides from an empty cache, as processes of their own."""
    if bench.figure == "EfficientNetLite0":
        _measure_default(bench)
    elif bench.figure == "VGG16":
        _measure_vgg16(bench, "4 views", [], least=40.0)
    else:
        _measure_vgg16(bench, "views: fresh", ["augmentation.views=fresh"], least=10.0)


def _measure_vgg16(bench: Workbench, views: str, more: list[str], least: float) -> None:
    data, weights, epochs = bench.splits(), _vgg16_weights(bench), bench.count(EPOCHS, 2)
    settings = [
        f"data.path={data}",
        f"backbone.weights={weights}",
        f"training.epochs={epochs}",
        "training.early_stopping=null",
        *more,
    ]
    sides: dict[str, Callable[[], Trained]] = {
        "cnncli": ColdTraining(bench.work / "cnncli", CONFIGS / "vgg16-features.yaml", settings),
        "Keras": lambda: _plain("vgg16", data, weights, epochs, MEASURED_EPOCHS),
    }
    found = in_turns(sides, bench.rounds)
    title = f"VGG16 frozen, 150 px, seven augmentations, {epochs} epochs, command to test figures, {views}"
    theirs = f"plain Keras, {MEASURED_EPOCHS} epochs measured, extrapolated to {epochs}"
    _record_seconds(bench, title, found["cnncli"], theirs, found["Keras"], least)


def _measure_default(bench: Workbench) -> None:
    data, epochs = bench.splits(), bench.count(GUIDE_EPOCHS, 2)
    weights = bench.weights_of("MobileNetV2")
    config = CONFIGS / "efficientnetlite0-features.yaml"
    sides: dict[str, Callable[[], Trained]] = {
        "cnncli": ColdTraining(bench.work / "default", config, [f"data.path={data}"]),
        "Keras": lambda: _plain("guide", data, weights, epochs, epochs),
    }
    found = in_turns(sides, bench.rounds)
    title = "EfficientNetLite0, 224 px, cold store, command to test figures"
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
            reach=Reach("cnncli", least=ACCURACY_PERCENT),
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
            reach=Reach("comparison", least=least),
        )
    )


def _seconds(trained: list[Trained]) -> Samples:
    return Samples(tuple(one.seconds for one in trained))


def _accuracies(trained: list[Trained]) -> Samples:
    return Samples(tuple(100 * one.accuracy for one in trained if one.accuracy is not None))


class ColdTraining:
    """Each call runs `cnncli train` with an empty cache.

    Args:
        work: a folder for caches and runs.
        config: a file of `configs/`, or a folder of pictures.
        settings: `key=value` words.
    """

    def __init__(self, work: Path, config: Path, settings: list[str]) -> None:
        self._command = cnncli_command("train", config, *settings, "--json", "--quiet", "--runs-dir", work / "runs")
        self._caches = (work / f"cache-{number}" for number in itertools.count())

    def __call__(self) -> Trained:
        """Train once."""
        done = run(self._command, next(self._caches))
        return Trained(done.seconds, done.document["metrics"]["test"]["top1"])


def _plain(recipe: str, data: Path, weights: str, epochs: int, measured: int) -> Trained:
    """The recipe in plain Keras; epochs that are not run count as the median of those after the first."""
    given = [] if weights == "none" else ["--weights", weights]
    done = run(plain_command("train", recipe, data, "--epochs", str(measured), *given))
    document: Any = done.document
    rest = (epochs - measured) * statistics.median(document["epoch_seconds"][1:])
    return Trained(done.seconds + rest, None if epochs != measured else document["test_accuracy"])


def _vgg16_weights(bench: Workbench) -> str:
    """The file of weights that both sides start from: random ones where there are no others, as fast as real ones."""
    given = bench.weights_of("VGG16")
    if given != "none":
        return given
    file = bench.work / "vgg16.weights.h5"
    code = f"import keras; keras.applications.VGG16(include_top=False, weights=None).save_weights({str(file)!r})"
    run([*plain_command("train")[:1], "-c", code])
    return str(file)
