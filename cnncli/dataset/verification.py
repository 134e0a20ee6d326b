"""Verify images: facts come from the index of known images, or from reading the file in parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.records import NOT_VERIFIED, ImageRecord
from cnncli.dataset.stat_index import StatIndex, stat_key
from cnncli.errors import MOST_PROBLEMS, DataError, Message, printable
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.threads import batched, map_ordered
from cnncli.shards.shard import reading_order
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig

Records = Sequence[ImageRecord]

_BATCH = 2_000  # files verified before the results are written to the index, so that a kill loses little


def verify_records(records: Records, data: DataConfig, console: Console | None) -> list[ImageRecord]:
    """Add facts to some or all records of a source. Only files that are not in the index are read."""
    facts = _facts_of(records, data, console, forgets_deleted=True)
    return [replace(one, facts=facts[one.file].within(data.max_pixels)) for one in records]


def add_facts(records: Records, data: DataConfig, console: Console | None) -> list[ImageRecord]:
    """Add the facts that a manifest does not contain, such as thumbnails, to its images."""
    facts = _facts_of(records, data, console)
    return [replace(one, facts=facts[one.file]) for one in records]


def recall_facts(records: Records, data: DataConfig) -> list[ImageRecord]:
    """Add the facts that the index has of the bytes of images, such as thumbnails; no file is read.

    The facts of deleted files are found as well, as long as the index has their digests.
    """
    files = {one.file: one.digest for one in records if os.path.isabs(one.file)}  # noqa: PTH117 - millions of paths
    if not files:
        return list(records)
    folder = Path(os.path.commonpath({os.path.dirname(file) for file in files}))  # noqa: PTH120
    known = {file: one for file, _, one in StatIndex(bands=data.bands).below(folder) if files.get(file) == one.digest}
    return [replace(one, facts=known.get(one.file, one.facts)) for one in records]


def require_unchanged(records: Records, data: DataConfig, remedy: str, console: Console) -> None:
    """Check that images of a run exist and are unchanged byte for byte.

    Raises:
        DataError: Images are missing or have changed: a message for each of the first `MOST_PROBLEMS`, and then the
            `remedy`; a single message if all are missing.
    """
    facts = _facts_of(records, data, console)
    if records and not any(facts[one.file].digest for one in records):
        text = f"{printable(data.path)}: none of the run's {len(records):,} images can be read; {remedy}"
        raise DataError(Message("data-images-missing", text, path=data.path, n=len(records)))
    problems = []
    for one in records:
        if facts[one.file].digest != one.digest:
            reason = "has changed since the run was trained" if facts[one.file].digest else facts[one.file].problem
            problems.append(Message("data-image-changed", f"{printable(one.path)}: {reason}", path=one.path))
    if problems:
        n, shown = len(problems), problems[:MOST_PROBLEMS]
        more = f"{n - len(shown):,} more images have changed or are missing; " if n > len(shown) else ""
        raise DataError([*shown, Message("data-images-changed", f"{more}{remedy}", n=n)])


def _facts_of(
    records: Records, data: DataConfig, console: Console | None, *, forgets_deleted: bool = False
) -> dict[str, ImageFacts]:
    """Return the facts of files by path, from the index if the file has not changed."""
    index = StatIndex(bands=data.bands)
    facts = _known_facts(records, index, forgets_deleted)
    unknown = [file for file, one in facts.items() if one is NOT_VERIFIED]
    unknown = [unknown[place] for place in reading_order(unknown)]
    with console.progress(len(unknown), "checking images") if console and unknown else nullcontext() as bar:
        for batch in batched(unknown, _BATCH):
            # Before reading: a change meanwhile is noticed the next time.
            keys = [stat_key(Path(file)) for file in batch]
            found = map_ordered(lambda file: verify(Path(file), data.max_pixels, data.bands), batch)
            for file, one in zip(batch, found, strict=True):
                facts[file] = one
                if bar:
                    bar.advance()
            index.remember((file, key, facts[file]) for file, key in zip(batch, keys, strict=True) if key)
    return facts


def _known_facts(records: Records, index: StatIndex, forgets_deleted: bool) -> dict[str, ImageFacts]:
    """Return the facts of unchanged files from the index, and `NOT_VERIFIED` for all others."""
    facts = {one.file: NOT_VERIFIED for one in records}
    if not facts:
        return facts
    folders = {os.path.dirname(file) for file in facts}  # noqa: PTH120 - millions of paths
    deleted = []
    for file, key, one in index.below(Path(os.path.commonpath(folders))):
        if file in facts:
            if key == stat_key(Path(file)):
                facts[file] = one
        elif forgets_deleted and stat_key(Path(file)) is None:
            deleted.append(file)
    index.forget(deleted)
    return facts
