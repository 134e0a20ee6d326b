"""Reporting similar images in different splits, and keeping them together when splits are drawn."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.dataset import checks, duplicates, perceptual_hash, verification
from cnncli.dataset.build import build_manifest, report_on_data
from cnncli.dataset.duplicates import CROWD, inseparable, most_similar
from cnncli.dataset.fix_splits import plan_moves
from cnncli.dataset.issues import Issue
from cnncli.dataset.manifest import Manifest
from cnncli.errors import DataError
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree


def build(root: Path, seed: int = 0, **settings: Any) -> Manifest:
    """Return the manifest of a folder."""
    return build_manifest(DataConfig(path=root, **settings), seed)


def warned(issues: Sequence[Issue]) -> list[Issue]:
    """Return the warnings about similar images."""
    return [issue for issue in issues if issue.code == "data-near-duplicates"]


def two_of(seed: int) -> tuple[bytes, bytes]:
    """Return an image in two similar versions, a PNG and a smaller JPEG."""
    one = drawn_image(96, 128, seed)
    return encoded(one), encoded(one.resize((64, 48)), "JPEG", quality=70)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a folder with three splits and two pairs of similar images in different splits."""
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
    """One warning with a remedy reports similar images in different splits, and a CSV text lists all pairs."""
    found = build(two)
    (issue,) = warned(found.issues)
    assert (issue.severity, issue.facts["n"]) == ("warning", 2)
    assert {path.parent.parent.name for path in issue.paths} == {"train", "test"}
    assert "--fix-splits" in issue.facts["fix"]
    header, *rows = csv.reader(io.StringIO(found.similar_text()))
    assert header == ["path", "label", "split", "path_2", "label_2", "split_2", "correlation"]
    assert [row[:6] for row in sorted(rows)] == [
        [f"{two}/train/cats/a.png", "cats", "train", f"{two}/test/cats/b.jpg", "cats", "test"],
        [f"{two}/train/dogs/d.jpg", "dogs", "train", f"{two}/test/dogs/c.png", "dogs", "test"],
    ]
    assert all(0.98 < float(row[6]) <= 1 for row in rows)


