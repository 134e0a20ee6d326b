"""Randomly damaged images, and files that used to cause failures."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import images
from tests.fault_injection.bounded import run_bounded
from tests.images import handmade

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory of a child as Linux does")

AT_A_TIME = 20
FIRST = [pytest.param(first, marks=pytest.mark.slow if first else []) for first in range(0, 200, AT_A_TIME)]


@pytest.mark.parametrize("first", FIRST)
def test_mutated_images_are_refused_or_used_alike_by_all(tmp_path: Path, first: int) -> None:
    """Verification, decoding and `data check` agree within 10 s and 2 GB, without other exceptions or output."""
    for seed in range(first, first + AT_A_TIME):
        images.once(tmp_path / str(seed), np.random.default_rng(seed))


def test_good_images_are_used(tmp_path: Path) -> None:
    """The undamaged files are accepted; otherwise the mutated files would prove nothing."""
    for number, data in enumerate(images.seeds()):
        images.check_file(data, tmp_path / str(number))
        assert images.refusal(tmp_path / str(number) / "images" / "a" / "mutant.jpg", images.SPECS[0]) is None


def _tiff_with_a_directory_beyond_its_end() -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**62) + bytes(40)


def _tiff_with_pixels_before_its_beginning() -> bytes:
    whole = handmade.tiff({256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2}, {})
    return whole.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHIi", 273, 9, 1, -13_506_305))


@pytest.mark.parametrize("make", [_tiff_with_a_directory_beyond_its_end, _tiff_with_pixels_before_its_beginning])
def test_files_that_once_failed_are_refused_alike(tmp_path: Path, make: Callable[[], bytes]) -> None:
    """Files that used to fail are refused for the same reason from disk and from memory; the index keeps the reason."""
    images.check_file(make(), tmp_path, ".tif")


def _spin() -> None:
    while True:
        pass


def _wait() -> None:
    time.sleep(60)


def _crash() -> None:
    import ctypes

    ctypes.string_at(0)


def _fail() -> None:
    raise ValueError("expected")


def _fill_memory() -> int:
    return len(bytearray(3_000_000_000))


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (_spin, "SIGXCPU"),
        (_wait, "SIGALRM"),
        (_crash, "SIGSEGV"),
        (_fill_memory, "MemoryError"),
        (_fail, "expected"),
    ],
)
def test_the_harness_notices_hangs_crashes_and_greed(work: Callable[[], object], reason: str) -> None:
    """A child that hangs, crashes, uses too much memory or raises an exception fails the test with the reason."""
    with pytest.raises(AssertionError, match=reason):
        run_bounded(work, seconds=1)
