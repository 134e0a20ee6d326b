"""Verified images: facts come from the index of known images, or from reading the file now on all processors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.records import ImageRecord, LabeledImages
from cnncli.dataset.stat_index import StatIndex, StatKey, stat_key
from cnncli.dataset.watching import Progress, watching
from cnncli.errors import DataError, Message, printable
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.threads import map_ordered
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig

MAX_PIXELS = 178_000_000
"""Pillow's limit against decompression bombs, and the default of `data.max_pixels`."""

_BATCH = 2_000  # files verified before the results are written to the index, so that a kill loses little


def verify_records(
    found: LabeledImages,
    records: Sequence[ImageRecord],
    max_pixels: int = MAX_PIXELS,
    index_path: Path | None = None,
    progress: Progress | None = None,
) -> list[ImageRecord]:
    """Add facts to records, in the same order. Only files that the index does not know are read.

    Args:
        found: source of the records; files below its root that are gone are removed from the index.
        records: all of the source's records, or some.
        max_pixels: larger images are refused.
        index_path: file of the index; default: in the cache directory.
        progress: receives the number of records done and in total.
    """
    index = StatIndex(index_path)
    known = index.below(found.root)
    index.forget(sorted(known.keys() - {one.file for one in found.records}))
    keys = {one.file: one.key for one in records}
    facts = _facts_of(keys, known, index, max_pixels, progress)
    return [replace(one, facts=facts[one.file].within(max_pixels)) for one in records]


def require_unchanged(records: Sequence[ImageRecord], data: DataConfig, remedy: str, console: Console) -> None:
    """Check that images of a run are where they were, byte for byte.

    Args:
        records: images of the run's manifest.
        data: settings of the run.
        remedy: advice for the case that the images cannot be restored.
        console: shows progress.

    Raises:
        DataError: images are missing or have changed, one message each; one message if none is left.
    """
    keys = {one.file: _stat_key(one.path) for one in records}
    present = {file: key for file, key in keys.items() if not isinstance(key, str)}
    if not present:
        text = f"{printable(data.path)}: none of the {len(keys):,} images of the run is here; {remedy}"
        raise DataError(Message("data-images-missing", text, path=data.path, n=len(keys)))
    index = StatIndex()
    with watching(console) as progress:
        known = index.below(data.path.resolve())
        facts = _facts_of(present, known, index, data.max_pixels, progress.verifying)
    problems = []
    for one in records:
        key = keys[one.file]
        if isinstance(key, str):
            problems.append(Message("data-image-missing", f"{printable(one.path)}: {key}", path=one.path))
        elif facts[one.file].digest != one.digest:
            found = facts[one.file]
            reason = "has changed since the run was trained" if found.digest else found.problem
            problems.append(Message("data-image-changed", f"{printable(one.path)}: {reason}", path=one.path))
    if problems:
        raise DataError([*problems, Message("data-images-changed", remedy, n=len(problems))])


def _facts_of(
    keys: Mapping[str, StatKey | None],
    known: Mapping[str, tuple[StatKey, ImageFacts]],
    index: StatIndex,
    max_pixels: int,
    progress: Progress | None,
) -> dict[str, ImageFacts]:
    """Return the facts of files by path, from the index where the file has not changed."""
    facts = {file: known[file][1] for file, key in keys.items() if file in known and known[file][0] == key}
    unknown = iter([file for file in keys if file not in facts])
    while batch := list(islice(unknown, _BATCH)):
        for file, one in zip(batch, _verify_all(batch, max_pixels), strict=True):
            facts[file] = one
            if progress:
                progress(len(facts), len(keys))
        index.remember((file, key, facts[file]) for file in batch if (key := keys[file]))
    return facts


def _verify_all(files: Iterable[str], max_pixels: int) -> Iterator[ImageFacts]:
    return map_ordered(lambda file: verify(Path(file), max_pixels), files)


def _stat_key(path: Path) -> StatKey | str:
    try:
        return stat_key(path.stat())
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
