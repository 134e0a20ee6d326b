"""What each candidate of a scanned folder is: looked up in the index, or verified now on all processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cnncli.dataset.scan import Candidate, Scan
from cnncli.dataset.stat_index import StatIndex
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.threads import map_ordered

MAX_PIXELS = 178_000_000
"""Pillow's own limit against decompression bombs, and the default of `data.max_pixels`."""

Progress = Callable[[int, int], None]
"""Is called with the number of files that are done and the number of all."""

_BATCH = 2_000  # files verified before what was found is written to the index, so that a kill loses little


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A file that is or claims to be an image, and what is known about it.

    Attributes:
        file: its path as text, which takes a quarter of the memory of a `Path`.
        split, label: names of its folders.
        facts: what is known.
    """

    file: str
    split: str
    label: str
    facts: ImageFacts

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.file)

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes."""
        return self.facts.digest

    @property
    def problem(self) -> str | None:
        """Why it is refused, or None."""
        return self.facts.problem


def verified(
    scan: Scan,
    candidates: Sequence[Candidate],
    max_pixels: int = MAX_PIXELS,
    index_path: Path | None = None,
    progress: Progress | None = None,
) -> list[ImageRecord]:
    """The candidates with their facts, in the same order; only files the index does not know are read.

    Args:
        scan: where they come from; files the index knows below its root that are gone are forgotten.
        candidates: all of the scan's, or some.
        max_pixels: larger images are refused.
        index_path: file of the index; default: in the cache folder.
        progress: is told how far it is.
    """
    index = StatIndex(index_path)
    known = index.below(scan.root)
    index.forget(sorted(known.keys() - {candidate.path for candidate in scan.candidates}))
    facts = {one.path: known[one.path][1] for one in candidates if one.path in known and known[one.path][0] == one.key}
    unknown = iter([one for one in candidates if one.path not in facts])
    while batch := list(islice(unknown, _BATCH)):
        for one, found in zip(batch, _verify_all(batch, max_pixels), strict=True):
            facts[one.path] = found
            if progress:
                progress(len(facts), len(candidates))
        index.remember((one.path, one.key, facts[one.path]) for one in batch if one.key)
    return [ImageRecord(one.path, one.split, one.label, facts[one.path].within(max_pixels)) for one in candidates]


def _verify_all(candidates: Sequence[Candidate], max_pixels: int) -> Iterator[ImageFacts]:
    return map_ordered(lambda one: verify(Path(one.path), max_pixels), candidates)
