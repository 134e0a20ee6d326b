"""`cnncli replay`: a training that became NaN or Inf names its layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cnncli.cli import main
from cnncli.runs.listing import open_run
from tests.support.drawing import draw_dataset

SETTINGS = ["backbone.name=ConvNet", "backbone.weights=none", "backbone.options={filters: [4, 8]}"]
SETTINGS += ["mode=from-scratch", "data.image_size=32", "training.epochs=3", "training.batch_size=8"]


@pytest.mark.usefixtures("shared_cache")
def test_a_failed_training_names_the_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The step is the one of the error; its batch and the state before it are kept, and the run is as it was."""
    runs, images = str(tmp_path / "runs"), str(draw_dataset(tmp_path / "images"))
    diverging = ["training.optimizer.name=sgd", "training.optimizer.learning_rate=1e30"]
    assert main(["train", images, *SETTINGS, *diverging, "--runs-dir", runs]) == 2
    run = open_run(None, Path(runs), prefer="unfinished")
    before = run.read_facts()
    capsys.readouterr()

    assert main(["replay", "--json", "--runs-dir", runs]) == 0
    found = json.loads(capsys.readouterr().out)
    step = np.load(found["step"])

    assert found["where"] in before["reason"] or before["reason"] in found["where"]
    assert found["part"] in ("output", "loss", "gradient", "update")
    assert found["n_images"] == len(step["labels/own"]) == 8
    assert all(np.isfinite(step[name]).all() for name in step.files if name.startswith("weight/"))
    assert run.read_facts() == before


@pytest.mark.usefixtures("shared_cache")
def test_a_finished_run_cannot_be_replayed(tmp_path: Path) -> None:
    """There is no step that failed: exit code 2."""
    runs, images = str(tmp_path / "runs"), str(draw_dataset(tmp_path / "images"))
    assert main(["train", images, *SETTINGS, "name=fine", "--runs-dir", runs]) == 0

    assert main(["replay", "fine", "--runs-dir", runs]) == 2
