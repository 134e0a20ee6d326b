"""Finding the rows of images in the segments of a key."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.features.open_key import ABSENT, positions
from cnncli.features.segments import pack


def _digest(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


@given(known=st.lists(st.integers(0, 30), max_size=40), searched=st.lists(st.integers(0, 40), max_size=20))
def test_every_digest_is_found_at_its_first_position(known: list[int], searched: list[int]) -> None:
    """The position of every digest equals that of its first occurrence in the list, or `ABSENT`."""
    packed = pack([_digest(number) for number in known])
    found = positions(pack([_digest(number) for number in searched]), packed, np.argsort(packed, kind="stable"))

    assert found.tolist() == [known.index(number) if number in known else ABSENT for number in searched]


def test_zeros_at_the_end_of_a_digest_are_significant() -> None:
    """Digests that differ only in zeros at their end are distinguished, although NumPy hides trailing zeros."""
    digests = ["00" * 32, "ab" + "00" * 31, "ab" + "00" * 30 + "01"]

    found = positions(pack([*digests, "ab01" + "00" * 30]), pack(digests), np.arange(3))
    assert found.tolist() == [0, 1, 2, ABSENT]


@pytest.mark.parametrize("wrong", ["", "ab", "x" * 64, "a" * 63, "a" * 65])
def test_an_invalid_digest_is_refused(wrong: str) -> None:
    """A digest that does not consist of 64 hexadecimal digits is refused."""
    with pytest.raises(ValueError, match="hexadecimal"):
        pack([wrong])
