"""The figures of an evaluation: which are drawn, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.dataset.records import ImageRecord
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.calibration import coverage_curve
from cnncli.evaluation.predictions import predicted_images
from cnncli.images.decode import PixelSpec
from cnncli.metrics.classification import evaluate_logits
from cnncli.metrics.curves import class_curves
from cnncli.metrics.reliability import measure_reliability
from cnncli.report.evaluation_figures import draw_evaluation
from tests.support.drawing import draw_image

CLASSES = ("dots", "stripes")


def assess(folder: Path, probabilities: np.ndarray) -> Assessment:
    """Return the evaluation of images of stripes with probabilities (n, 2), whose files are drawn."""
    labels = np.arange(len(probabilities)) % 2
    for number in range(len(labels)):
        Image.fromarray(draw_image(CLASSES[labels[number]], number)).save(folder / f"{number}.png")
    images = [ImageRecord(str(folder / f"{number}.png"), (CLASSES[k],), "test") for number, k in enumerate(labels)]
    predicted = predicted_images(images, "test", probabilities, CLASSES, (), probabilities.max(axis=1))
    return Assessment(
        "test",
        evaluate_logits(np.log(probabilities), labels, CLASSES, "softmax"),
        predicted,
        class_curves(probabilities, labels, CLASSES),
        temperature=1.5,
        calibrated=measure_reliability(probabilities**0.7, labels),
        coverage=coverage_curve(-probabilities.max(axis=1), np.array([one.is_correct for one in predicted])),
    )


def names_of(found: Assessment, folder: Path) -> set[str]:
    """Draw an evaluation, and return the names of the files."""
    paths = draw_evaluation(found, PixelSpec(32, 32), "run", folder / "figures")
    assert all(path.stat().st_size > 2000 for path in paths)
    assert {path.name for path in (folder / "figures").iterdir()} == {path.name for path in paths}
    return {path.name for path in paths}


def test_all_figures_are_drawn(tmp_path: Path) -> None:
    """Confusion matrix, mistakes, reliability, coverage and curves are drawn, with the split in their names."""
    found = assess(tmp_path, np.random.default_rng(0).dirichlet((1, 1), 20))

    assert names_of(found, tmp_path) == {
        *("confusion-test.png", "mistakes-test.png", "reliability-test.png", "curves-test.png", "coverage-test.png")
    }


def test_without_mistakes_there_is_no_sheet_of_them(tmp_path: Path) -> None:
    """A perfect evaluation has no contact sheet of mistakes."""
    perfect = np.tile([[0.9, 0.1], [0.1, 0.9]], (3, 1))

    assert "mistakes-test.png" not in names_of(assess(tmp_path, perfect), tmp_path)


@pytest.mark.parametrize("n_left", [0, 1])
def test_deleted_images_are_left_out_of_the_sheet(n_left: int, tmp_path: Path) -> None:
    """Mistakes whose files were deleted are left out, and if there are no others, so is the sheet."""
    wrong = np.tile([[0.1, 0.9], [0.9, 0.1]], (2, 1))
    found = assess(tmp_path, wrong)
    for one in found.images[n_left:]:
        Path(one.path).unlink()

    assert ("mistakes-test.png" in names_of(found, tmp_path)) == bool(n_left)
