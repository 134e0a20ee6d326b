"""Numbers, durations and tables as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.terminal.formatting import (
    cell_width,
    decimal,
    duration,
    encodable,
    fit_table,
    matrix_text,
    percent,
    percent_range,
    plain_table,
    rate,
    right_aligned,
    table_width,
)

CELLS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0421, "0.042 s"),
        (4.12, "4.1 s"),
        (75, "1 min 15 s"),
        (7380, "2 h 03 min"),
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
    """A duration has about two digits, and never 60 seconds or 60 minutes."""
    assert duration(seconds) == text


@pytest.mark.parametrize(("speed", "text"), [(1234.5, "1,234 rows/s"), (9.6, "10 rows/s"), (9.4, "9.4 rows/s")])
def test_rates(speed: float, text: str) -> None:
    """A large rate is an integer, a small one has two digits."""
    assert rate(speed, "rows") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000"),
        (0.98125, "0.981"),
        (0.0099, "0.0099"),
        (0.0, "0"),
        (2e-5, "2e-05"),
        (float("nan"), "nan"),
        (99999.0, "99999.000"),
        (-1.2657e25, "-1.27e+25"),
    ],
)
def test_decimals(value: float, text: str) -> None:
    """A number has three decimals, two significant digits if it is small, or three if it is huge."""
    assert decimal(value) == text


def test_accuracies_are_percentages_with_one_decimal() -> None:
    """Accuracies and intervals have one format, and NaN stays visible."""
    assert [percent(1.0), percent(0.9934), percent(float("nan"))] == ["100.0 %", "99.3 %", "nan %"]
    assert percent_range(0.9861, 1.0) == "98.6–100.0 %"


def test_a_fraction_near_one_or_zero_is_not_shown_as_certain() -> None:
    """One mistake in 4,000 images is visible; a probability within 1e-6 of certainty is rounded."""
    assert [percent(3999 / 4000), percent(0.0004), percent(1 - 1e-7)] == ["99.98 %", "0.04 %", "100.0 %"]
    assert percent_range(0.0, 0.99961) == "0.0–99.96 %"


def test_percentages_and_their_ranges_are_right_aligned() -> None:
    """The columns of tables with percentages end at the same place."""
    assert right_aligned(["99.3 %", "98.6–99.7 %"])


@given(st.text(), st.sampled_from(["ascii", "latin-1", "utf-8", "cp1252", None]))
def test_any_text_can_be_encoded(text: str, encoding: str | None) -> None:
    """Characters that cannot be encoded are replaced, all others are unchanged."""
    result = encodable(text, encoding)

    assert result.encode(encoding or "utf-8") is not None
    assert encodable(result, encoding) == result


def test_raw_bytes_of_a_file_name_can_be_encoded() -> None:
    """A surrogate, which stands for a byte that is not UTF-8, is escaped."""
    assert encodable("\udcff.jpg", "utf-8") == "\\udcff.jpg"


TABLES = st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4))


@given(TABLES)
def test_the_columns_of_a_table_are_straight(columns: list[list[str]]) -> None:
    """Every line fills the widths of the columns, measured in terminal columns."""
    lines = plain_table(columns).split("\n")

    assert len(lines) == len(columns[0])
    assert all(cell_width(line) <= table_width(columns) for line in lines)
    assert all(cell in line for column in columns for cell, line in zip(column, lines, strict=True))


@given(TABLES, st.integers(1, 30))
def test_fitting_a_table_loses_no_character_but_spaces(columns: list[list[str]], width: int) -> None:
    """Cells are wrapped, not truncated, and a table that fits is unchanged."""
    fitted = fit_table(columns, width)

    assert [[cell.replace("\n", "") for cell in column] for column in fitted] == columns
    assert fitted == columns or table_width(columns) > width


def test_wide_letters_take_two_columns() -> None:
    """Ideographs count as two columns, so that the next column stays aligned."""
    assert plain_table([["a", "猫", "cat"], ["b", "x", "y"]]) == "a    b\n猫   x\ncat  y"


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["–", ""], False),
        (["1,900", "–"], True),
        (["±3", "224 × 224"], True),
        (["0.97–0.99", "1 min 15 s"], True),
        (["VGG16"], False),
        (["2026-11-21"], False),
    ],
)
def test_columns_of_numbers_are_aligned_right(cells: list[str], right: bool) -> None:
    """A dash counts as an unknown number, and a name that ends with a number as text."""
    assert right_aligned(cells) is right


def test_matrices() -> None:
    """Row 181: the numbers of a matrix are aligned, with a minus sign."""
    assert matrix_text([[1, -20], [3, 4]]) == "  1 −20\n  3   4"
