"""Places tell in which segment and row the features of an image are."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.features.open_key import ABSENT, Places
from cnncli.features.segments import pack


def _digest(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


NUMBERS = st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=6)


@given(segments=NUMBERS, wanted=st.lists(st.integers(0, 40), max_size=20), dropped=st.sets(st.integers(0, 5)))
def test_every_digest_is_found_where_it_was_first_added(
    segments: list[list[int]], wanted: list[int], dropped: set[int]
) -> None:
    """The result is that of a dictionary, also after segments were removed."""
    places, first = Places.empty(), dict[int, tuple[int, int]]()
    for number, rows in enumerate(segments):
        places = places.with_segments([(number, pack([_digest(row) for row in rows]))])
    for number, rows in enumerate(segments):
        for row, name in enumerate(rows):
            if number not in dropped:
                first.setdefault(name, (number, row))
    found = places.without_segments(sorted(dropped)).find(pack([_digest(name) for name in wanted]))

    assert list(zip(*(column.tolist() for column in found), strict=True)) == [
        first.get(name, (ABSENT, ABSENT)) for name in wanted
    ]


def test_zeros_at_the_end_of_a_digest_count() -> None:
    """NumPy does not show them, but compares them."""
    digests = ["00" * 32, "ab" + "00" * 31, "ab" + "00" * 30 + "01"]
    places = Places.empty().with_segments([(7, pack(digests))])

    segments, rows = places.find(pack([*digests, "ab01" + "00" * 30]))
    assert segments.tolist() == [7, 7, 7, ABSENT]
    assert rows.tolist() == [0, 1, 2, ABSENT]


@pytest.mark.parametrize("wrong", ["", "ab", "x" * 64, "a" * 63, "a" * 65])
def test_an_invalid_digest_is_refused(wrong: str) -> None:
    """Otherwise the halves of two could be taken for one."""
    with pytest.raises(ValueError, match="hexadecimal"):
        pack([wrong])
