"""predictions.csv has every evaluated image, whatever its name."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import RunError
from cnncli.evaluation.predictions import (
    PredictedImage,
    mistakes,
    predicted_images,
    read_predictions,
    write_predictions,
)

CAT = PredictedImage("/a/cat.jpg", "test", ("cat",), ("cat",), 0.75, unknown=False)
WRONG = PredictedImage('/a/b;"\r\n.jpg', "test", ("a;b",), ("cat",), 0.5)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Names with separators, quotes and line ends survive."""
    write_predictions(tmp_path / "predictions.csv", (CAT, WRONG), is_multi_label=False)

    assert read_predictions(tmp_path / "predictions.csv") == (CAT, WRONG)


def test_several_labels_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Images with several labels, or none, survive."""
    images = (
        PredictedImage("a.jpg", "test", ("dress", "red"), (), 0.5),
        PredictedImage("b.jpg", "test", (), ("red",), 0.9, unknown=True),
    )
    write_predictions(tmp_path / "predictions.csv", images, is_multi_label=True)

    assert read_predictions(tmp_path / "predictions.csv") == images


def test_an_evaluation_replaces_the_predictions_of_its_split_only(tmp_path: Path) -> None:
    """Predictions of other splits are kept."""
    path, other = tmp_path / "predictions.csv", PredictedImage("v.jpg", "validation", ("cat",), ("dog",), 0.6)
    write_predictions(path, (CAT, other), is_multi_label=False)
    write_predictions(path, (WRONG,), is_multi_label=False)

    assert read_predictions(path) == (other, WRONG)


def test_the_columns(tmp_path: Path) -> None:
    """A spreadsheet finds these columns."""
    write_predictions(tmp_path / "predictions.csv", (CAT,), is_multi_label=False)
    (row,) = csv.DictReader((tmp_path / "predictions.csv").open(newline=""))

    assert row == {
        "path": "/a/cat.jpg",
        "split": "test",
        "label": "cat",
        "prediction": "cat",
        "confidence": "0.75",
        "unknown": "false",
    }


def test_damage_is_an_error(tmp_path: Path) -> None:
    """A file with other columns or without numbers is reported as damaged."""
    for text in ("path,label\n", "path,split,label,prediction,confidence,unknown\na,test,b,c,high,\n", ""):
        (tmp_path / "predictions.csv").write_text(text)
        with pytest.raises(RunError) as caught:
            read_predictions(tmp_path / "predictions.csv")
        assert caught.value.code == "run-file-damaged"


def test_the_most_probable_class_is_predicted() -> None:
    """With one class per image, the prediction is the most probable class, and its probability the confidence."""
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4]])
    images = predicted_images(("a", "b"), "test", (("cat",), ("cat",)), probabilities, ("cat", "dog"))

    assert [(one.predictions, one.confidence, one.is_correct) for one in images] == [
        (("dog",), 0.8, False),
        (("cat",), 0.6, True),
    ]
    assert mistakes(images) == [images[0]]


def test_labels_from_their_thresholds_on_are_predicted() -> None:
    """With several labels, each is predicted from its threshold on; the least certain decision is the confidence."""
    images = predicted_images(("a",), "test", (("red",),), np.array([[0.9, 0.35]]), ("red", "dress"), (0.5, 0.3))

    assert (images[0].predictions, images[0].confidence) == (("red", "dress"), pytest.approx(0.35))
    assert not images[0].is_correct
