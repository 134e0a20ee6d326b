"""Test accuracies over seeds: exact heads and Adam, and precisions of the frozen network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnncli.evaluation.predictions import PredictedImage, read_predictions
from scripts.benchmarks.drawings import LETTERS, draw_letters
from scripts.benchmarks.rows import OURS, Row
from scripts.benchmarks.setting import Finished, Setting

SIDES_PX = (160, 224)
SEEDS = 3
MANY, FEW = 1500, 100
"""Training images that each seed draws, for most comparisons and for those of small datasets."""
OF_LETTERS = {"train": 22, "validation": 3, "test": 10}
"""Images per class of letters, of which each seed draws `DRAWN_PER_CLASS` for training."""
DRAWN_PER_CLASS = 20
ADAM = ("training.epochs=20", "training.optimizer.learning_rate=0.001")
THEIRS = "Adam, 1e-3, 20 epochs"


def measure_solver(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies of exact heads and of 20 epochs of Adam; each seed draws its training images."""
    data = setting.splits()
    for side_px in SIDES_PX:
        for n in (MANY, FEW):
            drawn = setting.count(n)
            yield _compare_solvers(setting, data, name, side_px, drawn, f"{drawn:,} photographs")


def measure_letters(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies of exact heads and of Adam on 120 classes of letters that are hard to tell apart.

    Always in float32: some networks compute features in which the rounding of bfloat16 changes predictions.
    """
    setting = replace(setting, precision="float32")
    folder = setting.work / "letters"
    letters = LETTERS[:2] if setting.quick else LETTERS
    if not folder.is_dir():
        draw_letters(folder, OF_LETTERS, letters)
    n_classes = len(list((folder / "train").iterdir()))
    n = DRAWN_PER_CLASS * n_classes
    yield _compare_solvers(setting, folder, name, SIDES_PX[0], n, f"{n_classes} classes of letters, float32")


def measure_int8(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies with the frozen network in int8 and in float32; each seed draws its training images."""
    data = setting.splits()
    size = [f"data.image_size={SIDES_PX[0]}", f"data.train_images={setting.count(MANY)}"]
    runs = _train(setting, data, name, {OURS: [*size, "precision=int8"], "float32": [*size, "precision=float32"]})
    facts = [json.loads((one.run / "run.json").read_text(encoding="utf-8")) for one in runs[OURS]]
    if any(one["precision"] != "int8" for one in facts):
        raise RuntimeError(f"{name}: int8 was not used: {facts[0].get('int8')}")
    pairs = [zip(ours.images, theirs.images, strict=True) for ours, theirs in zip(*runs.values(), strict=True)]
    flips = [sum(a.predictions != b.predictions for a, b in pair) for pair in pairs]
    note = f"{', '.join(map(str, flips))} of {len(runs[OURS][0].images):,} predictions differ"
    yield _row(f"Frozen networks in int8, {SIDES_PX[0]} px: test accuracy", name, runs, note)


def _compare_solvers(setting: Setting, data: Path, name: str, side_px: int, n: int, dataset: str) -> Row:
    size = [f"data.image_size={side_px}", f"data.train_images={n}"]
    runs = _train(setting, data, name, {OURS: size, THEIRS: [*size, *ADAM]})
    return _row(f"Exact head on {dataset}, {side_px} px: test accuracy", name, runs)


@dataclass(frozen=True)
class Trained:
    """A run, its test accuracy in percent, and its predictions of the test images in the order of their paths."""

    run: Path
    accuracy: float
    images: Sequence[PredictedImage]

    @classmethod
    def of(cls, done: Finished) -> Trained:
        """Read the predictions of a training."""
        run = Path(done.document["run"])
        images = (one for one in read_predictions(run / "predictions.csv") if one.split == "test")
        return cls(run, done.accuracy, sorted(images, key=lambda one: one.path))


def _train(
    setting: Setting, data: Path, name: str, sides: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[Trained]]:
    """Train each side once per seed."""
    network = setting.backbone(name)
    return {
        side: [Trained.of(setting.train(data, *network, *words, f"seed={seed}")) for seed in range(SEEDS)]
        for side, words in sides.items()
    }


def _row(title: str, name: str, runs: Mapping[str, Sequence[Trained]], note: str = "") -> Row:
    """Return the accuracies of two sides, and the 95 % interval of their difference in the note."""
    if len({tuple(one.path for one in run.images) for found in runs.values() for run in found}) > 1:
        raise RuntimeError(f"{name}: the runs have different test images")
    ours, theirs = ([[one.is_correct for one in run.images] for run in found] for found in runs.values())
    low, high = paired_interval(ours, theirs)
    scores = {side: [one.accuracy for one in found] for side, found in runs.items()}
    interval = f"95 % interval of the difference {low:+.2f} to {high:+.2f}"
    return Row(title, "%", scores, name, note="; ".join(filter(None, [interval, note])))


def paired_interval(ours: Sequence[Sequence[bool]], theirs: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return the 95 % interval, in points, of the difference of two accuracies on the same images.

    The difference of an image is averaged over seeds, because its errors with several seeds are not independent. The
    interval is about other test images, for these draws of the training images. As A. Agresti and Y. Min, Effects and
    non-effects of paired identical observations, Statistics in Medicine 24, 2005, propose, half an image is added to
    each of the four cells, so that sides without a difference do not have an interval of length 0.

    Args:
        ours: Whether each image is predicted correctly, for each seed.
        theirs: The same of the other side.
    """
    differences = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    n = len(differences) + 2
    middle = differences.sum() / n
    variance = ((differences**2).sum() + 1) / n - middle**2
    half = 1.96 * (variance / n) ** 0.5
    return float(100 * (middle - half)), float(100 * (middle + half))
