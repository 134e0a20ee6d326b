"""The comparisons with plain Keras print their results for a tiny run and tiny images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.engines.openvino import has_bfloat16
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from scripts import compare_with_keras
from tests.support import plain_keras
from tests.support.drawing import draw_dataset, tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run in float32 whose trunk is a frozen convolution."""
    folder = tmp_path_factory.mktemp("compared")
    config = tiny_config(draw_dataset(folder / "data", 8, 4, 4), training={"epochs": 1})
    return train(config, folder / "runs", Console(quiet=True)).path


def _printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Run a comparison, and return the cells of its table by row."""
    compare_with_keras.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


@pytest.mark.slow
def test_predictions_of_a_run_agree(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Probabilities of `predict`, `evaluate` and Keras without cnncli differ by less than 1e-5."""
    heading, row = _printed(["predictions", str(run)], capsys)

    assert heading == ["images", "trunk in", "predict − evaluate", "predict − bare Keras", "evaluate − bare Keras"]
    assert row[:2] == ["8", "float32"]
    assert all(float(cell) < 1e-5 for cell in row[2:])


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
def test_precisions_of_a_run_are_compared(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has changed decisions, the largest difference, and both accuracies with their intervals."""
    _, row = _printed(["precision", str(run)], capsys)

    assert row[0] == "8"
    assert float(row[2]) < 0.1
    assert all("%" in cell and "[" in cell for cell in row[3:])


def test_pixels_of_both_decoders_are_compared(tmp_path: Path) -> None:
    """Both decoders agree on images of the requested size and differ on larger ones."""
    colors = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for split in compare_with_keras.SPLITS:
        (tmp_path / split / "a").mkdir(parents=True)
        Image.fromarray(colors).save(tmp_path / split / "a" / "one.png")

    for side, same in ((24, True), (8, False)):
        theirs, _ = plain_keras.read_split(tmp_path / "test", side)
        ours, labels = compare_with_keras.decode_split(tmp_path / "test", side)
        assert labels.tolist() == [0]
        assert np.allclose(ours, theirs) is same
