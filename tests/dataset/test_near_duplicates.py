"""Images that look alike: told where they lie in two splits, kept together where a split is drawn."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.schema import DataConfig
from cnncli.dataset import inventory, near_duplicates
from cnncli.dataset.build import build_manifest, scan_folder
from cnncli.dataset.fix_splits import plan_moves
from cnncli.dataset.inventory import verified
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.scan import scan
from cnncli.errors import DataError
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree


def build(root: Path, seed: int = 0, **settings: Any) -> Manifest:
    """The manifest of a folder."""
    return build_manifest(DataConfig(path=root, **settings), seed)


def two_of(seed: int) -> tuple[bytes, bytes]:
    """An image in two forms."""
    one = drawn_image(96, 128, seed)
    return encoded(one), encoded(one.resize((64, 48)), "JPEG", quality=70)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Three splits of two classes, two images in two forms in different ones."""
    for k, split in enumerate(("train", "validation", "test")):
        write_classes(tmp_path / split, {"cats": 12, "dogs": 12}, first_seed=100 * k)
    (cat, cat_again), (dog, dog_again) = two_of(500), two_of(501)
    files = {
        "train/cats/a.png": cat,
        "test/cats/b.jpg": cat_again,
        "test/dogs/c.png": dog,
        "train/dogs/d.jpg": dog_again,
    }
    return write_tree(tmp_path, files)


def test_pairs_in_two_splits_are_a_warning_and_are_listed(two: Path) -> None:
    """The number, an example, what it does, and how to mend it; all pairs in the run."""
    found = build(two)
    (warning,) = found.warnings
    assert warning.startswith("pairs of images that look alike in different splits: 2, e.g. ")
    assert f"{two}/train/" in warning
    assert " (train) and " in warning
    assert warning.endswith(
        " alike; they flatter the figures. The run lists them in near_duplicates.csv;"
        f" `cnncli data check {two} --fix-splits` moves them together"
    )
    header, *rows = csv.reader(io.StringIO(found.near_text()))
    assert header == ["path", "label", "split", "path_2", "label_2", "split_2", "correlation"]
    assert [row[:6] for row in sorted(rows)] == [
        [f"{two}/train/cats/a.png", "cats", "train", f"{two}/test/cats/b.jpg", "cats", "test"],
        [f"{two}/train/dogs/d.jpg", "dogs", "train", f"{two}/test/dogs/c.png", "dogs", "test"],
    ]
    assert all(0.98 < float(row[6]) <= 1 for row in rows)


def test_data_check_tells_the_same(two: Path) -> None:
    """As facts."""
    facts = scan_folder(two)
    assert facts.problems == ()
    assert [(one.name, other.name) for one, other, _ in facts.near_duplicates] == [
        ("a.png", "b.jpg"),
        ("d.jpg", "c.png"),
    ]
    assert facts.to_dict()["near_duplicates"][0]["paths"] == [f"{two}/train/cats/a.png", f"{two}/test/cats/b.jpg"]
    assert len(facts.warnings) == 1


def test_equal_files_are_told_once(two: Path) -> None:
    """As such, not as images that look alike."""
    write_tree(two, {"test/cats/same.jpg": jpeg(0, 12, 16)})
    with pytest.raises(DataError, match="the same image in train and test"):
        build(two)
    assert len(build(two, allow_leakage=True).near) == 2
    assert len(scan_folder(two).near_duplicates) == 2


