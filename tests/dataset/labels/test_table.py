"""Labels from a table: columns, files, splits, and all problems of a table at once."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping
from cnncli.dataset.build import build_manifest, manifest_of_folder, report_on_data
from cnncli.dataset.labels.source import read_labels
from cnncli.dataset.labels.table import load_table, tables_in
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import UNSPLIT, LabeledImages
from cnncli.errors import ConfigError, DataError
from tests.images.making import jpeg, write_classes, write_tree

Row = Sequence[object]


def write_table(path: Path, rows: Sequence[Row], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """Write rows, of which the first is the header, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def settings(root: Path, labels: object = None, **data: Any) -> DataConfig:
    """Return settings whose labels are in labels.csv, or as given."""
    labels = root / "labels.csv" if labels is None else labels
    return config_from_mapping({"data": {"path": root, "labels": labels, **data}}, environment={}).data


def found(root: Path, labels: object = None) -> LabeledImages:
    """Return what the table of a folder says, without reading images."""
    return read_labels(settings(root, labels))


def by_name(images: LabeledImages) -> dict[str, tuple[str, str]]:
    """Return label and split of each image by its file name."""
    return {one.path.name: (one.label, one.split) for one in images.records}


def problems(images: LabeledImages) -> dict[str, dict[str, str]]:
    """Return the rows of each error by its code."""
    return {one.code: one.facts["rows"] for one in images.issues if one.severity == "error"}


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Return a folder with the images 0.jpg to 5.jpg."""
    return write_tree(tmp_path, {f"{n}.jpg": jpeg(n) for n in range(6)})


def test_a_table_gives_the_same_manifest_as_class_folders(tmp_path: Path) -> None:
    """Splits depend on bytes and labels, so the source of the labels does not matter."""
    write_classes(tmp_path, {"cat": 12, "dog": 9})
    folders = build_manifest(DataConfig(path=tmp_path), 3)
    rows = [(row.path.relative_to(tmp_path), row.label) for row in folders.rows]
    write_table(tmp_path / "labels.csv", [("image", "label"), *rows])

    table = build_manifest(settings(tmp_path), 3)

    assert (table.rows, table.classes) == (folders.rows, folders.classes)


@pytest.mark.parametrize(
    ("delimiter", "encoding", "suffix"),
    [(",", "utf-8", "csv"), (";", "utf-8-sig", "csv"), ("\t", "utf-8", "tsv"), ("|", "utf-8", "CSV")],
)
def test_delimiter_and_byte_order_mark_are_recognized(flat: Path, delimiter: str, encoding: str, suffix: str) -> None:
    """Spreadsheets write semicolons in many countries, and a byte order mark before UTF-8."""
    table = write_table(
        flat / f"t.{suffix}", [("filename", "label"), ("0.jpg", "a, b"), ("1.jpg", "größe")], delimiter, encoding
    )
    assert by_name(found(flat, table)) == {"0.jpg": ("a, b", UNSPLIT), "1.jpg": ("größe", UNSPLIT)}


def test_parquet_is_a_table_as_well(flat: Path) -> None:
    """Numbers in a Parquet file are labels by their text, and null is an empty cell."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"id": ["0", "1", "2"], "label": [1, 2, None]}
    parquet.write_table(pyarrow.table(columns), flat / "t.parquet")
    images = found(flat, flat / "t.parquet")
    assert by_name(images) == {"0.jpg": ("1", UNSPLIT), "1.jpg": ("2", UNSPLIT)}
    assert problems(images) == {"data-table-label-missing": {"line 3": "2"}}


