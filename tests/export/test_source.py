"""The exported graph gives the probabilities of `cnncli predict` for every kind of run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cnncli
from cnncli.config.reader import config_from_mapping
from cnncli.export.source import ExportSource, build_exported
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.support.attributes import write_attributes
from tests.support.drawing import tiny_config

CONSOLE = Console(quiet=True)
CONVNET = {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}}
KINDS: dict[str, dict[str, Any]] = {
    "two classes with sigmoid": {"head": {"activation": "sigmoid"}},
    "scores of a linear head": {"head": {"activation": "linear"}, "training": {"epochs": 1, "loss": "hinge"}},
    "views at test time": {"evaluation": {"tta": "flip"}},
    "several backbones": {"backbone": [CONVNET, {**CONVNET, "options": {"filters": [4, 4]}}]},
}


def difference(run: Run, files: list[Path]) -> float:
    """Return the largest difference between the exported graph and `predict` for 32 px images, decoded by Pillow."""
    names = cnncli.load(run.path).classes
    found = cnncli.predict(files, run=run.path, top=len(names))
    by_name = [dict(zip(one.labels, one.probabilities, strict=True)) for one in found]
    expected = np.array([[one[name] for name in names] for one in by_name])
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    exported = ExportSource(build_exported(run.folder), {}).probabilities(pixels)
    assert exported.shape == expected.shape
    return float(np.abs(exported - expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_gives_what_predict_gives(kind: str, data: Path, tmp_path: Path) -> None:
    """Heads with one score, with scores that are no probabilities, averaged views and joined features agree."""
    run = train(tiny_config(data, **KINDS[kind]), tmp_path, CONSOLE)

    assert difference(run, sorted((data / "validation").rglob("*.png"))) < 1e-5


def test_the_graph_gives_independent_probabilities_of_several_labels(tmp_path: Path) -> None:
    """If an image can have several labels, each has its own probability, as `predict` prints it."""
    table = write_attributes(tmp_path / "data", 40)
    labels = {"path": table, "separator": ";"}
    settings = {"backbone": CONVNET, "engine": "openvino", "precision": "float32", "training": {"epochs": 2}}
    data = {"path": table.parent, "labels": labels, "image_size": 32}
    config = config_from_mapping({"mode": "from-scratch", "data": data, **settings}, environment={})
    run = train(config, tmp_path / "runs", CONSOLE)

    assert difference(run, sorted(table.parent.glob("*.png"))[:8]) < 1e-5