def test_alike_within_a_split_is_nothing_to_tell(tmp_path: Path) -> None:
    """It leaks nothing."""
    write_classes(tmp_path / "train", {"cats": 12, "dogs": 12})
    write_classes(tmp_path / "validation", {"cats": 12, "dogs": 12}, first_seed=100)
    write_tree(tmp_path, dict(zip(("train/cats/a.png", "train/cats/b.jpg"), two_of(500), strict=True)))
    assert build(tmp_path).warnings == ()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Class folders in which every image is there in two forms."""
    files = {}
    for k in range(40):
        label = ("cats", "dogs")[k % 2]
        files[f"{label}/{k}.png"], files[f"{label}/{97 - k}.jpg"] = two_of(k)
    return write_tree(tmp_path, files)


@pytest.mark.parametrize("seed", range(4))
def test_a_split_that_is_drawn_keeps_them_together(pairs: Path, seed: int) -> None:
    """Each class is divided as if there were none, and nothing is to be warned of."""
    found = build(pairs, seed, splits={"validation": 0.2, "test": 0.1})
    split_of = {row.path.name: row.split for row in found.rows}
    assert all(split_of[f"{k}.png"] == split_of[f"{97 - k}.jpg"] for k in range(40))
    assert found.counts()["validation"] == {"cats": 8, "dogs": 8}
    assert found.counts()["test"] == {"cats": 4, "dogs": 4}
    assert (found.warnings, found.near) == ((), ())
    assert build(pairs, seed, splits={"validation": 0.2, "test": 0.1}).rows == found.rows


def test_validation_taken_from_train_keeps_them_together(pairs: Path) -> None:
    """With a test folder beside it that stays as it is."""
    for label in ("cats", "dogs"):
        (pairs / "train").mkdir(exist_ok=True)
        (pairs / label).rename(pairs / "train" / label)
    write_classes(pairs / "test", {"cats": 12, "dogs": 12}, first_seed=900)
    found = build(pairs)
    assert found.near == ()
    assert found.counts()["validation"] == {"cats": 6, "dogs": 6}


def test_names_and_order_do_not_matter_for_what_is_kept_together(pairs: Path) -> None:
    """The draw follows the bytes."""
    before = {row.digest: row.split for row in build(pairs).rows}
    for k, path in enumerate(sorted(pairs.rglob("*.*"))):
        path.rename(path.with_name(f"new {61 * k % 83}{path.suffix}"))
    assert {row.digest: row.split for row in build(pairs).rows} == before


def test_a_crowd_is_divided_and_warned_of(tmp_path: Path) -> None:
    """Images of one scene: kept together, they would leave nothing for validation."""
    one = drawn_image(96, 128, seed=1)
    write_tree(tmp_path, {f"cats/{k}.jpg": encoded(one, "JPEG", quality=40 + k) for k in range(40)})
    write_classes(tmp_path, {"dogs": 40})
    found = build(tmp_path)
    assert found.counts()["validation"]["cats"] == 6
    assert "pairs of images that look alike in different splits: " in found.warnings[0]
    assert found.warnings[0].endswith("The run lists them in near_duplicates.csv")


def test_a_class_too_small_to_keep_them_together_is_divided(tmp_path: Path) -> None:
    """It was trained on before anybody looked for such images, and is still."""
    one = drawn_image(96, 128, seed=1)
    write_tree(tmp_path, {f"cats/{k}.jpg": encoded(one, "JPEG", quality=40 + 5 * k) for k in range(5)})
    write_classes(tmp_path, {"dogs": 12})
    found = build(tmp_path)
    assert all(labels["cats"] for labels in found.counts().values())
    assert found.near


def test_with_too_many_pairs_only_equal_files_stay_together(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ended early; those it found are told."""
    search = near_duplicates.near_pairs
    monkeypatch.setattr(near_duplicates, "near_pairs", lambda *args, **named: search(*args, **named, limit=30))
    found = build(pairs)
    assert "look alike in different splits: at least " in found.warnings[0]


def test_with_too_many_images_only_equal_files_are_looked_for(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time grows with the square of their number; a note says what was not looked for."""
    search = near_duplicates.near_pairs
    monkeypatch.setattr(near_duplicates, "near_pairs", lambda *args, **named: search(*args, **named, most=100))
    note = "76 images are too many to compare each with each: only equal ones were looked for, none that look alike"
    found, facts, plan = build(two), scan_folder(two), plan_moves(scan(two), verified(scan(two), scan(two).candidates))

    assert (found.near, found.warnings, facts.near_duplicates, plan.moves) == ((), (), (), ())
    assert note in found.notes
    assert note in facts.notes
    assert note in plan.left
    write_tree(two, {"test/cats/same.jpg": jpeg(0, 12, 16)})
    with pytest.raises(DataError, match="the same image in train and test"):
        build(two)


def test_what_is_remembered_is_enough(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look reads no image and finds the same pairs."""
    time.sleep(0.06)
    first = build(two)
    monkeypatch.setattr(inventory, "verify", lambda path, limit: pytest.fail(f"{path} was read"))
    assert build(two) == first
    assert len(first.near) == 2


def test_pairs_under_two_labels_are_counted(two: Path) -> None:
    """One of both labels is wrong."""
    (two / "test" / "cats" / "b.jpg").rename(two / "test" / "dogs" / "b.jpg")
    assert "splits: 2, 1 of them under two labels, e.g. " in scan_folder(two).warnings[0]
