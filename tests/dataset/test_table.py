"""A table of images gives back its records, and takes little memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.dataset.records import SPLITS, ImageRecord, count_images
from cnncli.dataset.table import ImageTable
from cnncli.images.verify import ImageFacts

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: 0 not in name).map(os.fsdecode)
RECORDS = st.lists(
    st.builds(
        ImageRecord,
        file=NAMES,
        labels=st.sampled_from([(), ("cat",), ("dog",), ("cat", "dog")]),
        split=st.sampled_from(SPLITS),
        facts=st.builds(
            ImageFacts,
            st.binary(min_size=32, max_size=32).map(bytes.hex),
            st.integers(0, 2**60),
            st.integers(0, 2**31),
            st.integers(0, 2**31),
        ),
        group=st.sampled_from(["", "patient 1", "patient 2"]),
    ),
    max_size=30,
)


def drawn(n: int) -> Iterator[ImageRecord]:
    """Yield the records of n images of 1,000 classes in shards."""
    rng = np.random.default_rng(0)
    for k in range(n):
        facts = ImageFacts(rng.bytes(32).hex(), 110_000 + k % 1_000, 500, 375)
        yield ImageRecord(f"/data/train-{k // 10_000:06}.tar/{k:08}.jpg", (f"class {k % 1_000}",), "train", facts)


@given(RECORDS)
def test_a_table_is_the_sequence_of_its_records(records: list[ImageRecord]) -> None:
    """Items, slices, splits, counts and comparisons are those of the list of records."""
    table = ImageTable(records)

    assert list(table) == [table[k] for k in range(len(table))] == records
    assert table == tuple(records)
    assert list(table[::-2]) == records[::-2]
    assert list(table[-1:]) == records[-1:]
    for split in SPLITS:
        assert list(table.in_split(split)) == [one for one in records if one.split == split]
    expected = count_images(records, dict.fromkeys(SPLITS, ("cat", "dog")))
    assert {(split, label): n for split, row in expected.items() for label, n in row.items() if n} == table.counts()


def test_a_million_images_take_less_than_100_mb() -> None:
    """A table takes at most 100 bytes per image, also while it is made; 20,000 images stand for a million."""
    n = 20_000
    tracemalloc.start()
    try:
        table = ImageTable(drawn(n), most=n)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(table) == n
    assert peak < 100 * n + 2 * 2**20  # the chunk of rows that is converted


@pytest.mark.parametrize("digest", ["", "ab", "x" * 64, "0" * 66])
def test_an_image_needs_a_digest(digest: str) -> None:
    """An image that was not verified raises ValueError."""
    with pytest.raises(ValueError, match="hex"):
        ImageTable([ImageRecord("/a.jpg", ("cat",), "train", ImageFacts(digest, 1, 1, 1))])