def test_parquet_without_pyarrow_is_an_error(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has a code of its own, whose remedy is the command that installs pyarrow."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (flat / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError) as error:
        load_table(flat / "t.parquet")
    assert error.value.code == "data-parquet-not-installed"


@pytest.mark.parametrize(
    "cell", ["0.jpg", "./0.jpg", "0", "sub/../0.jpg", "{root}/0.jpg"], ids=["name", "dot", "stem", "dots", "absolute"]
)
def test_a_cell_can_name_an_image_in_several_ways(flat: Path, cell: str) -> None:
    """A path relative to data.path or to the table, an absolute path, a name, or a name without suffix."""
    write_table(flat / "labels.csv", [("image", "label"), (cell.format(root=flat), "a")])
    assert list(by_name(found(flat))) == ["0.jpg"]


def test_names_without_folders_are_found_below_the_folder(tmp_path: Path) -> None:
    """Ids without suffix, as in competitions, are found in subfolders; images can also lie outside of data.path."""
    write_tree(tmp_path, {"in/deep/er/7f.png.jpg": jpeg(1), "in/x.jpg": jpeg(2), "else/y.jpg": jpeg(3)})
    rows = [("id", "breed"), ("7f.png", "pug"), ("deep/er/7f.png.jpg", "pug"), ("x", "owl"), ("../else/y.jpg", "owl")]
    table = write_table(tmp_path / "in" / "labels.csv", rows)
    images = found(tmp_path / "in", table)
    assert by_name(images) == {"7f.png.jpg": ("pug", UNSPLIT), "x.jpg": ("owl", UNSPLIT), "y.jpg": ("owl", UNSPLIT)}
    assert [one.code for one in images.issues] == ["data-table-repeated-rows"]


def test_several_columns_are_distinguished_by_their_cells(flat: Path) -> None:
    """Of two columns that could be the images, the one that names files is taken; `set` must contain splits."""
    rows = [("id", "image", "Class Name", "set"), ("a", "0.jpg", "x", "1"), ("b", "1.jpg", "y", "2")]
    write_table(flat / "labels.csv", rows)
    assert by_name(found(flat)) == {"0.jpg": ("x", UNSPLIT), "1.jpg": ("y", UNSPLIT)}


def test_columns_can_be_named(flat: Path) -> None:
    """Columns that are set are used, whatever their names."""
    rows = [("label", "a", "b"), ("0.jpg", "x", "Training"), ("1.jpg", "y", "val"), ("2.jpg", "x", "test")]
    table = write_table(flat / "labels.csv", rows)
    images = found(flat, {"path": table, "image": "label", "label": "a", "split": "b"})
    assert by_name(images) == {"0.jpg": ("x", "train"), "1.jpg": ("y", "validation"), "2.jpg": ("x", "test")}


def test_all_columns_that_are_missing_are_reported_together(flat: Path) -> None:
    """Each message lists the columns of the table."""
    table = write_table(flat / "labels.csv", [("p", "q", "r"), ("0.jpg", "x", "y")])
    with pytest.raises(DataError) as unrecognized:
        found(flat)
    assert [one.facts["key"] for one in unrecognized.value.problems] == ["data.labels.image", "data.labels.label"]
    with pytest.raises(DataError) as one:
        found(flat, {"path": table, "image": "p"})
    assert one.value.facts["expected"] == ("q", "r")
    with pytest.raises(DataError) as absent:
        found(flat, {"path": table, "image": "i", "label": "l", "split": "s"})
    assert [(one.facts["key"], one.facts["received"]) for one in absent.value.problems][:3] == [
        ("data.labels.image", "i"),
        ("data.labels.label", "l"),
        ("data.labels.split", "s"),
    ]
    assert {one.code for one in absent.value.problems} == {"data-table-column"}
    assert absent.value.problems[0].facts["expected"] == ("p", "q", "r")


def test_a_table_without_a_header_is_reported_as_such(flat: Path) -> None:
    """If the first line names an image, the error says that a header is missing."""
    table = write_table(flat / "labels.csv", [("0.jpg", "x"), ("1.jpg", "y")])
    with pytest.raises(DataError) as error:
        found(flat, table)
    assert {one.code for one in error.value.problems} == {"data-table-column"}
    assert "header" in str(error.value.problems[0])


def test_all_wrong_rows_are_reported_together(tmp_path: Path) -> None:
    """Rows without file, label or known split, with missing cells, and contradicting ones, each with its line."""
    write_tree(tmp_path, {"a/1.jpg": jpeg(1), "b/1.jpg": jpeg(2), "2.jpg": jpeg(3), "3.jpg": jpeg(4), "4.jpg": jpeg(5)})
    rows = [
        *(("image", "label", "split"), ("1.jpg", "x", "train"), ("2.jpg", "", "train"), ("3.jpg", "x", "holdout")),
        *(("5.jpg", "x", "train"), ("", "x", "train"), ("4.jpg", "x", "train"), ("4.jpg", "y", "train")),
        *(("5.jpg",), ("5.jpg", "x", "train", "y")),
    ]
    table = write_table(tmp_path / "labels.csv", rows)
    images = found(tmp_path, {"path": table, "split": "split"})
    assert problems(images) == {
        "data-table-image-ambiguous": {"line 2": "1.jpg: 2 files"},
        "data-table-label-missing": {"line 3": "2.jpg"},
        "data-table-split": {"line 4": '"holdout"'},
        "data-table-image-missing": {"line 5": '"5.jpg"', "line 6": "empty"},
        "data-table-contradiction": {"line 8": "4.jpg contradicts line 7"},
        "data-table-cells": {"line 9": "1 cell", "line 10": "4 cells"},
    }
    with pytest.raises(DataError) as error:
        build_manifest(settings(tmp_path, {"path": table, "split": "split"}), 0)
    assert set(problems(images)) <= {one.code for one in error.value.problems}


def test_a_table_without_a_usable_row_is_reported(flat: Path) -> None:
    """If every row is wrong, the report has their problems."""
    write_table(flat / "labels.csv", [("image", "label"), ("absent.jpg", "x"), ("also.jpg", "y")])
    report, issues = report_on_data(settings(flat), None)
    assert not report["ok"]
    assert [one.code for one in issues if one.severity == "error"] == ["data-table-image-missing"]


def test_files_without_a_row_and_repeated_rows_are_noted(flat: Path) -> None:
    """They are left out without an error."""
    write_table(flat / "labels.csv", [("image", "label"), ("0.jpg", "x"), ("0.jpg", "x"), ("1.jpg", "y")])
    images = found(flat)
    notes = {one.code: one.facts["n"] for one in images.issues}
    assert notes == {"data-table-files-without-row": 4, "data-table-repeated-rows": 1}


@pytest.mark.parametrize(
    "content",
    [b"", b"image,label\n", b"image,label\n0.jpg\n", b"image,image\n0.jpg,0.jpg\n", b"image,label\n0.jpg,\xff\n"],
    ids=["empty", "header only", "short row", "same columns", "not UTF-8"],
)
def test_a_file_that_is_no_table_is_an_error(tmp_path: Path, content: bytes) -> None:
    """So are a table without rows, rows of the wrong length, repeated columns, and bytes that are not UTF-8."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as error:
        load_table(tmp_path / "t.csv")
    assert error.value.code == "data-table-unreadable"


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    """The reason is that of pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError) as error:
        load_table(tmp_path / "t.parquet")
    assert error.value.code == "data-table-unreadable"


