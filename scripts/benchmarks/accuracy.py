"""Test accuracies over seeds: exact heads and Adam, and precisions of the frozen network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.benchmarks.rows import OURS, Row
from scripts.benchmarks.setting import Finished, Setting

SIDES_PX = (160, 224)
SEEDS = 3
DRAWN, FEW = 1500, 100
"""Training images that each seed draws, for most comparisons and for those of small datasets."""
ADAM = ("training.epochs=20", "training.optimizer.learning_rate=0.001")


def measure_solver(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies of exact heads and of 20 epochs of Adam; each seed draws its training images."""
    data = setting.splits()
    for side_px in SIDES_PX:
        for n in (DRAWN, FEW):
            size = [f"data.image_size={side_px}", f"data.train_images={setting.count(n)}"]
            runs = _train(setting, data, name, {OURS: size, "Adam, 1e-3, 20 epochs": [*size, *ADAM]})
            title = f"{name}, {side_px} px, exact head on {n:,} images: test accuracy"
            yield Row(title, "%", {side: [one.accuracy for one in found] for side, found in runs.items()})


def measure_int8(setting: Setting, name: str) -> Iterator[Row]:
    """Yield test accuracies with the frozen network in int8 and in float32; each seed draws its training images."""
    data = setting.splits()
    size = [f"data.image_size={SIDES_PX[0]}", f"data.train_images={setting.count(DRAWN)}"]
    runs = _train(setting, data, name, {OURS: [*size, "precision=int8"], "float32": [*size, "precision=float32"]})
    facts = [json.loads((Path(one.document["run"]) / "run.json").read_text(encoding="utf-8")) for one in runs[OURS]]
    if any(one["precision"] != "int8" for one in facts):
        raise RuntimeError(f"{name}: int8 was not used: {facts[0].get('int8')}")
    classes = [_predicted(setting, found[0], data / "test") for found in runs.values()]
    flips = sum(ours != theirs for ours, theirs in zip(*classes, strict=True))
    scores = {side: [one.accuracy for one in found] for side, found in runs.items()}
    note = f"with seed 0, {flips} of {len(classes[0]):,} test images get another class"
    yield Row(f"{name}, {SIDES_PX[0]} px, int8: test accuracy", "%", scores, note=note)


def _train(
    setting: Setting, data: Path, name: str, sides: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[Finished]]:
    """Train each side once per seed."""
    network = setting.backbone(name)
    return {
        side: [setting.train(data, *network, *words, f"seed={seed}") for seed in range(SEEDS)]
        for side, words in sides.items()
    }


def _predicted(setting: Setting, run: Finished, images: Path) -> list[str]:
    """Return the class that a run predicts for each image of a folder, in order."""
    done = setting.cnncli("predict", images, "--run", run.document["run"], "--json", "--quiet")
    return [one["predictions"][0]["label"] for one in done.document]
