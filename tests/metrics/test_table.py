"""The table of metrics determines where each metric appears."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.metrics.table import METRICS, is_better, monitors, result_names
from tests.support.drawing import draw_dataset

WITH_MACRO_F1 = """
import sys
from cnncli.metrics import table


def macro_f1(found):
    import numpy as np

    predicted, classes = found.scores.argmax(axis=1), range(found.scores.shape[1])
    hits = [np.sum((predicted == k) & (found.labels == k)) for k in classes]
    totals = [np.sum(predicted == k) + np.sum(found.labels == k) for k in classes]
    return float(np.mean([2 * hit / total if total else 0.0 for hit, total in zip(hits, totals)]))


table.METRICS["macro_f1"] = table.Metric("macro_f1", macro_f1, is_fraction=True)
from cnncli.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_losses_fall_and_accuracies_rise() -> None:
    """The table determines whether lower or higher is better, and a tie is not an improvement."""
    assert is_better("val_loss", 0.1, 0.2)
    assert is_better("val_accuracy", 0.2, 0.1)
    assert not is_better("val_loss", 0.2, 0.2)
    assert not is_better("val_loss", 0.15, 0.2, min_delta=0.1)


def test_names_follow_from_the_table() -> None:
    """Every metric in the table is reported and can be monitored, for training and validation images."""
    assert set(monitors()) == set(result_names()) == {*METRICS, *(f"val_{name}" for name in METRICS)}


@pytest.mark.slow
def test_one_entry_is_a_metric_that_can_be_monitored(tmp_path: Path) -> None:
    """With one table entry, macro-F1 appears in history and evaluation, and selects the best epoch and stops early."""
    data = draw_dataset(tmp_path / "data")
    words = ["data.image_size=32", "backbone={name: ConvNet, weights: none, options: {filters: [4, 8]}}", "name=f1"]
    words += ["training.epochs=2", "training.best.monitor=val_macro_f1", "augmentation.mixup=0.2"]
    words += ["training.early_stopping={monitor: val_macro_f1, patience: 2}", "--runs-dir", str(tmp_path / "runs")]
    command = [sys.executable, "-c", WITH_MACRO_F1]
    done = subprocess.run([*command, "train", str(data), *words], capture_output=True, text=True)
    (run,) = (tmp_path / "runs").iterdir()
    evaluated = subprocess.run([*command, "evaluate", str(run), "--json"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "macro_f1" in done.stderr
    assert "val_macro_f1" in (run / "history.csv").read_text().splitlines()[0]
    assert '"macro_f1"' in evaluated.stdout