def test_a_table_among_class_folders_is_noted(tmp_path: Path) -> None:
    """Without class folders, the error names it; a file without such columns is no table of labels."""
    write_table(tmp_path / "labels.csv", [("image", "label"), ("0.jpg", "x")])
    write_table(tmp_path / "other.csv", [("epoch", "loss"), ("1", "0.5")])
    (tmp_path / "0.jpg").write_bytes(jpeg())
    assert tables_in(tmp_path) == [tmp_path / "labels.csv"]
    _, issues = report_on_data(DataConfig(path=tmp_path))
    (none,) = [one for one in issues if one.code == "data-no-class-folders"]
    assert str(tmp_path / "labels.csv") in none.facts["hint"]

    write_classes(tmp_path, {"a": 5, "b": 5})
    _, issues = report_on_data(DataConfig(path=tmp_path))
    assert [one.paths for one in issues if one.code == "data-table-in-folder"] == [(tmp_path / "labels.csv",)]


@pytest.mark.parametrize("word", ["", "unknown"])
def test_a_column_of_splits_is_not_ignored_for_one_cell(flat: Path, word: str) -> None:
    """A cell that names no split is an error of its row; it does not make the other rows split at random."""
    words = ["train", "train", "val", "val", "test", word]
    write_table(flat / "labels.csv", [("image", "label", "split"), *((f"{n}.jpg", "a", words[n]) for n in range(6))])

    assert problems(found(flat)) == {"data-table-split": {"line 7": f'"{word}"' if word else "empty"}}


def test_a_column_without_splits_is_not_one_of_splits(flat: Path) -> None:
    """A column that is called `set` and has other values is ignored."""
    write_table(flat / "labels.csv", [("image", "label", "set"), *((f"{n}.jpg", "a", "b") for n in range(6))])

    assert {split for _, split in by_name(found(flat)).values()} == {UNSPLIT}


def test_a_column_of_splits_is_recognized_by_its_cells(flat: Path) -> None:
    """A column of another name that has only the names of splits, train and another one, is that of the splits."""
    words = ["train", "train", "val", "validation", "test", "Training"]
    rows = [("image", "label", "fold"), *((f"{n}.jpg", "a", words[n]) for n in range(6))]
    write_table(flat / "labels.csv", rows)
    splits = [split for _, split in by_name(found(flat)).values()]
    write_table(flat / "labels.csv", [(*rows[0], "set"), *((*row, "test") for row in rows[1:])])
    usual = {split for _, split in by_name(found(flat)).values()}

    assert splits == ["train", "train", "train", "validation", "validation", "test"]
    assert usual == {"test"}


@pytest.mark.parametrize("words", [("train",) * 6, ("test", "val") * 3, ("train", "test", "bus") * 2])
def test_a_column_that_could_mean_something_else_is_not_one_of_splits(flat: Path, words: tuple[str, ...]) -> None:
    """Without the usual name, a column without train, with one split, or with other words is not recognized."""
    write_table(flat / "labels.csv", [("image", "label", "kind"), *((f"{n}.jpg", "a", words[n]) for n in range(6))])

    assert {split for _, split in by_name(found(flat)).values()} == {UNSPLIT}


