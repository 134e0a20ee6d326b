"""Digests tell where a row lies."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.features.digests import NOWHERE, Places, packed


def _digest(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


NUMBERS = st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=6)


@given(segments=NUMBERS, wanted=st.lists(st.integers(0, 40), max_size=20), dropped=st.sets(st.integers(0, 5)))
def test_every_digest_is_found_where_it_was_first_added(
    segments: list[list[int]], wanted: list[int], dropped: set[int]
) -> None:
    """As a dictionary would find it, also after segments were taken out."""
    places, first = Places.none(), dict[int, tuple[int, int]]()
    for number, rows in enumerate(segments):
        places = places.with_segments([(number, packed([_digest(row) for row in rows]))])
    for number, rows in enumerate(segments):
        for row, name in enumerate(rows):
            if number not in dropped:
                first.setdefault(name, (number, row))
    found = places.without_segments(sorted(dropped)).find(packed([_digest(name) for name in wanted]))

    assert list(zip(*(column.tolist() for column in found), strict=True)) == [
        first.get(name, (NOWHERE, NOWHERE)) for name in wanted
    ]


def test_zeros_at_the_end_of_a_digest_count() -> None:
    """NumPy leaves them out of what it shows, not of what it compares."""
    digests = ["00" * 32, "ab" + "00" * 31, "ab" + "00" * 30 + "01"]
    places = Places.none().with_segments([(7, packed(digests))])

    segments, rows = places.find(packed([*digests, "ab01" + "00" * 30]))
    assert segments.tolist() == [7, 7, 7, NOWHERE]
    assert rows.tolist() == [0, 1, 2, NOWHERE]


@pytest.mark.parametrize("wrong", ["", "ab", "x" * 64, "a" * 63, "a" * 65])
def test_what_is_no_digest_is_refused(wrong: str) -> None:
    """Or else two halves could pass for one."""
    with pytest.raises(ValueError, match="hexadecimal"):
        packed([wrong])
