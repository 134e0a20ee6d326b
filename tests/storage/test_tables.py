"""Tables are written as CSV, Parquet and Excel, and no cell of them is a formula."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pyarrow import parquet

from cnncli.errors import CnncliError
from cnncli.storage import tables
from cnncli.storage.tables import Cell, Column, GrowingCsv, table_path, writing_table
from tests.support.no_locks import without_locks

COLUMNS = [Column("path", str), Column("confidence", float), Column("unknown", bool), Column("=class", float)]
ROWS: list[list[Cell]] = [
    ["photos/a.jpg", 0.75, False, 0.1234567890123456],
    ['=HYPERLINK("http://x")', None, None, 1e-9],
    ["'-1+1.png", 1.0, True, 0.0],
    ['line\nbreak,"quoted".png', 0.5, True, 0.5],
]
KINDS = pytest.mark.parametrize("kind", [".csv", ".parquet", ".xlsx"])


def read(path: Path) -> list[list[Any]]:
    """Return the rows of a table, the header first, with independent readers."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return list(csv.reader(file))
    if path.suffix == ".parquet":
        table = parquet.read_table(path)
        return [table.column_names, *map(list, zip(*(column.to_pylist() for column in table.columns), strict=True))]
    return [list(row) for row in openpyxl.load_workbook(path).active.iter_rows(values_only=True)]


def write(path: Path, rows: list[list[Cell]]) -> list[list[Any]]:
    """Write a table and return what it contains."""
    with writing_table(table_path(path), COLUMNS, len(rows)) as add:
        for row in rows:
            add(row)
    return read(path)


def test_parquet_keeps_names_types_and_values(tmp_path: Path) -> None:
    """Parquet holds texts as they are, numbers to the last bit, booleans, and null for an empty cell."""
    found = write(tmp_path / "a.parquet", ROWS)

    assert found == [[column.name for column in COLUMNS], *ROWS]
    assert [str(field.type) for field in parquet.read_schema(tmp_path / "a.parquet")] == [
        *("string", "double", "bool", "double"),
    ]


def test_excel_holds_texts_and_no_formulas(tmp_path: Path) -> None:
    """A text that begins with = is a text in Excel, in the header too; control characters are escaped."""
    found = write(tmp_path / "a.xlsx", ROWS)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active

    assert found[0] == [column.name for column in COLUMNS]
    assert [row[1:] for row in found[1:]] == [row[1:] for row in ROWS]
    assert [row[0] for row in found[1:]] == [str(row[0]).replace("\n", "\\n") for row in ROWS]
    assert not [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]


def test_excel_shows_four_digits_and_holds_all(tmp_path: Path) -> None:
    """A probability is readable in the sheet, and its cell has the exact number."""
    write(tmp_path / "a.xlsx", ROWS)
    cell = openpyxl.load_workbook(tmp_path / "a.xlsx").active["D2"]

    assert (cell.value, cell.number_format) == (0.1234567890123456, "0.0000")


def test_csv_marks_texts_that_a_spreadsheet_would_compute(tmp_path: Path) -> None:
    """A text that begins with = gets an apostrophe in CSV; all other cells are as they are."""
    found = write(tmp_path / "a.csv", ROWS)

    assert found[0] == ["path", "confidence", "unknown", "'=class"]
    assert [row[0] for row in found[1:]] == ["photos/a.jpg", f"'{ROWS[1][0]}", "''-1+1.png", ROWS[3][0]]
    assert found[1][1:] == ["0.75", "false", "0.1234567890123456"]
    assert found[2][1:] == ["", "", "1e-09"]


@KINDS
@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_begins_like_a_formula(tmp_path: Path, kind: str, first: str) -> None:
    """Each character with which a spreadsheet program recognizes a formula is made harmless or marked as text."""
    found = write(tmp_path / f"a{kind}", [[f"{first}1", None, None, None]])

    if kind == ".csv":
        assert found[1][0] == f"'{first}1"
    elif kind == ".xlsx":
        assert openpyxl.load_workbook(tmp_path / "a.xlsx").active["A2"].data_type == "s"


@KINDS
def test_names_that_are_not_utf_8_do_not_stop_a_table(tmp_path: Path, kind: str) -> None:
    """A file name of raw bytes is kept in CSV, and escaped where the format has only Unicode."""
    name = os.fsdecode(b"caf\xe9.png")
    found = write(tmp_path / f"a{kind}", [[name, None, None, None]])

    assert found[1][0] == (name if kind == ".csv" else "caf\\udce9.png")