def test_only_the_most_similar_of_many_pairs_are_listed(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning counts all pairs; a run's files are limited to the most similar ones, the most similar first."""
    scores = sorted((score for *_, score in build(two).similar), reverse=True)
    monkeypatch.setattr(duplicates, "MOST_LISTED", 1)
    found = build(two)
    (issue,) = warned(found.issues)

    assert [score for *_, score in found.similar] == scores[:1]
    assert len(found.similar_text().splitlines()) == 2
    assert issue.facts["n"] == len(scores) == 2
    pairs = [(0, 1, 0.93), (2, 3, 0.99), (4, 5, 0.95)]
    monkeypatch.setattr(duplicates, "MOST_LISTED", 2)
    assert list(most_similar(pairs)) == [pairs[1], pairs[2]]
    assert list(most_similar(pairs[:2])) == pairs[:2]


def test_thousands_of_pairs_in_given_splits_are_not_to_be_moved(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--fix-splits` is suggested for a few copies, not for images that are all of few kinds."""
    monkeypatch.setattr(checks, "MOST_LISTED", 1)
    (issue,) = warned(build(two).issues)

    assert (issue.facts["n"], issue.facts["fix"]) == (2, "")


def test_the_report_lists_the_same_pairs(two: Path) -> None:
    """The report on a folder lists the same pairs of similar images as its manifest and contains the same warning."""
    report, issues = report_on_data(DataConfig(path=two))
    assert report["ok"]
    assert [pair["paths"] for pair in report["near_duplicates"]] == [
        [f"{two}/train/cats/a.png", f"{two}/test/cats/b.jpg"],
        [f"{two}/train/dogs/d.jpg", f"{two}/test/dogs/c.png"],
    ]
    assert warned(issues) == warned(build(two).issues)


def test_identical_files_are_not_reported_as_similar(two: Path) -> None:
    """Identical files in different splits are an error and are not listed as similar images."""
    write_tree(two, {"test/cats/same.jpg": jpeg(0, 12, 16)})
    with pytest.raises(DataError) as error:
        build(two)
    assert error.value.codes == ("data-leak", "data-leaks")
    assert len(build(two, allow_leakage=True).similar) == 2
    assert len(report_on_data(DataConfig(path=two))[0]["near_duplicates"]) == 2


def test_similar_images_within_a_split_are_not_reported(tmp_path: Path) -> None:
    """Similar images within a split are not reported, because they do not inflate metrics."""
    write_classes(tmp_path / "train", {"cats": 12, "dogs": 12})
    write_classes(tmp_path / "validation", {"cats": 12, "dogs": 12}, first_seed=100)
    write_tree(tmp_path, dict(zip(("train/cats/a.png", "train/cats/b.jpg"), two_of(500), strict=True)))
    assert warned(build(tmp_path).issues) == []


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Return class folders in which every image occurs in two similar versions."""
    files = {}
    for k in range(40):
        label = ("cats", "dogs")[k % 2]
        files[f"{label}/{k}.png"], files[f"{label}/{97 - k}.jpg"] = two_of(k)
    return write_tree(tmp_path, files)


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_split_keeps_similar_images_together(pairs: Path, seed: int) -> None:
    """A drawn split keeps similar images together and has exact counts per class."""
    found = build(pairs, seed, splits={"validation": 0.2, "test": 0.1})
    split_of = {row.path.name: row.split for row in found.rows}
    assert all(split_of[f"{k}.png"] == split_of[f"{97 - k}.jpg"] for k in range(40))
    assert found.counts()["validation"] == {"cats": 8, "dogs": 8}
    assert found.counts()["test"] == {"cats": 4, "dogs": 4}
    assert (warned(found.issues), found.similar) == ([], ())
    assert build(pairs, seed, splits={"validation": 0.2, "test": 0.1}).rows == found.rows


def test_validation_drawn_from_train_keeps_similar_images_together(pairs: Path) -> None:
    """Similar images stay together when validation is drawn from train."""
    for label in ("cats", "dogs"):
        (pairs / "train").mkdir(exist_ok=True)
        (pairs / label).rename(pairs / "train" / label)
    write_classes(pairs / "test", {"cats": 12, "dogs": 12}, first_seed=900)
    found = build(pairs)
    assert found.similar == ()
    assert found.counts()["validation"] == {"cats": 6, "dogs": 6}


def test_groups_of_similar_images_do_not_depend_on_names(pairs: Path) -> None:
    """Renaming files does not change how similar images are split."""
    before = {row.digest: row.split for row in build(pairs).rows}
    for k, path in enumerate(sorted(pairs.rglob("*.*"))):
        path.rename(path.with_name(f"new {61 * k % 83}{path.suffix}"))
    assert {row.digest: row.split for row in build(pairs).rows} == before


def test_a_class_of_similar_images_is_divided_with_a_warning(tmp_path: Path) -> None:
    """Similar images that make up a whole class are divided between splits, with a warning."""
    one = drawn_image(96, 128, seed=1)
    write_tree(tmp_path, {f"cats/{k}.jpg": encoded(one, "JPEG", quality=40 + k) for k in range(40)})
    write_classes(tmp_path, {"dogs": 40})
    found = build(tmp_path)
    assert found.counts()["validation"]["cats"] == 6
    assert "drawn" in warned(found.issues)[0].facts["fix"]


def test_similar_images_of_a_small_class_are_divided(tmp_path: Path) -> None:
    """Similar images are divided if their class is too small to keep them together."""
    one = drawn_image(96, 128, seed=1)
    write_tree(tmp_path, {f"cats/{k}.jpg": encoded(one, "JPEG", quality=40 + 5 * k) for k in range(5)})
    write_classes(tmp_path, {"dogs": 12})
    found = build(tmp_path)
    assert all(labels["cats"] for labels in found.counts().values())
    assert found.similar


def test_with_too_many_pairs_only_identical_files_stay_together(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If too many pairs are similar, splits keep only identical files together, and similar pairs are reported."""
    monkeypatch.setattr(perceptual_hash, "LIMIT", 30)
    assert warned(build(pairs).issues)


def test_with_too_many_images_only_identical_files_are_searched(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are too many images to compare, only identical files are searched, and a note reports this."""
    monkeypatch.setattr(perceptual_hash, "MOST_COMPARISONS", 100)
    found, (_, reported) = build(two), report_on_data(DataConfig(path=two))
    moves, left = plan_moves(two)

    assert (found.similar, warned(found.issues), warned(reported), moves) == ((), [], [], [])
    for issues in (found.issues, reported):
        assert [issue.facts["n"] for issue in issues if issue.code == "data-too-many-to-compare"] == [76]
    assert [message.code for message in left] == ["data-fix-identical-only"]
    write_tree(two, {"test/cats/same.jpg": jpeg(0, 12, 16)})
    with pytest.raises(DataError) as error:
        build(two)
    assert error.value.code == "data-leak"


def test_pairs_that_a_drawn_split_divides_are_a_note(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning is about the splits of the source; pairs of train that drawing validation divides are a note.

    Both are listed by a run.
    """
    for path in (two / "validation").rglob("*.*"):
        path.rename(two / "train" / path.relative_to(two / "validation").with_stem(f"moved {path.stem}"))
    shutil.rmtree(two / "validation")
    one = drawn_image(96, 128, seed=1)
    write_tree(two, {f"train/cats/frame {k}.jpg": encoded(one, "JPEG", quality=40 + k) for k in range(40)})
    found, (report, reported) = build(two), report_on_data(DataConfig(path=two))
    (issue,) = warned(found.issues)
    (divided,) = [issue for issue in found.issues if issue.code == "data-near-duplicates-divided"]

    assert issue.facts["n"] == 2
    assert {path.parent.parent.name for path in issue.paths} == {"train", "test"}
    assert divided.severity == "note"
    assert {path.parent.parent.name for path in divided.paths} == {"train"}
    assert len(found.similar) == issue.facts["n"] + divided.facts["n"]
    assert [pair["splits"] for pair in report["near_duplicates"]] == [["train", "test"]] * 2
    assert [one for one in reported if one.code.startswith("data-near")] == [issue, divided]


def test_the_report_names_the_files_that_are_kept(two: Path) -> None:
    """With a part of the training images, the report still names the files of each pair."""
    report, _ = report_on_data(DataConfig(path=two, train_images=25))

    names = [{Path(path).name for path in pair["paths"]} for pair in report["near_duplicates"]]
    assert names
    assert all(one in ({"a.png", "b.jpg"}, {"c.png", "d.jpg"}) for one in names)


def test_similar_images_are_found_without_reading_files_again(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building the manifest again finds the same similar images without reading any file."""
    time.sleep(0.06)
    first = build(two)
    monkeypatch.setattr(verification, "verify", lambda path, limit: pytest.fail(f"{path} was read"))
    assert build(two) == first
    assert len(first.similar) == 2


def test_pairs_with_two_labels_are_counted(two: Path) -> None:
    """The warning counts pairs of similar images with different labels."""
    (two / "test" / "cats" / "b.jpg").rename(two / "test" / "dogs" / "b.jpg")
    (issue,) = warned(report_on_data(DataConfig(path=two))[1])
    assert "with two labels: 1" in issue.facts["labels"]


def test_indirectly_linked_images_are_one_group() -> None:
    """Images linked through other images belong to one group."""
    groups = inseparable(list("abcbd"), ["x"] * 5, [(4, 2, 1.0), (0, 2, 1.0)])
    assert groups == [[0, 2, 4], [1, 3]]


def test_a_small_group_may_be_all_of_a_class() -> None:
    """A small group may comprise a whole class."""
    assert inseparable(list("abcd"), ["x"] * 4, [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)]) == [[0, 1, 2, 3]]


def test_a_large_group_is_divided_into_identical_images() -> None:
    """A group that is a large part of its class is divided into groups of identical images."""
    n = CROWD + 1
    digests = [f"{k}" for k in range(n)] + ["0"]
    chain = [(k, k + 1, 1.0) for k in range(n - 1)]
    assert inseparable(digests, ["x"] * (n + 1), chain) == [[0, n], *([k] for k in range(1, n))]
    many = [*digests, *(f"other {k}" for k in range(200))]
    assert inseparable(many, ["x"] * len(many), chain)[0] == list(range(n + 1))


def test_identical_files_are_never_divided() -> None:
    """Many identical files stay in one group, together with a similar image."""
    digests = ["a"] * 50 + ["b"]
    assert inseparable(digests, ["x"] * 51, [(0, 50, 1.0)]) == [list(range(51))]
