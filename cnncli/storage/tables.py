"""Tables as CSV, Parquet or Excel files, written row by row, so that their size does not matter.

A spreadsheet program takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and a file name can begin with
any of them. In CSV, such a text gets an apostrophe in front, as a person would type it; Excel files mark it as text.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.errors import CnncliError, DataError, Message, printable
from cnncli.storage.atomic import naming, output_path, replacing, write_atomically
from cnncli.storage.locks import Lock

TABLES = (".csv", ".parquet", ".xlsx")
"""Suffixes of tables."""

MAX_EXCEL_ROWS, MAX_EXCEL_COLUMNS = 1_048_576, 16_384
"""Size of a sheet."""

MAX_EXCEL_CELL = 32_767
"""Characters of a cell."""

EXCEL_NUMBERS = "0.0000"
"""Format in which a sheet shows probabilities; the cells contain all digits."""

EXCEL_WIDTH_OF_PATHS = 48
"""Width of the first column, in characters."""

PARQUET_ROWS = 10_000
"""Rows that are collected before they are written to a Parquet file."""

Cell = str | float | bool | None
AddRow = Callable[[Sequence[Cell]], object]

_CSV_MARK = re.compile(r"^'(?='*[=+\-@\t\r])")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


@dataclass(frozen=True)
class Column:
    """Name and type of the cells of a column."""

    name: str
    kind: type[str] | type[float] | type[bool]


def columns_of_classes(classes: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return a name for the column of each class; one that is the name of another column is put in parentheses.

    >>> columns_of_classes(("cat", "path"), ("path", "confidence"))
    ['cat', '(path)']
    """
    names = list(others)
    for name in classes:
        while name in names:
            name = f"({name})"
        names.append(name)
    return names[len(others) :]


def table_path(path: Path) -> Path:
    """Return the absolute path of a table to write.

    Raises:
        CnncliError: It ends in none of the suffixes, its folder does not exist, or the library that writes it is not
            installed.
    """
    path = output_path(path, TABLES)
    if path.suffix.lower() == ".parquet":
        import_parquet(path)
    if path.suffix.lower() == ".xlsx":
        _import_openpyxl(path)
    return path


