"""The images that `predict` is called with: paths, folders, patterns, shards, standard input and images in memory."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from cnncli.dataset.labels.folders import images_below
from cnncli.dataset.labels.shards import images_in, index_of_shard
from cnncli.errors import ConfigError, ImageError, Message
from cnncli.images.decode import ImageSource
from cnncli.images.formats import ARRAY_SIGNATURE, SIGNATURE_BYTES, format_of, image_problem
from cnncli.images.limits import most_bytes
from cnncli.shards.listing import find_shards, is_sharded, missing_of_series
from cnncli.shards.places import is_remote, split_place

STDIN = "-"
BLOCK_BYTES = 1 << 20
MAX_STREAM_BYTES = 840_000_000
"""Maximum size of standard input, which is kept in memory: the largest image with four 8-bit channels, uncompressed."""

NamedSource = tuple[str, ImageSource | ImageError]
"""The name of an image in results, and the image or why there is none."""


def find_images(images: Iterable[str | ImageSource], reads_arrays: bool) -> Iterator[NamedSource]:
    """Yield each image with its name; folders, patterns and shards are expanded, other sources are yielded unchanged.

    Raises:
        ConfigError: A source is an empty path, or nothing that can be an image.
    """
    for number, image in enumerate(images):
        name = str(image) if isinstance(image, str | Path) else f"images[{number}]"
        if isinstance(image, bytes | Image.Image | np.ndarray):
            yield name, image
        elif not isinstance(image, str | Path) or image == "":
            received = "an empty path" if isinstance(image, str) else type(image).__name__
            key, expected = f"images[{number}]", "a path, bytes, a Pillow image or a NumPy array"
            text = f"{key}: received {received}, expected {expected}."
            raise ConfigError(Message("usage-value-invalid", text, key=key, received=received, expected=expected))
        elif name == STDIN:
            yield name, b""
        else:
            yield from _files_of(name, reads_arrays)


def _files_of(path: str, reads_arrays: bool) -> Iterator[NamedSource]:
    """Yield the path itself, even if no such file exists; for a folder or a pattern, yield its images."""
    try:
        shards = find_shards(Path(path)) if is_sharded(path) else []
    except (OSError, ValueError) as error:  # an object store, or absurd braces
        yield path, ImageError(path, image_problem(error))
        return
    if shards:
        for shard in shards:
            yield from _in_shard(shard, reads_arrays)
        for shard in missing_of_series(Path(path), shards):
            yield shard, ImageError(shard, Message("data-shards-missing", "is missing in a series of shards"))
        return
    matches = _matches(path)
    if not matches:
        yield path, ImageError(path, Message("image-pattern-without-match", "matches no file"))
    for match in matches:
        yield from _in_folder(match, reads_arrays) if _is_folder(match) else [(match, Path(match))]


def _matches(path: str) -> list[str]:
    """Return the files and folders that match a pattern; another path is returned itself."""
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute and relative patterns alike
    if "**" in Path(path).parts:  # matches the content of folders too
        return [match for match in matches if not _is_folder(match)]
    return matches


def is_source(file: Path, paths: Iterable[str]) -> bool:
    """Return whether a file is one of the images or shards that paths and patterns stand for."""
    for path in paths:
        if is_remote(path):
            continue
        with suppress(OSError, ValueError):  # a path that cannot be used is reported when it is read
            place = split_place(path)
            found = find_shards(Path(path), allow_missing=True) if is_sharded(path) else _matches(path)
            sources = [place[0]] if place else found
            if any(os.path.exists(one) and file.samefile(one) for one in sources):  # noqa: PTH110 - may be too long
                return True
    return False


def _is_folder(path: str) -> bool:
    """Return whether a folder exists. `Path.is_dir` raises if a name is too long or a parent is not readable."""
    return os.path.isdir(path)  # noqa: PTH112 - see above


def _in_shard(shard: str, reads_arrays: bool) -> Iterator[NamedSource]:
    """Yield the images of a shard, and an error for what is refused in it."""
    index = index_of_shard(shard)
    for name in images_in(shard, index, reads_arrays):
        yield f"{shard}/{name}", Path(shard) / name
    for name, reason in index.problems:
        place = f"{shard}/{name}".rstrip("/")
        yield place, ImageError(place, Message("data-shard-refused", reason))


def _in_folder(path: str, reads_arrays: bool) -> Iterator[NamedSource]:
    images, issues = images_below(Path(path), reads_arrays)
    yield from ((str(image), image) for image in images)
    for issue in issues:
        yield path, ImageError(issue.paths[0], Message(issue.code, str(issue.facts["reason"])))
    if not images and not issues:
        yield path, ImageError(path, Message("image-none-in-folder", "no images in this folder"))


def read_stdin(max_pixels: int) -> bytes:
    """Read standard input, up to a size that shows that it is not an image, since a stream can be endless.

    Raises:
        ImageError: It has more than `MAX_STREAM_BYTES`.
    """
    max_bytes = min(most_bytes(max_pixels), MAX_STREAM_BYTES)
    data = io.BytesIO()
    while (block := sys.stdin.buffer.read(BLOCK_BYTES)) and data.tell() <= max_bytes:
        data.write(block)
        first_bytes = data.getbuffer()[:SIGNATURE_BYTES].tobytes()
        if format_of(first_bytes) is None and not first_bytes.startswith(ARRAY_SIGNATURE):
            break
    if data.tell() > MAX_STREAM_BYTES:
        text = f"has more than {MAX_STREAM_BYTES:,} bytes, the limit for stdin; pass the path of a file"
        raise ImageError(STDIN, Message("image-too-many-bytes", text, expected=MAX_STREAM_BYTES))
    return data.getvalue()
