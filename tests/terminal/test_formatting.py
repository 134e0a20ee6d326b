"""Numbers, durations and tables as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.terminal.formatting import cell_width, duration, encodable, figure, plain_table, rate, right_aligned

CELLS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0421, "0.042 s"),
        (0.999, "1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Two digits or so, and never sixty of anything."""
    assert duration(seconds) == text


@pytest.mark.parametrize(("speed", "text"), [(1234.5, "1,234 rows/s"), (9.6, "10 rows/s"), (9.4, "9.4 rows/s")])
def test_rates(speed: float, text: str) -> None:
    """Whole numbers where they are large, two digits where they are small."""
    assert rate(speed, "rows") == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "1.000"), (0.0099, "0.0099"), (float("nan"), "nan")])
def test_figures(value: float, text: str) -> None:
    """Three decimals, or two digits of a small number."""
    assert figure(value) == text


@given(st.text(), st.sampled_from(["ascii", "latin-1", "utf-8", "cp1252", None]))
def test_any_text_can_be_encoded(text: str, encoding: str | None) -> None:
    """The result goes into the encoding, and a text that fits is left as it is."""
    result = encodable(text, encoding)

    assert result.encode(encoding or "utf-8") is not None
    assert encodable(result, encoding) == result


def test_bytes_of_a_file_name_can_be_shown() -> None:
    """A surrogate, which stands for a byte that is no UTF-8, is escaped."""
    assert encodable("\udcff.jpg", "utf-8") == "\\udcff.jpg"


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=5)))
def test_the_columns_of_a_table_are_straight(rows: list[list[str]]) -> None:
    """Every line fills the widths of the columns, counted in columns of a terminal."""
    lines = plain_table([""] * len(rows[0]), rows).split("\n")
    widths = [max(cell_width(row[k]) for row in rows) for k in range(len(rows[0]))]

    assert len(lines) == len(rows) + 1
    assert all(cell_width(line) <= sum(widths) + 2 * (len(widths) - 1) for line in lines)
    assert all(cell in line for row, line in zip(rows, lines[1:], strict=True) for cell in row)


def test_wide_letters_take_two_columns() -> None:
    """Ideographs keep the next column straight."""
    assert plain_table(["a", "b"], [["猫", "x"], ["cat", "y"]]) == "a    b\n猫   x\ncat  y"


@pytest.mark.parametrize(
    ("cells", "right"), [(["–", ""], False), (["1", "–"], True), (["±3", "224 × 224"], True), (["VGG16"], False)]
)
def test_columns_of_numbers_go_to_the_right(cells: list[str], right: bool) -> None:
    """A dash is a number that is not known; a name that ends in a number is a name."""
    assert right_aligned(cells) is right
