"""predictions.csv has every evaluated image, whatever its name."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cnncli.dataset.records import ImageRecord
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
    write_predictions(tmp_path / "predictions.csv", (CAT, WRONG), ("cat", "dog"), is_multi_label=False)

    assert read_predictions(tmp_path / "predictions.csv") == (CAT, WRONG)


def test_several_labels_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Images with several labels, or none, survive, and the probability of each label is in its column."""
    path, images = (
        tmp_path / "predictions.csv",
        (
            PredictedImage("a.jpg", "test", ("dress", "red"), (), 0.5, probabilities=(0.2, 0.5, 0.1)),
            PredictedImage("b.jpg", "test", (), ("red",), 0.9, unknown=True, probabilities=(0.02, 0.9, 0.05)),
        ),
    )
    write_predictions(path, images, ("dress", "red", "split"), is_multi_label=True)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert read_predictions(path) == images
    assert list(rows[0]) == [
        *("path", "split", "labels", "predictions", "confidence", "unknown"),
        *("dress", "red", "(split)"),
    ]
    assert [(row["dress"], row["red"], row["(split)"]) for row in rows] == [
        ("0.2", "0.5", "0.1"),
        ("0.02", "0.9", "0.05"),
    ]


def test_files_without_probabilities_are_read_and_kept(tmp_path: Path) -> None:
    """A file of an earlier version can be read, and its other splits remain, with empty cells."""
    path, header = tmp_path / "predictions.csv", "path,split,labels,predictions,confidence,unknown"
    path.write_text(f"{header}\na.jpg,validation,dress;red,red,0.7,\n")
    (old,) = read_predictions(path)
    new = PredictedImage("b.jpg", "test", (), ("red",), 0.9, probabilities=(0.1, 0.9))
    write_predictions(path, (new,), ("dress", "red"), is_multi_label=True)

    assert old == PredictedImage("a.jpg", "validation", ("dress", "red"), ("red",), 0.7)
    assert read_predictions(path) == (old, new)


def test_an_evaluation_replaces_the_predictions_of_its_split_only(tmp_path: Path) -> None:
    """Predictions of other splits are kept."""
    path, other = tmp_path / "predictions.csv", PredictedImage("v.jpg", "validation", ("cat",), ("dog",), 0.6)
    write_predictions(path, (CAT, other), ("cat", "dog"), is_multi_label=False)
    write_predictions(path, (WRONG,), ("cat", "dog"), is_multi_label=False)

    assert read_predictions(path) == (other, WRONG)


def test_the_columns(tmp_path: Path) -> None:
    """A spreadsheet finds these columns."""
    write_predictions(tmp_path / "predictions.csv", (CAT,), ("cat", "dog"), is_multi_label=False)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)

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


@pytest.mark.parametrize(
    "text",
    [
        "path,split,label,prediction,confidence,unknown\na,test,b,c,0.5,,0.5\n",
        "path,split,label,prediction,confidence,unknown\na,test,b,c,0.5\n",
        "path,split,labels,predictions,confidence,unknown,b,c\na,test,b,c,0.5,,0.5\n",
        "path,split,labels,predictions,confidence,unknown,b,c\na,test,b,c,0.5,,0.5,0.5,0.5\n",
        "path,split,labels,predictions,confidence,unknown,b,c\na,test,b,c,0.5,,,0.5\n",
    ],
    ids=["extra", "short", "missing", "too many", "blank"],
)
def test_a_row_has_every_cell(tmp_path: Path, text: str) -> None:
    """Missing, additional and blank cells are damage, so that no probability moves to the column of another class."""
    (tmp_path / "predictions.csv").write_text(text)

    with pytest.raises(RunError) as caught:
        read_predictions(tmp_path / "predictions.csv")
    assert caught.value.code == "run-file-damaged"


def test_probabilities_of_other_classes_are_not_kept(tmp_path: Path) -> None:
    """A file with the columns of other classes can be read, but not continued."""
    path = tmp_path / "predictions.csv"
    old = PredictedImage("a.jpg", "validation", (), ("red",), 0.7, probabilities=(0.1, 0.7))
    new = PredictedImage("b.jpg", "test", (), ("red",), 0.9, probabilities=(0.1, 0.9))
    write_predictions(path, (old,), ("dress", "red"), is_multi_label=True)
    text = path.read_text()

    with pytest.raises(RunError) as caught:
        write_predictions(path, (new,), ("red", "dress"), is_multi_label=True)
    assert caught.value.code == "run-file-damaged"
    assert path.read_text() == text
    assert read_predictions(path) == (old,)


def records(*labels: tuple[str, ...]) -> list[ImageRecord]:
    """Return images with labels."""
    return [ImageRecord(f"/{number}.jpg", names, "test") for number, names in enumerate(labels)]


def test_the_most_probable_class_is_predicted() -> None:
    """With one class per image, the prediction is the most probable class."""
    probabilities, confidences = np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0.7, 0.55])
    images = predicted_images(
        records(("cat",), ("cat",)), "test", probabilities, ("cat", "dog"), (), confidences, np.array([True, False])
    )

    assert [(one.path, one.predictions, one.confidence, one.unknown, one.is_correct) for one in images] == [
        ("/0.jpg", ("dog",), 0.7, True, False),
        ("/1.jpg", ("cat",), 0.55, False, True),
    ]
    assert mistakes(images) == [images[0]]


def test_labels_from_their_thresholds_on_are_predicted() -> None:
    """With several labels, each is predicted from its threshold on."""
    confidences = np.array([0.65])
    (image,) = predicted_images(
        records(("red",)), "test", np.array([[0.9, 0.35]]), ("red", "dress"), (0.5, 0.3), confidences
    )

    assert (image.predictions, image.confidence, image.unknown) == (("red", "dress"), 0.65, None)
    assert not image.is_correct
