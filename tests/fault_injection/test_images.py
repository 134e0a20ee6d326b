"""Images damaged at random, and those that once were not stood."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import images
from tests.fault_injection.endured import endured
from tests.images import handmade

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory of a child as Linux does")

AT_A_TIME = 20


@pytest.mark.parametrize("first", range(0, 200, AT_A_TIME))
def test_mutated_images_are_refused_or_used_alike_by_all(tmp_path: Path, first: int) -> None:
    """Verified, decoded and checked: one verdict, no other exception, no word on stderr, 10 s and 2 GB at most."""
    for seed in range(first, first + AT_A_TIME):
        images.once(tmp_path / str(seed), np.random.default_rng(seed))


def test_good_images_are_used(tmp_path: Path) -> None:
    """Or else nothing would be said about mutants."""
    for number, data in enumerate(images.seeds()):
        images.require_stood(data, tmp_path / str(number))
        assert images.refusal(tmp_path / str(number) / "images" / "a" / "mutant.jpg", images.RECIPES[0]) is None


def _tiff_that_begins_nowhere() -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**62) + bytes(40)


def _tiff_with_pixels_before_its_beginning() -> bytes:
    whole = handmade.tiff({256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2}, {})
    return whole.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHIi", 273, 9, 1, -13_506_305))


@pytest.mark.parametrize("make", [_tiff_that_begins_nowhere, _tiff_with_pixels_before_its_beginning])
def test_what_was_not_stood_is_stood_now(tmp_path: Path, make: Callable[[], bytes]) -> None:
    """On disk and in memory such files were refused in other words, and on disk not remembered."""
    images.require_stood(make(), tmp_path, ".tif")


def _hang() -> None:
    while True:
        pass


def _crash() -> None:
    import ctypes

    ctypes.string_at(0)


def _fail() -> None:
    raise ValueError("as it should")


def _devour() -> int:
    return len(bytearray(3_000_000_000))


@pytest.mark.parametrize(
    ("harm", "words"), [(_hang, "SIGALRM"), (_crash, "SIGSEGV"), (_devour, "MemoryError"), (_fail, "as it should")]
)
def test_the_child_tells_hangs_crashes_and_greed(harm: object, words: str) -> None:
    """What the harness could not see it could not fail for."""
    assert callable(harm)
    with pytest.raises(AssertionError, match=words):
        endured(harm, seconds=1)
