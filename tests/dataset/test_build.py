"""Building the manifest of a folder, and reporting all problems of its images together."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.dataset import verification
from cnncli.dataset.build import build_manifest, manifest_of_folder, report_on_data
from cnncli.dataset.dataset import read_dataset
from cnncli.dataset.issues import Issue
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.stat_index import StatIndex
from cnncli.errors import DataError
from cnncli.images.verify import ImageFacts
from cnncli.shards.shard import place_key
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree

TWO = {"cats": 4, "dogs": 4}


def build(root: Path, seed: int = 0, **settings: Any) -> Manifest:
    """Return the manifest of a folder."""
    return build_manifest(DataConfig(path=root, **settings), seed)


def evaluated(root: Path, classes: tuple[str, ...], allow_missing: bool = False, **settings: Any) -> Manifest:
    """Return the manifest of a folder for evaluating a classifier with the given classes."""
    return manifest_of_folder(DataConfig(path=root, **settings), classes, allow_missing)


def problems(do: Callable[[], object], root: Path) -> list[tuple[str, str]]:
    """Return the code and the relative path of each problem that an action raises."""
    with pytest.raises(DataError) as error:
        do()
    facts = [(one.code, one.facts.get("path")) for one in error.value.problems]
    return [(code, str(Path(str(path)).relative_to(root)) if path else "") for code, path in facts]


def build_problems(root: Path, **settings: Any) -> list[tuple[str, str]]:
    """Return the code and the relative path of each problem of a folder."""
    return problems(lambda: build(root, **settings), root)


def codes(issues: Sequence[Issue], severity: str) -> list[str]:
    """Return the codes of the issues with the given severity."""
    return [issue.code for issue in issues if issue.severity == severity]


def the(issues: Sequence[Issue], code: str) -> Issue:
    """Return the only issue with the given code."""
    (issue,) = [issue for issue in issues if issue.code == code]
    return issue


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a folder with three splits, each with two classes."""
    for k, (split, n) in enumerate({"train": 4, "validation": 2, "test": 3}.items()):
        write_classes(tmp_path / split, {"cats": n, "dogs": n}, first_seed=100 * k)
    return tmp_path


def test_rows_describe_the_files(three: Path) -> None:
    """Rows contain the path, label, digest and size of each image and are sorted by split: train, validation, test."""
    found = build(three)
    assert found.classes == ("cats", "dogs")
    assert found.counts() == {
        "train": {"cats": 4, "dogs": 4},
        "validation": {"cats": 2, "dogs": 2},
        "test": {"cats": 3, "dogs": 3},
    }
    assert [row.split for row in found.rows] == ["train"] * 8 + ["validation"] * 4 + ["test"] * 6
    row = found.split("validation")[3]
    path = three / "validation" / "dogs" / "dogs.1.jpg"
    assert (row.path, row.label, row.facts.width, row.facts.height) == (path, "dogs", 16, 12)
    assert row.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert row.facts.size_bytes == path.stat().st_size
    assert codes(found.issues, "note") == []
    assert found.skipped == ()


