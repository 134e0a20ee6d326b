"""Test accuracies over seeds: exact heads and Adam, and precisions of the frozen network."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cnncli.evaluation.predictions import PredictedImage, read_predictions
from scripts.benchmarks.drawings import draw_classes
from scripts.benchmarks.rows import OURS, Row
from scripts.benchmarks.setting import Finished, Setting

SIDES_PX = (160, 224)
SEEDS = 3
DRAWN, FEW = 1500, 100
"""Training images that each seed draws, for most comparisons and for those of small datasets."""
OF_MANY_CLASSES = 1440
"""Training images that each seed draws of the drawn classes."""
ADAM = ("training.epochs=20", "training.optimizer.learning_rate=0.001")
THEIRS = "Adam, 1e-3, 20 epochs"


def measure_solver(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies of exact heads and of 20 epochs of Adam; each seed draws its training images."""
    data = setting.splits()
    for side_px in SIDES_PX:
        for n in (DRAWN, FEW):
            yield _compare_solvers(setting, data, name, side_px, n, f"{n:,} photographs")


def measure_drawn(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies of exact heads and of Adam on 120 drawn classes that are hard to tell apart."""
    folder = setting.work / "drawn"
    if not folder.is_dir():
        draw_classes(
            folder, {"train": 15, "validation": 3, "test": 10} if not setting.quick else {"train": 3, "test": 1}
        )
    n_classes = len(list((folder / "train").iterdir()))
    yield _compare_solvers(setting, folder, name, SIDES_PX[0], OF_MANY_CLASSES, f"{n_classes} drawn classes")


def measure_int8(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies with the frozen network in int8 and in float32; each seed draws its training images."""
    data = setting.splits()
    size = [f"data.image_size={SIDES_PX[0]}", f"data.train_images={setting.count(DRAWN)}"]
    runs = _train(setting, data, name, {OURS: [*size, "precision=int8"], "float32": [*size, "precision=float32"]})
    facts = [json.loads((Path(one.document["run"]) / "run.json").read_text(encoding="utf-8")) for one in runs[OURS]]
    if any(one["precision"] != "int8" for one in facts):
        raise RuntimeError(f"{name}: int8 was not used: {facts[0].get('int8')}")
    ours, theirs = ([_classes(one) for one in found] for found in runs.values())
    flips = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in zip(ours, theirs, strict=True)]
    note = f"{', '.join(map(str, flips))} of {len(ours[0]):,} predictions differ"
    yield _row(f"Frozen networks in int8, {SIDES_PX[0]} px: test accuracy", name, runs, note)


def _compare_solvers(setting: Setting, data: Path, name: str, side_px: int, n: int, of: str) -> Row:
    size = [f"data.image_size={side_px}", f"data.train_images={setting.count(n)}"]
    runs = _train(setting, data, name, {OURS: size, THEIRS: [*size, *ADAM]})
    return _row(f"Exact head on {of}, {side_px} px: test accuracy", name, runs)


def _train(
    setting: Setting, data: Path, name: str, sides: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[Finished]]:
    """Train each side once per seed."""
    network = setting.backbone(name)
    return {
        side: [setting.train(data, *network, *words, f"seed={seed}") for seed in range(SEEDS)]
        for side, words in sides.items()
    }


def _row(title: str, name: str, runs: Mapping[str, Sequence[Finished]], note: str = "") -> Row:
    """Return the accuracies of two sides, and the 95 % interval of their difference in the note."""
    low, high = paired_interval(*([_are_correct(one) for one in found] for found in runs.values()))
    scores = {side: [one.accuracy for one in found] for side, found in runs.items()}
    interval = f"difference {low:+.1f} to {high:+.1f}"
    return Row(title, "%", scores, name, note="; ".join(filter(None, [interval, note])))


def paired_interval(ours: Sequence[Sequence[bool]], theirs: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return the 95 % interval, in points, of the difference of two accuracies on the same images.

    Args:
        ours: Whether each image is predicted correctly, for each seed.
        theirs: The same of the other side.

    The difference of an image is averaged over seeds, because its errors with several seeds are not independent.
    """
    differences = [
        sum(map(int, a)) / len(a) - sum(map(int, b)) / len(b)
        for a, b in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
    ]
    middle = statistics.mean(differences)
    half = 1.96 * statistics.stdev(differences) / len(differences) ** 0.5
    return 100 * (middle - half), 100 * (middle + half)


def _classes(run: Finished) -> list[str]:
    """Return the predicted class of each test image."""
    return [one.predictions[0] for one in _test_images(run)]


def _are_correct(run: Finished) -> list[bool]:
    return [one.is_correct for one in _test_images(run)]


def _test_images(run: Finished) -> list[PredictedImage]:
    found = read_predictions(Path(run.document["run"]) / "predictions.csv")
    return sorted((one for one in found if one.split == "test"), key=lambda one: one.path)
