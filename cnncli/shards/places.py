"""The place of an image in a shard: the path of the shard, followed by the name of the image in it.

It looks like a file below a folder, such as `photos/train-0001.tar/cat/17.jpg`, so that manifests, tables and messages
name it like any other image. Remote shards have paths such as `s3:/bucket/train-0001.tar`, with the single slash that
`Path` leaves of a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product

TAR, PARQUET = ".tar", ".parquet"
SUFFIXES = (TAR, PARQUET)
"""Suffixes of shards. Compressed tars are refused, because their images cannot be read in place."""

COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".tar.lz4")
MAX_SHARDS = 1_000_000
"""Maximum number of shards that a pattern with braces may name."""

_REMOTE = re.compile(r"(s3|gs|hf):/+(?=[^/])")
_END = re.compile(r"\.(?:tar|parquet)(?=[/\\])", re.IGNORECASE)
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of an object store.

    >>> [is_remote(path) for path in ("s3://bucket/a.tar", "s3:/bucket/a.tar", "photos/a.tar")]
    [True, True, False]
    """
    return _REMOTE.match(os.fspath(path)) is not None


def url_of(path: str | os.PathLike[str]) -> str:
    """Return a path with the two slashes of a URL if it is remote.

    >>> url_of("hf:/datasets/cifar10/a.parquet"), url_of("photos/a.tar")
    ('hf://datasets/cifar10/a.parquet', 'photos/a.tar')
    """
    return _REMOTE.sub(r"\1://", os.fspath(path), count=1)


def is_shard(name: str | os.PathLike[str]) -> bool:
    """Return whether a name ends like that of a shard, or of a compressed one."""
    return os.fspath(name).lower().endswith((*SUFFIXES, *COMPRESSED))


def split_place(place: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Return the path of the shard and the name of the image in it, or None for an ordinary file.

    A folder can have such a name as well, so the first part of the path that is a file is the shard.
    """
    text = os.fspath(place)
    for end in _END.finditer(text):
        shard, name = text[: end.end()], text[end.end() + 1 :]
        if is_remote(text) or os.path.isfile(shard):  # noqa: PTH113 - millions of paths
            return shard, name.replace(os.sep, "/")
    return None


def expand_braces(pattern: str) -> list[str]:
    """Return the paths that a pattern with braces stands for, such as `{000..099}` or `{train,test}`.

    >>> expand_braces("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']

    Raises:
        ValueError: They are more than `MAX_SHARDS`.
    """
    choices: list[list[str]] = []
    n, end = 1, 0
    for found in _BRACES.finditer(pattern):
        options = [pattern[end : found.start()]]
        choices.append(options)
        n *= int(found[2]) - int(found[1]) + 1 if found[1] else found[3].count(",") + 1
        if not 0 < n <= MAX_SHARDS:
            raise ValueError(f"braces that stand for {n:,} paths; at most {MAX_SHARDS:,} are read")
        choices.append(list(_options(found)))
        end = found.end()
    return ["".join(parts) for parts in product(*choices, [pattern[end:]])]


def _options(found: re.Match[str]) -> Iterator[str]:
    if found[1] is None:
        yield from found[3].split(",")
    else:
        for number in range(int(found[1]), int(found[2]) + 1):
            yield f"{number:0{len(found[1])}d}"