def test_sizes_include_the_exif_orientation(tmp_path: Path) -> None:
    """The width and height in the manifest are those after applying the EXIF orientation."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "TIFF"):
        write_tree(tmp_path, {f"a/{kind}": encoded(drawn_image(24, 32), kind, exif=exif)})
    write_classes(tmp_path, {"b": 3})
    sizes = {(row.facts.width, row.facts.height) for row in build(tmp_path).rows if row.label == "a"}
    assert sizes == {(24, 32)}


def test_class_folders_are_split_by_seed(tmp_path: Path) -> None:
    """Images in class folders are divided by class, seed and fractions, and a note reports the counts."""
    write_classes(tmp_path, {"cats": 20, "dogs": 10})
    found = build(tmp_path, splits={"validation": 0.2, "test": 0.1})
    assert found.counts() == {
        "train": {"cats": 14, "dogs": 7},
        "validation": {"cats": 4, "dogs": 2},
        "test": {"cats": 2, "dogs": 1},
    }
    assert the(found.issues, "data-split-drawn").facts["counts"] == {"train": 21, "validation": 6, "test": 3}
    assert build(tmp_path, splits={"validation": 0.2, "test": 0.1}).rows == found.rows
    assert build(tmp_path, seed=1, splits={"validation": 0.2, "test": 0.1}).rows != found.rows


def test_split_depends_on_the_bytes_and_not_on_the_names(tmp_path: Path) -> None:
    """Renaming files does not change their split."""
    write_classes(tmp_path, {"cats": 20, "dogs": 20})
    before = {row.digest: row.split for row in build(tmp_path).rows}
    for k, path in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        path.rename(path.with_name(f"{97 * k % 101}.jpg"))
    assert {row.digest: row.split for row in build(tmp_path).rows} == before


def test_a_missing_test_split_is_noted(tmp_path: Path) -> None:
    """A missing test split is reported in a note, whether its fraction is 0 or its folder is missing."""
    write_classes(tmp_path / "a", {"cats": 5, "dogs": 5})
    found = build(tmp_path / "a", splits={"validation": 0.2, "test": 0.0})
    assert list(found.counts()) == ["train", "validation"]
    assert codes(found.issues, "note") == ["data-split-drawn", "data-no-test-split"]
    for k, split in enumerate(("train", "val")):
        write_classes(tmp_path / "b" / split, TWO, first_seed=50 * k)
    assert codes(build(tmp_path / "b").issues, "note") == ["data-no-test-split"]


def test_missing_validation_is_drawn_from_train_and_never_from_test(tmp_path: Path) -> None:
    """If there is no validation folder, a fraction of each class in train, but none of test, is used for validation."""
    write_classes(tmp_path / "train", {"cats": 20, "dogs": 40})
    write_classes(tmp_path / "test", TWO, first_seed=100)
    found = build(tmp_path)
    assert found.counts() == {
        "train": {"cats": 17, "dogs": 34},
        "validation": {"cats": 3, "dogs": 6},
        "test": {"cats": 4, "dogs": 4},
    }
    assert {row.path.parts[-3] for row in found.split("validation")} == {"train"}
    assert {row.path.parts[-3] for row in found.split("test")} == {"test"}
    assert the(found.issues, "data-split-drawn").facts["counts"] == {"train": 51, "validation": 9}


def test_a_train_folder_alone_gives_train_and_validation(tmp_path: Path) -> None:
    """A folder with only a train split is divided into train and validation, and the missing test split is noted."""
    write_classes(tmp_path / "train", {"cats": 20, "dogs": 20})
    found = build(tmp_path)
    assert {split: sum(of.values()) for split, of in found.counts().items()} == {"train": 34, "validation": 6}
    assert codes(found.issues, "note") == ["data-split-drawn", "data-no-test-split"]


def test_fractions_of_splits_that_are_folders_are_refused(three: Path) -> None:
    """Fractions of splits that exist as folders are refused, unless they equal the defaults."""
    with pytest.raises(DataError) as error:
        build(three, splits={"validation": 0.2, "test": 0.3})
    assert error.value.codes == ("data-split-without-effect",) * 2
    assert [one.facts["key"] for one in error.value.problems] == ["data.splits.validation", "data.splits.test"]
    assert build(three, splits={"validation": 0.15, "test": 0.15}).rows == build(three).rows


def test_the_fraction_of_validation_is_applied_to_train(tmp_path: Path) -> None:
    """Without a validation folder, the fraction of validation is applied, but a fraction of test is refused."""
    write_classes(tmp_path / "train", {"cats": 10, "dogs": 10})

    with pytest.raises(DataError) as error:
        build(tmp_path, splits={"validation": 0.2, "test": 0.3})
    assert [one.facts["key"] for one in error.value.problems] == ["data.splits.test"]
    assert build(tmp_path, splits={"validation": 0.2}).counts()["validation"] == {"cats": 2, "dogs": 2}


def test_a_split_with_missing_or_extra_classes_is_reported(three: Path) -> None:
    """A split with missing or extra classes is reported, because its labels would not match those of train."""
    (three / "validation" / "cats").rename(three / "validation" / "kittens")
    write_classes(three / "test", {"birds": 1}, first_seed=900)
    with pytest.raises(DataError) as error:
        build(three)
    assert error.value.codes == ("data-classes-differ",) * 2
    facts = [(one.facts["path"], one.facts["missing"], one.facts["additional"]) for one in error.value.problems]
    assert facts == [(three / "validation", ("cats",), ("kittens",)), (three / "test", (), ("birds",))]


def test_empty_class_is_reported(three: Path) -> None:
    """A class folder without images is reported, whether or not it contains other files."""
    (three / "train" / "dogs" / "x").mkdir()
    for path in (three / "train" / "dogs").glob("*.jpg"):
        path.rename(path.with_suffix(".bak"))
        path.with_suffix(".bak").write_text("no image")
    for path in (three / "test" / "cats").glob("*.jpg"):
        path.unlink()
    assert build_problems(three) == [("data-empty-class", "train/dogs"), ("data-empty-class", "test/cats")]


def test_one_class_is_too_few(tmp_path: Path) -> None:
    """A folder with a single class is refused; if it contains a dataset folder, the hint names that folder."""
    write_classes(tmp_path / "a", {"cats": 3})
    assert build_problems(tmp_path / "a") == [("data-single-class", ".")]
    write_classes(tmp_path / "b" / "dogs-vs-cats" / "train", TWO)
    with pytest.raises(DataError) as error:
        build(tmp_path / "b")
    assert error.value.codes == ("data-single-class",)
    assert str(tmp_path / "b" / "dogs-vs-cats") in str(error.value.facts["hint"])


def test_folders_without_class_folders_are_refused(tmp_path: Path) -> None:
    """A folder without class folders is refused, with the number of images found outside class folders."""
    write_tree(tmp_path, {f"cat.{k}.jpg": jpeg(k) for k in range(3)})
    with pytest.raises(DataError) as error:
        build(tmp_path)
    assert error.value.codes == ("data-no-class-folders",)
    assert error.value.facts["n"] == 3


def test_split_without_class_folders_and_splits_without_train(tmp_path: Path) -> None:
    """A split without class folders and a dataset without a train split are each reported once."""
    write_classes(tmp_path / "a" / "train", TWO)
    (tmp_path / "a" / "test").mkdir()
    assert build_problems(tmp_path / "a") == [("data-no-class-folders", "test")]
    write_classes(tmp_path / "b" / "test", TWO)
    assert build_problems(tmp_path / "b") == [("data-no-train-split", ".")]


def test_classes_too_small_to_split_are_reported_with_remedies(tmp_path: Path) -> None:
    """Classes with too few distinct images for all splits are reported together; min_images leaves them out."""
    write_classes(tmp_path, {"ants": 1, "cats": 9, "dogs": 2, "emus": 9})
    write_tree(tmp_path, {f"owls/{k}.jpg": jpeg(999) for k in range(5)})
    with pytest.raises(DataError) as error:
        build(tmp_path)
    assert error.value.codes == ("data-class-too-small",)
    assert error.value.facts["counts"] == {"ants": 1, "dogs": 2, "owls": 5}
    assert "data.splits.test=0" in str(error.value)
    assert "data.min_images=6" in str(error.value)
    found = build(tmp_path, min_images=6)
    assert found.classes == ("cats", "emus")
    assert the(found.issues, "data-classes-left-out").facts["counts"] == {"ants": 1, "dogs": 2, "owls": 5}


def test_classes_with_too_few_groups_are_reported_as_such(tmp_path: Path) -> None:
    """A class whose images are in fewer groups than there are splits is not one with too few images."""
    write_classes(tmp_path, {"cats": 9, "dogs": 9})
    with pytest.raises(DataError) as error:
        build(tmp_path, groups={"folder": 1})
    assert error.value.codes == ("data-class-few-groups",)
    assert error.value.facts["groups"] == {"cats": 1, "dogs": 1}
    assert error.value.facts["counts"] == {"cats": 9, "dogs": 9}
    assert "min_images" not in error.value.facts["remedies"]


def test_a_minimum_that_leaves_one_class_is_refused(tmp_path: Path) -> None:
    """`data.min_images` is refused if it leaves fewer than two classes."""
    write_classes(tmp_path, {"cats": 9, "dogs": 4})
    assert build_problems(tmp_path, min_images=5) == [("data-all-classes-left-out", ".")]


def test_all_unreadable_images_are_listed_together(three: Path) -> None:
    """All unreadable images are reported together, each with its own code, followed by a remedy."""
    write_tree(three, {"train/cats/a.jpg": b"", "test/dogs/b.png": b"<html>", "train/dogs/c.jpg": jpeg()[:-100]})
    assert build_problems(three) == [
        ("image-empty", "train/cats/a.jpg"),
        ("image-truncated", "train/dogs/c.jpg"),
        ("image-unknown-format", "test/dogs/b.png"),
        ("data-bad-images", ""),
    ]


def test_unreadable_images_can_be_skipped(three: Path) -> None:
    """With on_bad_image=skip, unreadable images are listed as skipped and counted in a note."""
    write_tree(three, {"train/cats/a.jpg": b"", "train/notes.txt": b"x"})
    found = build(three, on_bad_image="skip")
    ((path, reason),) = found.skipped
    assert (path, reason.code) == (three / "train/cats/a.jpg", "image-empty")
    assert codes(found.issues, "note") == ["data-skipped-images"]
    assert found.counts()["train"] == {"cats": 4, "dogs": 4}


def test_skipping_a_whole_class_is_an_error(tmp_path: Path) -> None:
    """With on_bad_image=skip, a class without any readable image is still an error."""
    write_classes(tmp_path, {"cats": 5, "dogs": 5})
    write_tree(tmp_path, {"owls/a.jpg": b"x"})
    assert build_problems(tmp_path, on_bad_image="skip") == [("data-empty-class", "owls")]


def test_max_pixels_applies_to_known_and_unknown_images(three: Path) -> None:
    """A changed pixel limit also applies to images that were verified before with a different limit."""
    build(three)
    found = [code for code, _ in build_problems(three, max_pixels=100)]
    assert found.count("image-too-many-pixels") == 18
    build(three)


def test_identical_images_in_two_splits_are_an_error(three: Path) -> None:
    """Identical images in different splits are an error that lists all groups, unless allow_leakage is set."""
    write_tree(three, {"test/cats/copy.jpg": jpeg(0, 12, 16), "validation/dogs/z.jpg": jpeg(0, 12, 16)})
    write_tree(three, {"test/dogs/copy.jpg": jpeg(5, 12, 16)})
    with pytest.raises(DataError) as error:
        build(three)
    assert error.value.codes == ("data-leak", "data-leak", "data-leaks")
    assert [one.facts.get("splits") for one in error.value.problems] == [
        ("train", "validation", "test"),
        ("train", "test"),
        None,
    ]
    assert [one.facts.get("labels") for one in error.value.problems] == [("cats", "dogs"), ("dogs",), None]
    assert error.value.problems[2].facts["n"] == 2
    found = build(three, allow_leakage=True)
    assert the(found.issues, "data-leaks-accepted").facts["n"] == 2


def test_long_lists_of_groups_are_shortened_and_counted(tmp_path: Path) -> None:
    """At most twenty groups of identical images are listed, followed by their total number."""
    write_classes(tmp_path / "train", {"cats": 30, "dogs": 30})
    write_classes(tmp_path / "test", {"cats": 30, "dogs": 30})
    with pytest.raises(DataError) as error:
        build(tmp_path)
    assert error.value.codes == (*["data-leak"] * 20, "data-leaks")
    assert error.value.problems[-1].facts["n"] == 60


def test_two_labels_of_one_image_are_a_warning(three: Path) -> None:
    """Identical images with two labels within a split are reported as a warning."""
    write_tree(three, {"train/dogs/same.jpg": jpeg(0, 12, 16)})
    issue = the(build(three).issues, "data-two-labels")
    assert issue.severity == "warning"
    assert issue.paths == (three / "train/cats/cats.0.jpg", three / "train/dogs/same.jpg")


def test_all_problems_are_reported_at_once(three: Path) -> None:
    """Differing classes, unreadable images and leaks are reported in one error."""
    write_classes(three / "test", {"birds": 1}, first_seed=900)
    write_tree(three, {"train/cats/a.jpg": b"", "test/cats/copy.jpg": jpeg(0, 12, 16)})
    assert [code for code, _ in build_problems(three)] == [
        "data-classes-differ",
        "image-empty",
        "data-bad-images",
        "data-leak",
        "data-leaks",
    ]


def test_known_files_are_not_read_again(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only new and changed files are read; the results for all other files come from the index."""
    write_tree(three, {"train/cats/bad.jpg": b"x"})
    time.sleep(0.06)
    first = build(three, on_bad_image="skip")
    read: list[str] = []
    verify = verification.verify
    monkeypatch.setattr(
        verification, "verify", lambda path, *limits: (read.append(path.name), verify(path, *limits))[1]
    )
    assert build(three, on_bad_image="skip") == first
    assert read == []
    (three / "train/cats/bad.jpg").write_bytes(jpeg(77))
    write_tree(three, {"train/dogs/new.jpg": jpeg(78)})
    (three / "test/cats/cats.0.jpg").unlink()
    found = build(three)
    assert sorted(read) == ["bad.jpg", "new.jpg"]
    assert len(found.rows) == len(first.rows) + 1