@KINDS
def test_a_table_without_rows_has_its_columns(tmp_path: Path, kind: str) -> None:
    """A table of no images has a header."""
    assert write(tmp_path / f"a{kind}", [])[0][:3] == ["path", "confidence", "unknown"]


def test_many_rows_are_written_in_groups(tmp_path: Path) -> None:
    """Rows beyond the first group of a Parquet file are in it, in order."""
    rows: list[list[Cell]] = [[str(number), None, None, float(number)] for number in range(20_001)]

    assert write(tmp_path / "a.parquet", rows)[1:] == rows


@KINDS
def test_a_table_replaces_the_old_one_or_leaves_it(tmp_path: Path, kind: str) -> None:
    """If the work fails, the old table stays and nothing else is in the folder."""
    path = tmp_path / f"a{kind}"
    write(path, ROWS[:1])
    before = path.read_bytes()
    failing: Any = [ROWS[0], None]
    with pytest.raises(TypeError):
        write(path, failing)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_must_lead_to_a_table(tmp_path: Path) -> None:
    """The file behind a link would be replaced, so its name has to be that of a table as well."""
    (tmp_path / "table.csv").symlink_to(tmp_path / "target.csv")
    (tmp_path / "other.csv").symlink_to(tmp_path / "target")

    assert table_path(tmp_path / "table.csv") == tmp_path / "target.csv"
    with pytest.raises(CnncliError) as error:
        table_path(tmp_path / "other.csv")
    assert error.value.code == "usage-suffix"


@pytest.mark.parametrize(
    ("name", "module", "code"),
    [
        ("a.txt", "", "usage-suffix"),
        ("absent/a.csv", "", "usage-out-folder-missing"),
        ("a.xlsx", "openpyxl", "data-xlsx-not-installed"),
        ("a.parquet", "pyarrow", "data-parquet-not-installed"),
    ],
    ids=["suffix", "folder", "openpyxl", "pyarrow"],
)
def test_a_table_that_cannot_be_written_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, code: str
) -> None:
    """Other suffixes, missing folders and missing libraries are reported before there is anything to write."""
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CnncliError) as error:
        table_path(tmp_path / name)

    assert (error.value.code, error.value.exit_code) == (code, 2)


@pytest.mark.parametrize(("rows", "columns"), [(1_048_576, 3), (1, 16_385)])
def test_a_sheet_that_excel_cannot_open_is_refused(tmp_path: Path, rows: int, columns: int) -> None:
    """More rows or columns than a sheet has are refused before the work, not after it."""
    names = [Column(str(number), float) for number in range(columns)]
    with pytest.raises(CnncliError) as error, writing_table(tmp_path / "a.xlsx", names, rows):
        pass

    assert error.value.code == "usage-table-too-large"


