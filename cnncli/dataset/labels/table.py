"""A table as a label source: a row per image with its label, and optionally its split.

CSV, TSV and Parquet. Images can be anywhere; nothing is copied. All problems of a table are reported together.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.issues import error, note
from cnncli.dataset.labels.folders import files_below, labels_in, split_named
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, LabeledImages
from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.storage.safe_io import read_bytes
from cnncli.storage.tables import import_parquet

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig, LabelsConfig

MAX_BYTES = 2**30  # maximum size of a table, about ten million rows
DELIMITERS = ",;\t|"

# Names of columns that are recognized, the most specific first; case and everything except letters are ignored.
IMAGE_NAMES = (
    *("filepath", "imagepath", "path", "filename", "file", "imagefile", "imagename", "image", "images", "img"),
    *("imageid", "imgid", "photo", "id"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "classname", "category", "target", "tags", "tag", "breed", "species"),
    *("diagnosis", "dx", "y"),
)
SPLIT_NAMES = ("split", "subset", "partition", "set")
REVIEW_COLUMNS = ("given_label", "decision")
"""Columns of a table that a label review has written."""

_ONES = {
    "1": True,
    "1.0": True,
    "true": True,
    "yes": True,
    "0": False,
    "0.0": False,
    "false": False,
    "no": False,
    "": False,
}


@dataclass(frozen=True)
class Table:
    """The cells of a table as text.

    Attributes:
        columns: Names from the header.
        rows: Cells of each row, as many as there are columns.
        lines: Line of each row in a text file, or its number, counted from 1, in a Parquet file.
        uneven: Number of cells of each row that has more or fewer of them, by its line; such rows are left out.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    uneven: Mapping[int, int] = field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        """Return the cells of a column without surrounding spaces."""
        place = self.columns.index(name)
        return [row[place].strip() for row in self.rows]


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are used: `label` is one column, or several with 0 and 1."""

    image: str
    label: str | tuple[str, ...]
    split: str | None
    group: str | None


def read_table(data: DataConfig) -> LabeledImages:
    """Find the images and labels of a table.

    Raises:
        DataError: The table cannot be read, or its columns cannot be found.
    """
    settings = data.labels
    assert settings.path is not None  # noqa: S101
    table = load_table(settings.path, can_be_uneven=True)
    found = LabeledImages(data.path.resolve(), table=table.path, reads_arrays=data.color == "bands")
    images = _Images(found, settings.path.parent)
    if table.uneven:
        cells = {f"line {line}": f"{n} cells" if n > 1 else "1 cell" for line, n in table.uneven.items()}
        found.issues.append(
            error("data-table-cells", table.path, n=len(cells), expected=len(table.columns), rows=cells)
        )
    columns = _choose_columns(table, settings, images, data.groups.column if data.groups else None)
    _read_rows(table, columns, settings, images)
    return found


def tables_in(folder: Path) -> list[Path]:
    """Return the tables directly in a folder that have a column of images and a column of labels, sorted."""
    candidates = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".csv", ".tsv") and path.is_file())
    return [path for path in candidates if _looks_like_labels(path)]


def load_table(path: Path, *, can_be_empty: bool = False, can_be_uneven: bool = False) -> Table:
    """Read a table.

    Args:
        path: The file.
        can_be_empty: Whether it can have no rows.
        can_be_uneven: Whether some rows can have another number of cells than the header.

    Raises:
        DataError: It cannot be read, or is not such a table.
    """
    try:
        table = _load_parquet(path) if path.suffix.lower() == ".parquet" else _load_text(path)
        if table.uneven and not (can_be_uneven and table.rows):
            line, n = next(iter(table.uneven.items()))
            counts = f"rows without {len(table.columns)} cells, as the header has: {len(table.uneven):,}"
            raise ValueError(f"{counts}; the first is line {line} with {n}")
        if not table.rows and not can_be_empty:
            is_review = set(REVIEW_COLUMNS) <= set(table.columns)
            remedy = ": all images were left out; take some back with cnncli data review RUN --open"
            raise ValueError(f"it has no rows{remedy if is_review else ''}")
        if repeated := [name for name, n in Counter(table.columns).items() if n > 1]:
            raise ValueError(f"several columns are called {repeated[0]!r}")
    except (OSError, ValueError, csv.Error) as problem:
        text = f"{printable(path)}: cannot be read as a table ({reason_of(problem)})"
        raise DataError(Message("data-table-unreadable", text, path=path)) from None
    return table


def _load_text(path: Path) -> Table:
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ValueError(f"byte {problem.start:,} is not UTF-8; save it as CSV UTF-8") from None
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)  # the first of equals, which is a comma
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = tuple(name.strip() for name in next(lines, ()))
    rows, numbers, uneven = list[list[str]](), list[int](), dict[int, int]()
    for row in lines:
        if any(row) and len(row) != len(columns):
            uneven[lines.line_num] = len(row)
        elif any(row):
            rows.append(row)
            numbers.append(lines.line_num)
    return Table(path, columns, rows, numbers, uneven)


def _load_parquet(path: Path) -> Table:
    pyarrow, parquet = import_parquet(path)
    try:
        content = parquet.read_table(path)
    except pyarrow.ArrowException as problem:
        raise ValueError(str(problem).partition("\n")[0]) from None
    cells = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in content.columns]
    rows = list(zip(*cells, strict=True))
    return Table(path, tuple(content.column_names), rows, range(1, len(rows) + 1))


def can_be_review(path: Path) -> bool:
    """Return whether a table can be one that a label review has written, by its header; other tables are large."""
    words = None if path.suffix.lower() == ".parquet" else _words_of_header(path)
    return words is None or words >= set(map(_plain, REVIEW_COLUMNS))


def _looks_like_labels(path: Path) -> bool:
    words = _words_of_header(path) or set()
    return bool(words & set(IMAGE_NAMES) and words & set(LABEL_NAMES))


def _words_of_header(path: Path) -> set[str] | None:
    """Return the names of the columns of a text file in lower-case letters; None if it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline(10_000)
    except (OSError, ValueError):
        return None
    return {_plain(name) for name in re.split(f"[{DELIMITERS}]", header)}


