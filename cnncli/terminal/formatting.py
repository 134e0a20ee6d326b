"""Format numbers, durations and tables as text. There is one function for each kind, used everywhere."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

MOST_DIGITS = 3
"""Digits after the point of a percentage near 0 or 100."""

HUGE = 100_000
"""Losses from here on are shown with an exponent."""

_ASCII = str.maketrans(
    {**dict.fromkeys("·–—─−", "-"), "…": "...", "×": "x", "→": "->", "±": "+/-", "≤": "<=", "≥": ">=", "’": "'"}
)


def encodable(text: str, encoding: str | None) -> str:
    r"""Return text that an encoding can represent, with ASCII characters and escapes in place of others.

    >>> encodable("3 × 4 · é", "ascii")
    '3 x 4 - \\xe9'
    >>> encodable("3·4 − 1", "ascii")
    '3*4 - 1'
    """
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = re.sub(r"(?<=\S)·(?=\S)", "*", text)  # a product, and not a separator
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def wrap_text(text: str, width: int, indent: str = "", first_indent: str = "") -> list[str]:
    """Wrap a message between words. A command stays on one line, so that it can be copied from a terminal.

    >>> wrap_text("Resume with `cnncli train RUN` or not", 20, indent="  ")
    ['Resume with', '  `cnncli train RUN`', '  or not']
    """
    if text.startswith("cnncli "):
        return [first_indent + text]
    joined = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), text)
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first_indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in wrapper.wrap(joined)] or [first_indent.rstrip()]


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: `1 epoch`, `2,000 epochs`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def count_text(count: int | None) -> str:
    """Return a number of images or classes as it is shown in a table."""
    return "–" if count is None else f"{count:,}"


def duration(seconds: float) -> str:
    """Return a duration in a suitable unit: `0.04 s`, `4.1 s`, `1 min 15 s` or `2 h 03 min`."""
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def rate(per_second: float, unit: str) -> str:
    """Return a rate such as `1,900 images/s` or `0.25 images/s`."""
    return f"{per_second:,.0f} {unit}/s" if per_second >= 9.5 else f"{per_second:.2g} {unit}/s"


def size(n_bytes: float) -> str:
    """Return a size in bytes in a suitable unit (powers of 1000).

    >>> [size(n) for n in (812, 2_560, 83_100_000, 1.25e9, 45e12)]
    ['812 B', '2.6 kB', '83 MB', '1.2 GB', '45 TB']
    """
    power = next((power for power in range(4) if n_bytes < 999.5 * 1000**power), 4)
    number = n_bytes / 1000**power
    return f"{number:{'.1f' if power and number < 9.95 else ',.0f'}} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def kilobytes(number: float) -> str:
    """Return a number of KB with at most two decimals or, if it is small, two significant digits.

    >>> kilobytes(784), kilobytes(182.25), kilobytes(12_544.0), kilobytes(4 / 1024)
    ('784', '182.25', '12,544', '0.0039')
    """
    if 0 < number < 0.1:
        return f"{number:.2g}"
    return re.sub(r"\.?0+$", "", f"{number:,.2f}")


def matrix_text(rows: Iterable[Iterable[float]]) -> str:
    """Return a matrix as lines of aligned numbers, with a minus sign.

    >>> print(matrix_text([[1, -20], [3, 4]]))
      1 −20
      3   4
    """
    texts = [[f"{value:g}".replace("-", "−") for value in row] for row in rows]
    width = max(len(text) for row in texts for text in row)
    return "\n".join(" ".join(text.rjust(width) for text in row) for row in texts)


def decimal(value: float) -> str:
    """Return a loss or a learning rate with three decimals or, if it is small or huge, few digits: `2e-05`."""
    if abs(value) >= HUGE:
        return f"{value:.3g}"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


def measured(value: float, show: Callable[[float], str]) -> str:
    """Return a number as text, or a dash for NaN: it could not be measured.

    >>> measured(0.5, percent), measured(float("nan"), percent)
    ('50.0 %', '–')
    """
    return "–" if math.isnan(value) else show(value)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage such as `99.3 %`. JSON and CSV contain the fraction itself.

    Fractions near 0 and 1 have up to `MOST_DIGITS` digits, so that one mistake in 4,000 images is not `100.0 %`.

    >>> percent(0.9934), percent(0.9996), percent(2e-5), percent(1.0)
    ('99.3 %', '99.96 %', '0.002 %', '100.0 %')
    """
    return f"{_digits(fraction)} %"