def test_labels_or_several_columns_with_the_names_of_splits_are_not_splits(flat: Path) -> None:
    """The only column beside the images has the labels, and of two columns of splits one has to be set."""
    words = ["train", "test"] * 3
    write_table(flat / "labels.csv", [("image", "vehicle"), *((f"{n}.jpg", words[n]) for n in range(6))])
    labels = by_name(found(flat))
    rows = [("image", "label", "fold 1", "fold 2"), *((f"{n}.jpg", "a", words[n], words[-1 - n]) for n in range(6))]
    write_table(flat / "labels.csv", rows)

    assert labels["0.jpg"] == ("train", UNSPLIT)
    assert {split for _, split in by_name(found(flat)).values()} == {UNSPLIT}


def test_a_rare_class_may_be_absent_from_a_given_split(tmp_path: Path) -> None:
    """In a table this is a warning; a class that is not in train is an error."""
    write_classes(tmp_path, {"a": 4, "b": 4})
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jpg"))
    rows = [(file, file.parent.name, "validation" if file.name.endswith(".3.jpg") else "train") for file in files]
    write_table(tmp_path / "labels.csv", [("image", "label", "split"), *rows[:-1]])
    (warned,) = [one for one in build_manifest(settings(tmp_path), 0).issues if one.code == "data-classes-differ"]
    assert (warned.severity, warned.facts["split"], warned.facts["missing"]) == ("warning", "validation", ("b",))

    write_table(tmp_path / "labels.csv", [("image", "label", "split"), *rows[:-1], (files[-1], "c", "validation")])
    with pytest.raises(DataError) as error:
        build_manifest(settings(tmp_path), 0)
    assert error.value.code == "data-classes-differ"


def test_a_table_can_be_evaluated(flat: Path) -> None:
    """Its test rows are used, or all rows if it has no splits."""
    classes = ("x", "y")
    rows: list[Row] = [("image", "label", "split")]
    rows += [(f"{n}.jpg", classes[n % 2], "test" if n > 2 else "train") for n in range(6)]
    write_table(flat / "labels.csv", rows)

    def evaluated() -> Mapping[str, Mapping[str, int]]:
        return manifest_of_folder(settings(flat), classes).counts()

    assert evaluated() == {"test": {"x": 1, "y": 2}}
    write_table(flat / "labels.csv", [row[:2] for row in rows])
    assert evaluated() == {"test": {"x": 3, "y": 3}}
    write_table(flat / "labels.csv", [row for row in rows if row[2] != "test"])
    with pytest.raises(DataError) as error:
        evaluated()
    assert error.value.code == "data-no-test-folder"


def test_a_thousand_rows_with_120_classes(tmp_path: Path) -> None:
    """Each class is in every split, and the manifest read back is the same."""
    random = np.random.default_rng(0)
    write_tree(tmp_path / "images", {f"{n:04}.jpg": jpeg(n, 8, 8) for n in range(1000)})
    labels = [f"breed {n % 120:03}" for n in random.permutation(1000)]
    write_table(tmp_path / "labels.csv", [("id", "breed"), *((f"{n:04}", label) for n, label in enumerate(labels))])
    manifest = build_manifest(settings(tmp_path / "images", tmp_path / "labels.csv"), 0)
    assert len(manifest.classes) == 120
    assert {row.path.stem: row.label for row in manifest.rows} == {f"{n:04}": one for n, one in enumerate(labels)}
    for counts in manifest.counts().values():
        assert min(counts.values()) >= 1
    (tmp_path / "manifest.csv").write_text(manifest.csv_text())
    assert Manifest.from_csv(tmp_path / "manifest.csv").rows == manifest.rows


@pytest.mark.parametrize(
    ("labels", "code", "key"),
    [
        ({"image": "x"}, "config-without-effect", "data.labels.image"),
        ("absent.csv", "config-path-missing", "data.labels.path"),
        ("0.jpg", "config-path-wrong-kind", "data.labels.path"),
        (7, "config-wrong-type", "data.labels"),
        ({"path": "t.csv", "imgae": "x"}, "config-unknown-key", "data.labels.imgae"),
    ],
    ids=["columns without a table", "no such file", "an image", "a number", "an unknown key"],
)
def test_wrong_settings_are_errors_of_the_config(flat: Path, labels: Any, code: str, key: str) -> None:
    """They are found before any image is read."""
    write_table(flat / "t.csv", [("image", "label"), ("0.jpg", "x")])
    labels = str(flat / labels) if isinstance(labels, str) else labels
    with pytest.raises(ConfigError) as error:
        settings(flat, labels)
    facts = [(one.code, one.facts["key"]) for one in error.value.problems]
    assert (code, key) in facts