class _Images:
    """Finds the file that a cell of a table means, by path or by name."""

    def __init__(self, found: LabeledImages, table_folder: Path) -> None:
        self.found = found
        self.files = sorted(files_below(found.root, found)) if found.root.is_dir() else []
        self._known = set(self.files)
        self._folders = dict.fromkeys(map(os.fspath, (found.root, table_folder.resolve())))
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            relative = os.path.relpath(file, found.root).replace(os.sep, "/")
            name = relative.rpartition("/")[2]
            for key in {relative, os.path.splitext(relative)[0], name, os.path.splitext(name)[0]}:  # noqa: PTH122
                self._by_name[key].append(file)

    def named(self, cell: str) -> list[str]:
        """Return the files that a cell can mean: one if it is a path of a file, else all with this name or stem."""
        cell = cell.replace("\\", "/")
        for folder in self._folders:
            path = os.path.normpath(os.path.join(folder, cell))  # noqa: PTH118 - millions of paths
            if path in self._known or os.path.isfile(path):  # noqa: PTH113
                return [path]
        return self._by_name.get(cell.removeprefix("./"), [])


def _choose_columns(table: Table, settings: LabelsConfig, images: _Images, group: str | None) -> Columns:
    """Return the columns that are set, and the others by their names.

    Raises:
        DataError: Columns that are set do not exist, or those that are not cannot be recognized.
    """
    labels = settings.label if isinstance(settings.label, tuple) else (settings.label,)
    chosen = {
        "data.labels.image": (settings.image,),
        "data.labels.label": labels,
        "data.labels.split": (settings.split,),
        "data.groups.column": (group,),
    }
    missing = {name: key for key, names in chosen.items() for name in names if name and name not in table.columns}
    problems = [_column_problem(table, key, f"no column {name!r}", name) for name, key in missing.items()]
    by_plain = {_plain(name): name for name in reversed(table.columns)}
    used = {name for names in chosen.values() for name in names}
    guesses = {
        "image": [by_plain[name] for name in IMAGE_NAMES if name in by_plain and by_plain[name] not in used],
        "label": [by_plain[name] for name in LABEL_NAMES if name in by_plain and by_plain[name] not in used],
        "split": [by_plain[name] for name in SPLIT_NAMES if name in by_plain and by_plain[name] not in used],
    }
    image = settings.image or next((name for name in guesses["image"] if _are_images(table, name, images)), None)
    image = image or next(iter(guesses["image"]), None)
    split = settings.split or next((name for name in guesses["split"] if _are_splits(table, name)), None)
    label = settings.label or next(iter(guesses["label"]), None)
    unused = [name for name in table.columns if name not in {image, label, *used}]
    if split is None and (label is not None or len(unused) > 1):  # a single one is that of the labels
        split = _column_of_only_splits(table, unused)
    if label is None and len(others := [name for name in table.columns if name not in (image, split)]) == 1:
        label = others[0]
    if image is None:
        what = "no column is recognized as that of the images"
        if any(images.named(name) for name in table.columns):
            what += " (the first line names an image: add a header above it)"
        problems.append(_column_problem(table, "data.labels.image", what, others=(*labels, split)))
    if label is None:
        what = "no column is recognized as that of the labels"
        problems.append(_column_problem(table, "data.labels.label", what, others=(image, split)))
    if problems or image is None or label is None:
        raise DataError(problems)
    return Columns(image, label, split, group)


