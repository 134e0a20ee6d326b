"""Verify images: facts come from the index of known images, or from reading the file in parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.records import ImageRecord, LabeledImages
from cnncli.dataset.stat_index import StatIndex, stat_key
from cnncli.errors import DataError, Message, printable
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.threads import batched, map_ordered
from cnncli.shards.shard import reading_order
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig

Records = Sequence[ImageRecord]

_BATCH = 2_000  # files verified before the results are written to the index, so that a kill loses little


def verify_records(
    found: LabeledImages, records: Records, data: DataConfig, console: Console | None
) -> list[ImageRecord]:
    """Add facts to some or all records of a source. Only files that are not in the index are read."""
    facts = _facts_of(records, data, console, found.records)
    return [replace(one, facts=facts[one.file].within(data.max_pixels)) for one in records]


def add_facts(records: Records, data: DataConfig, console: Console | None) -> list[ImageRecord]:
    """Add the facts that a manifest does not contain, such as thumbnails, to its images."""
    facts = _facts_of(records, data, console)
    return [replace(one, facts=facts[one.file]) for one in records]


def require_unchanged(records: Records, data: DataConfig, remedy: str, console: Console) -> None:
    """Check that images of a run exist and are unchanged byte for byte.

    Raises:
        DataError: Images are missing or have changed, one message each, followed by `remedy`; a single message if all
            are missing.
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
        raise DataError([*problems, Message("data-images-changed", remedy, n=len(problems))])


def _facts_of(records: Records, data: DataConfig, console: Console | None, scan: Records = ()) -> dict[str, ImageFacts]:
    """Return the facts of files by path, from the index if the file has not changed.

    `scan` has all records of a source: deleted files are then forgotten.
    """
    index = StatIndex(bands=data.bands)
    folders = {os.path.dirname(one.file) for one in records}  # noqa: PTH120 - millions of paths
    known = index.below(Path(os.path.commonpath(folders))) if folders else {}
    keys = {one.file: stat_key(one.path) for one in records}
    if scan:
        unseen = known.keys() - {one.file for one in scan}
        index.forget(file for file in unseen if stat_key(Path(file)) is None)
    facts = {file: known[file][1] for file, key in keys.items() if file in known and known[file][0] == key}
    unknown = [file for file in keys if file not in facts]
    unknown = [unknown[place] for place in reading_order(unknown)]
    with console.progress(len(unknown), "checking images") if console and unknown else nullcontext() as bar:
        for batch in batched(unknown, _BATCH):
            found = map_ordered(lambda file: verify(Path(file), data.max_pixels, data.bands), batch)
            for file, one in zip(batch, found, strict=True):
                facts[file] = one
                if bar:
                    bar.advance()
            index.remember((file, key, facts[file]) for file in batch if (key := keys[file]))
    return facts