def _digits(fraction: float) -> str:
    """Return 100 × a fraction with one digit after the point, or with as many as tell it from 0 and 100."""
    shown = [f"{100 * fraction:.{digits}f}" for digits in range(1, MOST_DIGITS + 1)]
    return next((text for text in shown if float(text) not in (0, 100)), shown[0])


def percent_range(low: float, high: float) -> str:
    """Return an interval of fractions as percentages such as `98.6–99.7 %`."""
    return f"{_digits(low)}–{percent(high)}"


def signed_points(difference: float) -> str:
    """Return a difference of fractions in percentage points.

    >>> signed_points(0.0123), signed_points(-0.144), signed_points(-0.0001)
    ('+1.2', '−14.4', '+0.0')
    """
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")


def short_path(path: Path) -> Path:
    """Return a path relative to the current folder if it is inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def cell_width(text: str) -> int:
    """Return the width of a text in terminal columns: ideographs take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


_NUMBER = r"[+±-]?\d[\d.,]*(?:e[+-]?\d+)?"
_QUANTITY = re.compile(rf"{_NUMBER}(?:[–×/ ]+(?:{_NUMBER}|%|[A-Za-z/]+))*")


def right_aligned(cells: Sequence[str]) -> bool:
    """Return whether all cells are numbers, with units or in ranges; a dash stands for an unknown number."""
    filled = [cell for cell in cells if cell not in ("", "–")]
    return bool(filled) and all(_QUANTITY.fullmatch(cell) for cell in filled)


Column = list[str]
"""A column of a table: its heading, then its cells. A cell that was wrapped has several lines."""


def plain_table(columns: Sequence[Column]) -> str:
    """Return a table with columns aligned by spaces, two between them; numbers are aligned right.

    >>> print(plain_table([["run", "vgg16", "a"], ["n", "2,000", "4"]]))
    run        n
    vgg16  2,000
    a          4
    """
    styles = [(_column_width(column), right_aligned(column[1:])) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        for cells in zip_longest(*(cell.split("\n") for cell in row), fillvalue=""):
            aligned = [_align(cell, *style) for cell, style in zip(cells, styles, strict=True)]
            lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def _align(cell: str, width: int, right: bool) -> str:
    spaces = " " * (width - cell_width(cell))
    return spaces + cell if right else cell + spaces


def fit_table(columns: Sequence[Column], width: int, optional: Sequence[str] = ()) -> list[Column]:
    r"""Fit a table into the width of a terminal.

    Optional columns are dropped first. Then long cells are wrapped after spaces, commas and slashes and, only if that
    is not enough, after dashes and underscores. Words and quantities stay whole, so a table may remain too wide.

    >>> fit_table([["path", "data/cats/1.jpg"], ["n", "2,000"], ["size", "1.2 GB"]], 20, ["size"])
    [['path', 'data/cats/\n1.jpg'], ['n', '2,000']]
    """
    fitted = [list(column) for column in columns]
    for heading in optional:
        if table_width(fitted) > width:
            fitted = [column for column in fitted if column[0] != heading]
    whole = fitted
    for breaks in (r"(?<=[\s/,])", r"(?<=[\s/,_-])"):
        limit = max(map(_column_width, whole))
        while table_width(fitted) > width and limit > 1:
            limit -= 1
            fitted = [_wrap(column, limit, breaks) for column in whole]
    return fitted


def table_width(columns: Sequence[Column]) -> int:
    """Return the width of a table, including two spaces between columns."""
    return sum(map(_column_width, columns)) + 2 * (len(columns) - 1)


def _column_width(column: Column) -> int:
    return max(cell_width(line) for cell in column for line in cell.split("\n"))


def _wrap(column: Column, width: int, breaks: str) -> Column:
    """Wrap the cells of a column, or only its heading if the cells are quantities."""
    is_numeric = right_aligned(column[1:])
    pieces = [[cell] if is_numeric and k else re.split(breaks, cell) for k, cell in enumerate(column)]
    width = max(width, *(cell_width(piece.rstrip()) for cell in pieces for piece in cell))
    return ["\n".join(_lines(cell, width)) for cell in pieces]


def _lines(pieces: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for piece in pieces:
        if line and cell_width((line + piece).rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()
