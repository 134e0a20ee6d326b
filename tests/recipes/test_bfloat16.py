"""Runs whose tail convolves in bfloat16 are evaluated with the metrics of training, and name their precision."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from cnncli.engines.openvino import has_bfloat16
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

TOLERANCE = {"keras": 1e-6, "openvino": 5e-4}
"""Accepted difference between evaluation and history. Keras evaluates as it trained; OpenVINO's convolutions round
elsewhere than those of Keras."""
STEEP = {"epochs": 4, "batch_size": 4, "optimizer": {"name": "adam", "learning_rate": 1e-2}}
ENGINES = [
    "keras",
    pytest.param("openvino", marks=pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 8, 4)


def _train(data: Path, runs: Path, engine: str, **settings: Any) -> Run:
    config = tiny_config(data, engine=engine, precision="bfloat16", **settings)
    return train(config, runs, Console(quiet=True))


def _best_val_loss(run: Run) -> float:
    with run.folder.history.open(newline="") as file:
        losses = {int(row["epoch"]): float(row["val_loss"]) for row in csv.DictReader(file)}
    return losses[run.folder.read_facts()["best_epoch"]]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_history_says_what_evaluation_does(data: Path, tmp_path: Path, engine: str) -> None:
    """The validation loss of the best epoch equals that of the saved run, even if a different engine computes it."""
    run = _train(data, tmp_path, engine, training={**STEEP, "stages": [{"name": "top", "unfreeze": 1}]})

    assert run.folder.read_facts()["training_precision"] == "bfloat16"
    assert run.metrics["validation"].loss == pytest.approx(_best_val_loss(run), abs=TOLERANCE[engine])


@pytest.mark.slow
def test_what_computes_an_empty_trunks_run_is_named(data: Path, tmp_path: Path) -> None:
    """If nothing is frozen, the precision of the tail is that of the run."""
    run = _train(data, tmp_path, "keras", mode="from-scratch")
    facts, screen = run.folder.read_facts(), io.StringIO()
    evaluate(run.folder, Console(screen, live=False))

    assert (facts["engine"], facts["precision"]) == ("keras", "bfloat16")
    assert "evaluate    test 8 · keras bfloat16\n" in screen.getvalue()
