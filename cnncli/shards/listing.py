"""Which shards a path stands for: one file, a pattern with braces or `*`, a folder of shards, or an object store."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from cnncli.runtime.threads import map_ordered
from cnncli.shards.files import file_key, forget_remote
from cnncli.shards.object_stores import remote_matches
from cnncli.shards.parquet import has_images
from cnncli.shards.places import PARQUET, expand_braces, is_remote, is_shard
from cnncli.storage.image_names import DICOM_SUFFIXES, HEIC_SUFFIXES, IMAGE_SUFFIXES

_IMAGES = (*IMAGE_SUFFIXES, *HEIC_SUFFIXES, *DICOM_SUFFIXES)
_SERIES = re.compile(r"(.*\D)(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?(\.\w+)", re.DOTALL)


def find_shards(path: Path, allow_missing: bool = False) -> list[str]:
    """Return the shards of a folder, pattern or file, sorted; remote files are looked up again.

    Those of a folder are directly in it, or in the folders in it: `data/` of a dataset of Hugging Face, or one for each
    split.

    Raises:
        FileNotFoundError: Some of the paths that braces stand for do not exist, unless they may be missing; if none
            does, the list is empty.
        OSError: The object store cannot be reached.
        ValueError: The pattern names too many.
    """
    if is_remote(path):
        forget_remote()
    patterns = expand_braces(os.fspath(path))
    matches = [_matches(pattern) for pattern in patterns]
    if is_remote(path) and len(patterns) > 1:
        matches = list(map_ordered(_existing, matches))
    missing = [pattern for pattern, found in zip(patterns, matches, strict=True) if not found]
    if 0 < len(missing) < len(patterns) and not allow_missing:
        folder = os.fspath(path).partition("{")[0].rpartition(os.sep)[0]
        first = missing[0].removeprefix(f"{folder}{os.sep}")
        reason = f"{len(missing):,} of {len(patterns):,} shards do not exist, the first of which is {first}"
        raise FileNotFoundError(errno.ENOENT, reason, os.fspath(path))
    return sorted({one for found in matches for one in found})


def missing_of_series(path: Path, shards: Sequence[str]) -> list[str]:
    """Return the shards that are missing of series such as `train-00000-of-00002.parquet`.

    They are missing if a folder, or a pattern with `*`, would include them.
    """
    series: dict[tuple[str, str, str], set[int]] = {}
    for shard in shards:
        if found := _SERIES.fullmatch(shard):
            # The hash that follows the number in some datasets is different for each shard.
            series.setdefault((found[1], found[3], found[4]), set()).add(int(found[2]))
    missing = [
        f"{start}{number:05d}-of-{total}{end}"
        for (start, total, end), numbers in series.items()
        for number in sorted(_numbers_to(int(total), numbers) - numbers)
    ]
    patterns = list(filter(None, map(_inclusive_pattern, expand_braces(os.fspath(path))))) if missing else []
    return [one for one in missing if any(fnmatchcase(one, pattern) for pattern in patterns)]


def _numbers_to(total: int, numbers: set[int]) -> set[int]:
    """Return the numbers of a series, some of which are given: from 0, or from 1 if its last one is the total."""
    return set(range(1, total + 1)) if total in numbers and 0 not in numbers else set(range(total))


def _inclusive_pattern(path: str) -> str | None:
    """Return the pattern of all paths that a folder or a pattern includes, or None for the path of a file."""
    if os.path.isdir(path) or not (is_shard(path) or glob.has_magic(path)):  # noqa: PTH112
        return f"{glob.escape(path)}{os.sep}*"
    return path if glob.has_magic(path) else None


def is_sharded(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of shards: one of them, a pattern, a folder of them, or remote.

    A folder that also has image files is not one of shards: archives and tables can lie next to images. A Parquet file
    without images is a table of labels.
    """
    text = os.fspath(path)
    if is_remote(text):
        return True
    if os.path.isdir(text):  # noqa: PTH112
        try:
            if _has_image_files(text):
                return False
            folders, has_shards = _visible_folders(text), bool(_visible_files(text))
            return not folders if has_shards else bool(folders) and all(map(_has_only_shards, folders))
        except OSError:
            return False
    if text.lower().endswith(PARQUET) and not _is_pattern(text):
        return has_images(text)
    return is_shard(text)


def _matches(pattern: str) -> list[str]:
    if is_remote(pattern):
        return remote_matches(pattern)
    if os.path.isfile(pattern):  # noqa: PTH113 - a name can contain brackets
        return [pattern]
    if not os.path.isdir(pattern):  # noqa: PTH112
        return [found for found in glob.glob(pattern) if is_shard(found) and os.path.isfile(found)]  # noqa: PTH113, PTH207
    return _visible_files(pattern) or [found for one in _visible_folders(pattern) for found in _visible_files(one)]


def _existing(shards: list[str]) -> list[str]:
    """Return the matches of a remote pattern, none if it is the path of a file that does not exist."""
    with suppress(FileNotFoundError):
        if len(shards) == 1:  # others come from a list of the store
            file_key(shards[0])
        return shards
    return []


def _is_pattern(path: str) -> bool:
    return "{" in path or glob.has_magic(path)


def _visible_folders(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_dir() and entry.name[0] != "."]


def _visible_files(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if is_shard(entry.name) and entry.is_file() and entry.name[0] != "."]


def _has_only_shards(folder: str) -> bool:
    return not _has_image_files(folder) and bool(_visible_files(folder)) and not _visible_folders(folder)


def _has_image_files(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(one.name.lower().endswith(_IMAGES) and one.name[0] != "." and one.is_file() for one in entries)
