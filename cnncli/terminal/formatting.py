"""Numbers, durations and tables as text for people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# What the words of this project become where an encoding has no better.
_PLAIN = str.maketrans(
    {"·": "-", "–": "-", "—": "-", "…": "...", "×": "x", "→": "->", "±": "+/-", "≤": "<=", "≥": ">=", "’": "'"}
)


def encodable(text: str, encoding: str | None) -> str:
    r"""A text as an encoding can hold it: unchanged if possible, else in plain signs and escapes.

    >>> encodable("3 × 4 · é", "ascii")
    '3 x 4 - \\xe9'
    """
    try:
        text.encode(encoding or "utf-8")
        return text
    except UnicodeEncodeError:
        plain = text.translate(_PLAIN)
        return plain.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def duration(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> [duration(s) for s in (0.04, 4.12, 75, 7380)]
    ['0.04 s', '4.1 s', '1 min 15 s', '2 h 03 min']
    """
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
    """So many of a unit per second.

    >>> rate(1900.4, "images"), rate(0.25, "images")
    ('1,900 images/s', '0.25 images/s')
    """
    return f"{per_second:,.0f} {unit}/s" if per_second >= 9.5 else f"{per_second:.2g} {unit}/s"


def size(n_bytes: float) -> str:
    """A size on disk in the unit that suits it, powers of 1000.

    >>> [size(n) for n in (812, 2_560, 83_100_000, 1.25e9, 45e12)]
    ['812 B', '2.6 kB', '83 MB', '1.2 GB', '45 TB']
    """
    power = next((power for power in range(4) if n_bytes < 999.5 * 1000**power), 4)
    number = n_bytes / 1000**power
    return f"{number:{'.1f' if power and number < 9.95 else ',.0f'}} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def figure(value: float) -> str:
    """A loss, an accuracy or a learning rate, to three decimals or, where it is small, two digits.

    >>> [figure(value) for value in (0.98125, 0.0, 2e-5, 12.3456)]
    ['0.981', '0', '2e-05', '12.346']
    """
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


def cell_width(text: str) -> int:
    """How many columns of a terminal a text takes: ideographs take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


_NUMBER = r"[+±-]?\d[\d.,]*(?:e[+-]?\d+)?"
_QUANTITY = re.compile(rf"{_NUMBER}(?:[–×/ ]+(?:{_NUMBER}|%|[A-Za-z/]+))*")


def right_aligned(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, with units or in ranges; a dash is a number that is not known.

    >>> [right_aligned(column) for column in (["1,900", "–"], ["0.97–0.99", "1 min 15 s"], ["2026-11-21"])]
    [True, True, False]
    """
    filled = [cell for cell in cells if cell not in ("", "–")]
    return bool(filled) and all(_QUANTITY.fullmatch(cell) for cell in filled)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table aligned by spaces, two between columns; numbers to the right.

    >>> print(plain_table(["run", "n"], [["vgg16", "2,000"], ["a", "4"]]))
    run        n
    vgg16  2,000
    a          4
    """
    table = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(cell_width(row[k]) for row in table) for k in range(len(columns))]
    right = [right_aligned([row[k] for row in table[1:]]) for k in range(len(columns))]
    lines = ["  ".join(map(_padded, row, widths, right)).rstrip() for row in table]
    return "\n".join([title, *lines] if title else lines)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_width(cell))
    return space + cell if right else cell + space