def test_an_unusable_index_changes_nothing(three: Path) -> None:
    """A damaged index, or a folder in its place, does not change the manifest."""
    index = StatIndex().path
    index.parent.mkdir(parents=True)
    index.write_bytes(b"no database" * 100)
    assert len(build(three).rows) == 18
    index.unlink()
    index.mkdir()
    assert len(build(three).rows) == 18


def test_progress_is_shown_if_images_are_read(three: Path) -> None:
    """Progress is shown only while images are read, not if all of them are in the index."""
    time.sleep(0.06)
    summaries = []
    for _ in range(2):
        screen = io.StringIO()
        build_manifest(DataConfig(path=three), 0, Console(screen, live=False))
        summaries.append(screen.getvalue())
    assert "18 images" in summaries[0]
    assert summaries[1] == ""


def test_relative_paths_become_absolute(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths in a manifest are absolute, even if the data path is relative."""
    monkeypatch.chdir(three.parent)
    assert build(Path(three.name)).rows == build(three).rows


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    """File names that are not valid UTF-8 are kept by the manifest, its CSV file and the index."""
    name = os.fsdecode(b'\xff caf\xc3\xa9\r\n"')
    write_classes(tmp_path / "data", {name: 5, "dogs": 5})
    time.sleep(0.06)
    found = build(tmp_path / "data")
    assert build(tmp_path / "data").rows == found.rows
    assert found.classes == ("dogs", name)
    write_atomically(tmp_path / "manifest.csv", found.csv_text())
    assert Manifest.from_csv(tmp_path / "manifest.csv").rows == found.rows


def test_an_evaluated_folder_is_reduced_to_its_test_split(three: Path) -> None:
    """For evaluation, only the test split of a folder is read; unreadable images in other splits are ignored."""
    write_tree(three, {"train/cats/a.jpg": b""})
    found = evaluated(three, ("cats", "dogs"))
    assert {row.split for row in found.rows} == {"test"}
    assert len(found.rows) == 6
    assert found.classes == ("cats", "dogs")


def test_all_images_of_evaluated_class_folders_are_used(tmp_path: Path) -> None:
    """For evaluation, all images of a folder with class folders belong to the test split."""
    write_classes(tmp_path, TWO)
    found = evaluated(tmp_path, ("cats", "dogs"))
    assert found.counts() == {"test": TWO}


def test_an_evaluated_folder_needs_a_test_split(three: Path) -> None:
    """For evaluation, a folder with splits but without a test split is an error."""
    shutil.rmtree(three / "test")
    assert problems(lambda: evaluated(three, ("cats", "dogs")), three) == [("data-no-test-folder", ".")]


def test_classes_of_an_evaluated_folder_are_matched_by_name(tmp_path: Path) -> None:
    """Unknown and missing classes of an evaluated folder are reported; only missing ones can be accepted."""
    write_classes(tmp_path, {"cats": 2, "owls": 2})
    (tmp_path / "dogs").mkdir()
    classes = ("birds", "cats", "dogs")
    with pytest.raises(DataError) as error:
        evaluated(tmp_path, classes)
    found = [(one.code, one.facts["labels"]) for one in error.value.problems]
    assert found == [("data-class-unknown", ("owls",)), ("data-class-absent", ("birds", "dogs"))]
    with pytest.raises(DataError) as error:
        evaluated(tmp_path, classes, allow_missing=True)
    assert error.value.codes == ("data-class-unknown",)
    (tmp_path / "owls").rename(tmp_path / "birds")
    accepted = evaluated(tmp_path, classes, allow_missing=True)
    assert accepted.classes == classes
    assert accepted.labels(accepted.rows).tolist() == [0, 0, 1, 1]


def test_an_evaluated_folder_needs_images(tmp_path: Path) -> None:
    """An evaluated folder without images is an error, even if missing classes are accepted."""
    with pytest.raises(DataError) as error:
        evaluated(tmp_path, ("cats", "dogs"), allow_missing=True)
    assert error.value.codes == ("data-class-absent",)


def test_unreadable_images_of_an_evaluated_folder_are_reported(tmp_path: Path) -> None:
    """Unreadable images of an evaluated folder are reported, or skipped with on_bad_image=skip."""
    write_classes(tmp_path, TWO)
    write_tree(tmp_path, {"cats/a.jpg": b""})
    found = problems(lambda: evaluated(tmp_path, ("cats", "dogs")), tmp_path)
    assert found[0] == ("image-empty", "cats/a.jpg")
    accepted = evaluated(tmp_path, ("cats", "dogs"), on_bad_image="skip")
    assert [(path, reason.code) for path, reason in accepted.skipped] == [(tmp_path / "cats/a.jpg", "image-empty")]


def test_report_describes_a_folder(three: Path) -> None:
    """The report is valid JSON with counts, sizes, formats, modes, duplicates, left-out files and issues."""
    write_tree(
        three,
        {
            "train/cats/gray.png": encoded(drawn_image(30, 40).convert("L")),
            "train/cats/again.jpg": jpeg(0, 12, 16),
            "train/dogs/same.jpg": jpeg(0, 12, 16),
            "test/dogs/leak.jpg": jpeg(1, 12, 16),
            "test/dogs/bad.jpg": b"x",
            "test/Thumbs.db": b"x",
        },
    )
    report, issues = report_on_data(DataConfig(path=three))
    found = json.loads(json.dumps(report))
    assert (found["layout"], found["classes"], found["total"]) == ("splits", ["cats", "dogs"], 22)
    assert (found["ok"], found["path"]) == (False, str(three))
    assert found["counts"]["train"] == {"cats": 6, "dogs": 5}
    assert found["counts"]["test"] == {"cats": 3, "dogs": 4}
    assert found["width"] == {"min": 16, "median": 16, "max": 40}
    assert found["height"] == {"min": 12, "median": 12, "max": 30}
    assert (found["formats"], found["modes"]) == ({"JPEG": 21, "PNG": 1}, {"RGB": 21, "L": 1})
    unreadable = [(one["path"], one["code"]) for one in found["unreadable"]]
    assert unreadable == [(f"{three}/test/dogs/bad.jpg", "image-unknown-format")]
    train, test = three / "train", three / "test"
    again, same = f"{train}/cats/again.jpg", f"{train}/dogs/same.jpg"
    assert found["duplicates_within"] == [[again, f"{train}/cats/cats.0.jpg", same]]
    assert found["duplicates_across"] == [[f"{train}/cats/cats.1.jpg", f"{test}/dogs/leak.jpg"]]
    assert found["two_labels"] == [[again, same]]
    assert found["left_out"] == {"system file such as Thumbs.db": 1}
    assert found["issues"][0]["severity"] == "error"
    assert codes(issues, "error") == [
        "image-unknown-format",
        "data-bad-images",
        "data-leak",
        "data-leaks",
    ]


def test_report_of_class_folders(tmp_path: Path) -> None:
    """The report on class folders has one set of counts and a note on the splits that training would draw."""
    write_classes(tmp_path, {"cats": 20, "dogs": 20})
    found, issues = report_on_data(DataConfig(path=tmp_path))
    assert (found["layout"], found["counts"]) == ("classes", {"all": {"cats": 20, "dogs": 20}})
    assert codes(issues, "error") == codes(issues, "warning") == []
    assert codes(issues, "note") == ["data-split-drawn"]


def test_training_and_report_have_the_same_issues(tmp_path: Path) -> None:
    """The report on a folder contains the same issues as its manifest."""
    write_classes(tmp_path / "train", {"cats": 30, "dogs": 9})
    write_classes(tmp_path / "test", {"cats": 12, "dogs": 48}, first_seed=500)
    assert report_on_data(DataConfig(path=tmp_path))[1] == build(tmp_path).issues


def test_unusual_class_sizes_are_warnings(tmp_path: Path) -> None:
    """Warnings report small classes, uneven classes, splits distributed differently from train, and swapped splits."""
    write_classes(tmp_path / "train", {"cats": 30, "dogs": 9})
    write_classes(tmp_path / "validation", {"cats": 5, "dogs": 2}, first_seed=300)
    write_classes(tmp_path / "test", {"cats": 12, "dogs": 48}, first_seed=500)
    _, issues = report_on_data(DataConfig(path=tmp_path))
    assert codes(issues, "error") == []
    assert codes(issues, "warning") == [
        "data-few-images",
        "data-uneven-classes",
        "data-uneven-classes",
        "data-class-distribution",
        "data-splits-swapped",
    ]
    assert the(issues, "data-few-images").facts["counts"] == {"dogs": 9}
    assert the(issues, "data-class-distribution").facts["split"] == "test"


def test_chance_differences_of_class_fractions_are_not_reported(tmp_path: Path) -> None:
    """Differences in class fractions that small counts explain are not reported."""
    write_classes(tmp_path / "train", {"cats": 40, "dogs": 40, "rare": 2})
    write_classes(tmp_path / "validation", {"cats": 10, "dogs": 10, "rare": 1}, first_seed=300)
    write_classes(tmp_path / "test", {"cats": 10, "dogs": 10, "rare": 3}, first_seed=600)
    assert "data-class-distribution" not in codes(report_on_data(DataConfig(path=tmp_path))[1], "warning")


def test_class_weights_are_not_recommended_if_they_are_set(tmp_path: Path) -> None:
    """The warning about uneven classes recommends class weights only if they are not set."""
    write_classes(tmp_path, {"cats": 60, "dogs": 12})
    plain = [one for one in build(tmp_path).issues if one.code == "data-uneven-classes"]
    balanced = [one for one in build(tmp_path, class_weights="balanced").issues if one.code == "data-uneven-classes"]
    assert "class_weights" in str(plain[0].facts["remedy"])
    assert balanced[0].facts["remedy"] == ""


def test_many_small_classes_are_counted(tmp_path: Path) -> None:
    """Small classes are reported in one warning with their number and the smallest ones."""
    write_classes(tmp_path / "train", {f"c{k}": 4 + k % 3 for k in range(9)})
    issue = the(report_on_data(DataConfig(path=tmp_path))[1], "data-few-images")
    assert issue.facts["n"] == 9
    assert [name for name in issue.facts["counts"] if name in issue.message] == ["c0", "c3", "c6", "c1", "c4"]


def test_a_class_with_a_different_spelling_is_recognized(three: Path) -> None:
    """If a class differs only in case, spaces or plural from one in train, the error names the likely match."""
    (three / "validation" / "cats").rename(three / "validation" / "Cats ")
    (three / "test" / "dogs").rename(three / "test" / "dog")
    with pytest.raises(DataError) as error:
        build(three)
    assert error.value.codes == ("data-classes-differ",) * 2
    names = [re.findall('"(.+?)"', str(one.facts["renamed"])) for one in error.value.problems]
    assert names == [["Cats ", "cats"], ["dog", "dogs"]]


def test_splits_without_a_common_class_are_one_problem(three: Path) -> None:
    """A split that shares no class with train is reported as one problem."""
    for k, label in enumerate(("cats", "dogs")):
        (three / "test" / label).rename(three / "test" / f"{k}")
    assert build_problems(three) == [("data-classes-differ", "test")]


def test_classes_with_similar_names_are_a_warning(tmp_path: Path) -> None:
    """Class names that differ only in case are reported in one warning for all splits; `1` and `-1` are not."""
    for k, split in enumerate(("train", "validation", "test")):
        write_classes(tmp_path / split, {"Cats": 12, "cats": 12, "1": 12, "-1": 12}, first_seed=100 * k)
    issue = the(build(tmp_path).issues, "data-class-names-similar")
    assert (issue.facts["one"], issue.facts["other"]) == ("Cats", "cats")


def test_many_raw_files_in_a_class_are_a_warning(tmp_path: Path) -> None:
    """A class that consists mostly of RAW files, which are left out, is reported in a warning with their number."""
    write_classes(tmp_path, {"cats": 12, "dogs": 12})
    write_tree(tmp_path, {f"cats/{k}.nef": b"II*\0" for k in range(100)})
    issue = the(build(tmp_path).issues, "data-files-left-out")
    assert (issue.severity, issue.paths, issue.facts["n"], issue.facts["total"]) == (
        "warning",
        (tmp_path / "cats",),
        100,
        112,
    )


def test_images_without_their_reader_are_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pillow-heif, HEIC images are left out, and one warning says how many and how to install it."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    write_classes(tmp_path, {"cats": 12, "dogs": 12})
    write_tree(tmp_path, {f"cats/{k}.heic": b"\0\0\0\x18ftypheic" for k in range(3)})
    write_tree(tmp_path, {"dogs/renamed": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"})
    issue = the(build(tmp_path).issues, "data-reader-not-installed")
    assert (issue.severity, issue.paths, issue.facts["n"]) == ("warning", (tmp_path,), 4)
    assert "pip install 'cnncli[heic]'" in issue.message


def test_12_bit_data_in_16_bit_files_are_a_warning(tmp_path: Path) -> None:
    """A warning suggests `data.range` for 16-bit images that use only 12 bits, unless it is set."""
    import numpy as np
    from PIL import Image

    for k in range(24):
        values = np.random.default_rng(k).integers(0, 4096, (12, 16)).astype(np.uint16)
        write_tree(tmp_path, {f"{'ab'[k % 2]}/{k}.png": encoded(Image.fromarray(values))})
    issue = the(build(tmp_path).issues, "data-narrow-range")
    assert issue.facts["suggested"] == "4095"
    assert "data-narrow-range" not in codes(build(tmp_path, range=(0, 4095)).issues, "warning")


def test_report_of_an_empty_folder(tmp_path: Path) -> None:
    """The report on an empty folder contains zeros and one error."""
    found, issues = report_on_data(DataConfig(path=tmp_path))
    assert found["total"] == 0
    assert found["width"] == {"min": 0, "median": 0, "max": 0}
    assert codes(issues, "error") == ["data-no-class-folders"]


@pytest.mark.slow
@pytest.mark.shared
def test_real_photographs_are_indexed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest of 4,000 photographs is built without errors, and building it again reads no image."""
    first = build(shared / "data" / "dogs-vs-cats")
    assert {split: sum(of.values()) for split, of in first.counts().items()} == {
        "train": 2000,
        "validation": 1000,
        "test": 1000,
    }
    monkeypatch.setattr(verification, "verify", lambda path, limit: pytest.fail(f"{path} was read"))
    assert build(shared / "data" / "dogs-vs-cats") == first


def test_known_images_take_little_memory(tmp_path: Path) -> None:
    """Reading images that were verified earlier takes at most 1,500 bytes each at its peak."""
    names = [f"class{k % 10}/{k:07}.jpg" for k in range(3_000)]
    with tarfile.open(tmp_path / "photos.tar", "w") as shard:
        for name in names:
            shard.addfile(tarfile.TarInfo(name))
    time.sleep(0.1)  # files that changed a moment ago are not remembered
    key, facts = place_key(tmp_path / "photos.tar"), ImageFacts("", 110_000, 500, 375, "JPEG", "RGB")
    digests = [hashlib.sha256(name.encode()).digest() for name in names]
    StatIndex().remember(
        (f"{tmp_path}/photos.tar/{name}", key, replace(facts, digest=digest.hex(), thumbnail=9 * digest))
        for name, digest in zip(names, digests, strict=True)
    )
    read_dataset(DataConfig(path=tmp_path))  # imports modules
    tracemalloc.start()
    try:
        assert len(read_dataset(DataConfig(path=tmp_path)).good) == len(names)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500 * len(names)


def test_a_manifest_can_contain_a_part_of_the_training_images(tmp_path: Path) -> None:
    """`data.train_images` limits the training split after the splits are drawn, with a note."""
    write_classes(tmp_path, {"cats": 20, "dogs": 20})
    whole, part = build(tmp_path), build(tmp_path, train_images=6)

    assert set(part.split("train")) < set(whole.split("train"))
    assert part.counts()["train"] == {"cats": 3, "dogs": 3}
    assert (part.split("validation"), part.split("test")) == (whole.split("validation"), whole.split("test"))
    assert dict(the(part.issues, "data-train-images-limited").facts) == {"n": 6, "total": len(whole.split("train"))}
    assert build_problems(tmp_path, train_images=1) == [("data-train-images-too-few", "")]