def _column_problem(
    table: Table, key: str, what: str, received: str | None = None, others: Sequence[str | None] = ()
) -> Message:
    """Return the message that a setting has to name a column; `others` are those of other settings."""
    columns = tuple(name for name in table.columns if name not in others)
    names = ", ".join(printable(name) for name in columns[:30])
    text = f"{printable(table.path)}: {what}; set {key} to one of: {names}"
    return Message("data-table-column", text, path=table.path, key=key, received=received, expected=columns)


def _are_images(table: Table, name: str, images: _Images) -> bool:
    """Return whether most of the first cells of a column name images."""
    cells = table.column(name)[:50]
    return 2 * sum(bool(cell and images.named(cell)) for cell in cells) > len(cells)


def _are_splits(table: Table, name: str) -> bool:
    """Return whether most cells of a column name splits; the others are errors, since a drawn split could leak."""
    cells = table.column(name)
    return 2 * sum(split_named(cell) is not None for cell in cells) > len(cells)


def _column_of_only_splits(table: Table, names: Sequence[str]) -> str | None:
    """Return the column without other cells than those of a train split and another one, if it is the only one."""
    found = []
    for name in names:
        cells = set(table.column(name))
        if all(map(split_named, cells)) and len(splits := set(map(split_named, cells))) > 1 and "train" in splits:
            found.append(name)
    return found[0] if len(found) == 1 else None


def _read_rows(table: Table, columns: Columns, settings: LabelsConfig, images: _Images) -> None:
    """Add the records of all rows, and issues for those that cannot be used."""
    found = images.found
    problems: dict[str, dict[str, str]] = defaultdict(dict)  # by code: what is wrong with a line
    rows: dict[str, tuple[int, tuple[str, ...], str, str]] = {}
    groups = table.column(columns.group) if columns.group else [""] * len(table.rows)
    splits = table.column(columns.split) if columns.split else [""] * len(table.rows)
    cells, all_labels = table.column(columns.image), _labels(table, columns, settings, problems)
    repeated = 0
    for line, cell, labels, word, group in zip(table.lines, cells, all_labels, splits, groups, strict=True):
        where, split = f"line {line}", split_named(word) if columns.split else UNSPLIT
        files = images.named(cell) if cell else []
        if split is None:
            problems["data-table-split"][where] = _quoted(word)
        if len(files) > 1:
            problems["data-table-image-ambiguous"][where] = f"{cell}: {len(files)} files"
        elif not files:
            problems["data-table-image-missing"][where] = _quoted(cell)
        if not labels and not settings.is_multi_label:
            problems["data-table-label-missing"][where] = cell
        if split is None or len(files) != 1 or not (labels or settings.is_multi_label):
            continue
        first = rows.setdefault(files[0], (line, labels, split, group))
        if first[1:] != (labels, split, group):
            if settings.is_multi_label and first[2:] == (split, group):
                rows[files[0]] = (first[0], tuple(sorted({*first[1], *labels})), split, group)
            else:
                problems["data-table-contradiction"][where] = f"{cell} contradicts line {first[0]}"
        elif first[0] != line:
            repeated += 1
    for code, lines in problems.items():
        found.issues.append(error(code, table.path, n=len(lines), rows=lines))
    if repeated:
        found.issues.append(note("data-table-repeated-rows", table.path, n=repeated))
    if unused := [file for file in images.files if file not in rows]:
        example = os.path.relpath(unused[0], found.root)
        found.issues.append(note("data-table-files-without-row", table.path, n=len(unused), example=example))
        found.left_out["file without a row in the table"] += len(unused)
    records = [ImageRecord(file, labels, split, group=group) for file, (_, labels, split, group) in rows.items()]
    found.records += sorted(records, key=lambda one: ((*SPLITS, UNSPLIT).index(one.split), one.labels, one.file))
    for split in dict.fromkeys(one.split for one in found.records) or (UNSPLIT,):
        found.folders[split] = found.root
        found.classes[split] = tuple(
            sorted({label for one in found.records if one.split == split for label in one.labels})
        )


def _labels(
    table: Table, columns: Columns, settings: LabelsConfig, problems: Mapping[str, dict[str, str]]
) -> Iterator[tuple[str, ...]]:
    """Yield the labels of each row, sorted."""
    if isinstance(columns.label, str):
        for cell in table.column(columns.label):
            yield labels_in(cell, settings.separator) if settings.separator else tuple({cell} - {""})
        return
    cells = [table.column(name) for name in columns.label]
    for line, row in zip(table.lines, zip(*cells, strict=True), strict=True):
        if wrong := [cell for cell in row if cell.lower() not in _ONES]:
            problems["data-table-not-one-hot"][f"line {line}"] = _quoted(wrong[0])
        yield tuple(sorted(name for name, cell in zip(columns.label, row, strict=True) if _ONES.get(cell.lower())))


def _quoted(cell: str) -> str:
    return f'"{cell}"' if cell else "empty"


def _plain(name: str) -> str:
    """Return the letters of a column's name in lower case."""
    return re.sub(r"[\W\d_]+", "", name.casefold())