def import_parquet(path: Path) -> tuple[Any, Any]:
    """Return pyarrow and its reader and writer of Parquet. Raises DataError, which names the file."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        text = f"{printable(path)}: Parquet needs pyarrow. Install it with: pip install 'cnncli[parquet]'"
        raise DataError(Message("data-parquet-not-installed", text, path=path)) from None
    return pyarrow, parquet


def _import_openpyxl(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError:
        text = f"{printable(path)}: Excel files need openpyxl. Install it with: pip install 'cnncli[xlsx]'"
        raise DataError(Message("data-xlsx-not-installed", text, path=path)) from None
    return openpyxl


@contextmanager
def writing_table(path: Path, columns: Sequence[Column], n_rows: int) -> Iterator[AddRow]:
    """Yield a function that adds a row to a table, which replaces `path` after the block unless that raises.

    Raises:
        CnncliError: The table has more rows or columns than an Excel sheet can hold.
    """
    kind = path.suffix.lower()
    if kind == ".xlsx" and (n_rows >= MAX_EXCEL_ROWS or len(columns) > MAX_EXCEL_COLUMNS):
        received, expected = f"{n_rows + 1:,} × {len(columns):,}", f"{MAX_EXCEL_ROWS:,} × {MAX_EXCEL_COLUMNS:,}"
        text = f"{printable(path)}: {received} rows and columns, but a sheet has {expected}; write .csv or .parquet"
        raise CnncliError(Message("usage-table-too-large", text, path=path, received=received, expected=expected))
    writer = {".csv": _csv_writer, ".parquet": _parquet_writer, ".xlsx": _excel_writer}[kind]
    with replacing(path) as temporary, writer(temporary, columns) as add:
        yield add


class GrowingCsv:
    """A CSV to which rows are added one by one, in this process and in later ones, but in one process at a time.

    A row is one write to the file. If a crash leaves a part of a row, that is removed when the file is opened again.
    A hidden file next to the table is its lock until it is closed; on file systems without locks, nothing is locked.

    Attributes:
        first_cells: Contents of the first column so far.
    """

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        """Open the file, which may exist.

        Raises:
            CnncliError: It has other columns or a damaged row, or another process adds rows to it.
        """
        self._path = path
        self._n_columns = len(columns)
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._lock = self._acquire_lock()
        try:
            self.first_cells = self._open(columns)
        except BaseException:
            self.close()
            raise

    def add(self, row: Sequence[Cell]) -> None:
        """Add a row, completely or not at all."""
        data = _csv_line(row).encode("utf-8", "surrogateescape")
        with naming(self._path), self._path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                while data:  # a write can be short, as on a disk that is full
                    data = data[file.write(data) :]
            except BaseException:
                file.truncate(end)
                raise

    def close(self) -> None:
        """Let other processes add rows."""
        if self._lock is not None:
            with suppress(OSError):  # Windows cannot delete an open file
                self._lock_path.unlink()
            self._lock.release()

    def _acquire_lock(self) -> Lock | None:
        """Return the lock, or None for a table that can be changed in a folder that cannot."""
        try:
            with naming(self._path):
                lock = Lock(self._lock_path)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and os.access(self._path, os.W_OK):
                return None
            raise
        if (lock.try_alone() or not lock.is_possible) and lock.is_current:
            return lock
        text = (
            f"{printable(self._path)}: in use by another command, which adds rows to it; stop it, or name another file"
        )
        raise CnncliError(Message("usage-table-in-use", text, path=self._path))

    def _open(self, columns: Sequence[Column]) -> list[str]:
        """Create the file or check it, and return its first column."""
        header = [str(_csv_cell(column.name)) for column in columns]
        first_line = _csv_line([column.name for column in columns])
        if not self._path.exists():
            write_atomically(self._path, first_line)
        if self._header() != header:
            text = f"{printable(self._path)}: has other columns than the predictions of this run; name another file"
            raise CnncliError(Message("usage-table-other-columns", text, path=self._path, expected=header))
        rows = self._complete_rows()
        if not rows:  # the header had no line break
            write_atomically(self._path, first_line)
        return [_CSV_MARK.sub("", row[0]) for row in rows[1:] if row]

    def _header(self) -> list[str]:
        try:
            with self._path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                return next(csv.reader(file), [])
        except csv.Error:
            return []

    def _complete_rows(self) -> list[list[str]]:
        """Return the rows after removing a last one that a crash cut off. Raises CnncliError for a damaged row."""
        text = self._path.read_bytes().decode("utf-8", "surrogateescape")
        lines = io.StringIO(text, newline="").readlines()
        reader = csv.reader(lines, strict=True)
        rows: list[list[str]] = []
        n_complete = 0  # lines of complete rows
        try:
            for row in reader:
                if not lines[reader.line_num - 1].endswith(("\n", "\r")):
                    break
                if row and len(row) != self._n_columns:
                    raise self._damaged(n_complete + 1, f"{len(row)} cells")
                rows.append(row)
                n_complete = reader.line_num
        except csv.Error as error:
            # A quotation mark that somebody added makes all later rows part of a cell, as far as the end of the file.
            if "unexpected end" not in str(error) or any(map(self._is_row, lines[n_complete + 1 :])):
                raise self._damaged(n_complete + 1, "a misplaced quotation mark") from error
        if n_complete < len(lines):
            os.truncate(self._path, len("".join(lines[:n_complete]).encode("utf-8", "surrogateescape")))
        return rows

    def _is_row(self, line: str) -> bool:
        return line.endswith("\n") and len(next(csv.reader([line]))) == self._n_columns

    def _damaged(self, line: int, received: str) -> CnncliError:
        expected = f"{self._n_columns} cells"
        text = f"{printable(self._path)}:{line}: received {received}, expected {expected}; correct or delete the row"
        return CnncliError(
            Message("usage-table-row", text, path=self._path, line=line, received=received, expected=expected)
        )


@contextmanager
def _csv_writer(path: Path, columns: Sequence[Column]) -> Iterator[AddRow]:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(_csv_line([column.name for column in columns]))
        yield lambda row: file.write(_csv_line(row))


@contextmanager
def _parquet_writer(path: Path, columns: Sequence[Column]) -> Iterator[AddRow]:
    pyarrow, parquet = import_parquet(path)
    types = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(_unicode(column.name), types[column.kind]) for column in columns])
    rows: list[list[Cell]] = []

    def add(row: Sequence[Cell]) -> None:
        rows.append([_unicode(cell) if isinstance(cell, str) else cell for cell in row])
        if len(rows) >= PARQUET_ROWS:
            write()

    def write() -> None:
        cells = zip(*rows, strict=True) if rows else [()] * len(columns)
        arrays = [pyarrow.array(column, type=field.type) for column, field in zip(cells, schema, strict=True)]
        writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    with parquet.ParquetWriter(path, schema) as writer:
        yield add
        write()


@contextmanager
def _excel_writer(path: Path, columns: Sequence[Column]) -> Iterator[AddRow]:
    openpyxl = _import_openpyxl(path)
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    sheet.freeze_panes = "B2"
    sheet.column_dimensions["A"].width = EXCEL_WIDTH_OF_PATHS

    def add(row: Sequence[Cell]) -> None:
        sheet.append([formatted(cell) if isinstance(cell, str | float) else cell for cell in row])

    def formatted(value: str | float) -> Any:
        if isinstance(value, str):
            cell = openpyxl.cell.WriteOnlyCell(sheet, printable(value)[:MAX_EXCEL_CELL])
            cell.data_type = "s"  # otherwise a text that begins with = becomes a formula, and #N/A an error
        else:
            cell = openpyxl.cell.WriteOnlyCell(sheet, value)
            cell.number_format = EXCEL_NUMBERS
        return cell

    add([column.name for column in columns])
    try:
        yield add
    finally:
        sheet.close()  # openpyxl removes its temporary file at exit
    book.save(path)


def _csv_line(row: Sequence[Cell]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow(map(_csv_cell, row))
    return text.getvalue()


def _csv_cell(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _unicode(text: str) -> str:
    """Return a text with escapes in place of bytes that are not UTF-8, as a file name can contain."""
    return text.encode("utf-8", "backslashreplace").decode()