def test_a_csv_grows_over_several_processes(tmp_path: Path) -> None:
    """Rows are added to those of an earlier process, whose first column is known as it was."""
    path = tmp_path / "a.csv"
    for row in ROWS:
        GrowingCsv(path, COLUMNS).add(row)

    assert GrowingCsv(path, COLUMNS).first_cells == [row[0] for row in ROWS]
    write(tmp_path / "whole.csv", ROWS)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_row_that_a_crash_cut_off_is_removed(tmp_path: Path) -> None:
    """A last row that is cut off at any byte leaves the complete rows before it, and the next row is readable."""
    path = tmp_path / "a.csv"
    write(path, ROWS)
    whole = path.read_bytes()
    before = len(whole) - len(whole.partition(b'"line\n')[1] + whole.partition(b'"line\n')[2])
    for end in range(before, len(whole)):
        path.write_bytes(whole[:end])
        table = GrowingCsv(path, COLUMNS)
        assert table.first_cells == [row[0] for row in ROWS[:3]]
        table.add(ROWS[3])
        table.close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    ["something,else\n1,2\n", "something,else\n1,2\n3,4", "no line end", '"open quote\n1,2\n', f'"{"x" * 200_000}"\n1'],
)
def test_a_csv_of_another_run_does_not_grow(tmp_path: Path, content: str) -> None:
    """A table with other columns is refused and stays as it is, also if it does not end with a line break."""
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(CnncliError) as error:
        GrowingCsv(path, COLUMNS)

    assert error.value.code == "usage-table-other-columns"
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_header_without_a_line_break_is_completed(tmp_path: Path) -> None:
    """An editor can remove the line break at the end; the header stays and rows follow it."""
    write(tmp_path / "whole.csv", ROWS[:1])
    (tmp_path / "a.csv").write_bytes((tmp_path / "whole.csv").read_bytes().partition(b"\n")[0])
    GrowingCsv(tmp_path / "a.csv", COLUMNS).add(ROWS[0])

    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    "row",
    ['"a.jpg",1,false', '"a.jpg",1,false,0,0', '"5" disk.jpg",1,false,0', '"disk.jpg,1,false,0'],
    ids=["short", "long", "quote", "open"],
)
@pytest.mark.parametrize("quote", ['"', ""], ids=["quoted", "plain"])
def test_a_damaged_row_is_an_error_and_nothing_is_removed(tmp_path: Path, row: str, quote: str) -> None:
    """A row that somebody damaged is named by its line, whether or not the rows after it have quotation marks."""
    path = tmp_path / "a.csv"
    header = write(path, [])[0]
    rows = ["first.jpg,1,false,0", row, *(f"{quote}{number}.jpg{quote},1,false,0" for number in range(3))]
    content = "\n".join([",".join(header), *rows]) + "\n"
    path.write_text(content)
    with pytest.raises(CnncliError) as error:
        GrowingCsv(path, COLUMNS)

    assert (error.value.code, error.value.facts["line"], error.value.exit_code) == ("usage-table-row", 3, 2)
    assert path.read_text() == content


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quotation_mark_inside_a_plain_cell_belongs_to_it(tmp_path: Path, end: str) -> None:
    """A row as a person or a spreadsheet program writes it keeps the rows after it."""
    path = tmp_path / "a.csv"
    header = write(path, [])[0]
    lines = [",".join(header), '5" disk.jpg,1,false,0', '"b.jpg",1,false,0']
    path.write_bytes((end.join(lines) + end).encode())

    assert GrowingCsv(path, COLUMNS).first_cells == ['5" disk.jpg', "b.jpg"]
    assert path.read_bytes() == (end.join(lines) + end).encode()


def test_a_row_is_added_completely_or_not_at_all(tmp_path: Path) -> None:
    """If a disk takes only a part of a row, that is an error, and the table is as before."""
    resource = pytest.importorskip("resource", reason="needs a limit of file sizes")
    path = tmp_path / "a.csv"
    table = GrowingCsv(path, COLUMNS)
    table.add(ROWS[0])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            table.add(ROWS[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert path.read_bytes() == before


ADD_WITHOUT_END = """
import sys, time
from pathlib import Path
from cnncli.storage.tables import Column, GrowingCsv
table = GrowingCsv(Path(sys.argv[1]), [Column("path", str)])
table.add(["a.jpg"])
print("added", flush=True)
time.sleep(600)
"""


def test_one_process_at_a_time_adds_rows(tmp_path: Path) -> None:
    """A second process is refused while the first one runs; once that is killed, the table can be continued."""
    path = tmp_path / "a.csv"
    child = subprocess.Popen([sys.executable, "-c", ADD_WITHOUT_END, str(path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"added\n"
        with pytest.raises(CnncliError) as error:
            GrowingCsv(path, COLUMNS[:1])
    finally:
        child.kill()
        child.communicate()
    table = GrowingCsv(path, COLUMNS[:1])
    table.add(["b.jpg"])
    table.close()

    assert (error.value.code, error.value.exit_code) == ("usage-table-in-use", 2)
    assert [row[0] for row in read(path)] == ["path", "a.jpg", "b.jpg"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_grows_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, nothing keeps a process from adding rows."""
    without_locks(monkeypatch)
    GrowingCsv(tmp_path / "a.csv", COLUMNS).add(ROWS[0])

    assert read(tmp_path / "a.csv")[1][0] == ROWS[0][0]


def test_a_table_that_can_be_changed_in_a_folder_that_cannot_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock can be created there, and none is needed to add rows."""

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with closing(GrowingCsv(tmp_path / "a.csv", COLUMNS)) as table:
        table.add(ROWS[0])
    monkeypatch.setattr(tables, "Lock", refuse)
    with closing(GrowingCsv(tmp_path / "a.csv", COLUMNS)) as table:
        table.add(ROWS[1])

    assert len(read(tmp_path / "a.csv")) == 3
