"""Shards as files: local ones from the disk, remote ones in blocks, a bounded number of which are kept in memory."""

from __future__ import annotations

import errno
import glob
import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, cast

from cnncli.errors import DataError, Message, reason_of
from cnncli.runtime.threads import map_ordered
from cnncli.shards.parquet import has_images
from cnncli.shards.places import PARQUET, SUFFIXES, expand_braces, is_remote, is_shard, url_of
from cnncli.storage.image_names import DICOM_SUFFIXES, HEIC_SUFFIXES, IMAGE_SUFFIXES
from cnncli.storage.safe_io import open_regular

BLOCK_BYTES = 8 * 2**20
"""Size of a block: large enough that the latency of a request, some 50 ms, does not matter."""

MAX_BLOCKS = 24
"""Maximum number of blocks in memory, those of all shards together: 192 MB."""

RETRY_SECONDS = 30
"""Time in seconds for which Google's client repeats a failed request, also one without credentials; its default is 15
minutes."""

FileKey = tuple[int, int, int]
"""Size in bytes, and two numbers that change with the content; see `file_key`."""

_IMAGES = (*IMAGE_SUFFIXES, *HEIC_SUFFIXES, *DICOM_SUFFIXES)
_MAGIC = re.compile(r"[*?[]")
_SERIES = re.compile(r"(.*\D)(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?(\.\w+)", re.DOTALL)
_LATEST_NS = 2**59  # hashes of entity tags are before any time of change


class StreamWindow(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, up to the end of the window."""
        n = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(n)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file as well."""
        if not self.closed:
            self._file.close()
        super().close()


class _RemoteFile(io.RawIOBase):
    """A remote file whose content comes from `_blocks`."""

    def __init__(self, path: str) -> None:
        self._path, self._size, self._at = path, file_key(path)[0], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._size, self._at + len(buffer))
        data = _blocks.read(self._path, self._at, stop, self._size) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Blocks:
    """Blocks of remote files, fetched ahead by threads while a file is read from start to end.

    Reads out of order fetch only the bytes that they need.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()
        self._latest: dict[str, int] = {}  # the last block that was read in order, by path
        self._pool: ThreadPoolExecutor | None = None

    def read(self, path: str, start: int, stop: int, size: int) -> bytes:
        """Return the bytes from start to stop of a file of a size."""
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        with self._lock:
            latest = self._latest.get(path, -1)
            is_in_order = latest - 1 <= first <= latest + 1
            if is_in_order:
                self._latest[path] = max(latest, last)
                ahead = [n for n in range(first, last + 2) if n * BLOCK_BYTES < size]
                parts = {n: self._block(path, n, size) for n in ahead}
        if not is_in_order:
            return _fetch(path, start, stop)
        data = b"".join(parts[n].result() for n in range(first, last + 1))
        return data[start - first * BLOCK_BYTES : stop - first * BLOCK_BYTES]

    def forget(self) -> None:
        """Drop all blocks, because files may have changed."""
        with self._lock:
            self._kept.clear()
            self._latest.clear()

    def _block(self, path: str, number: int, size: int) -> Future[bytes]:
        key = (path, number)
        found = self._kept.get(key)
        if found is None or (found.done() and found.exception() is not None):
            self._pool = self._pool or ThreadPoolExecutor(4, "cnncli-shards")
            start = number * BLOCK_BYTES
            found = self._kept[key] = self._pool.submit(_fetch, path, start, min(size, start + BLOCK_BYTES))
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_BLOCKS:
            self._kept.popitem(last=False)
        return found


_blocks = _Blocks()


def open_shard(path: str) -> BinaryIO:
    """Open a shard for reading at any place.

    Raises:
        OSError: It cannot be read.
    """
    if not is_remote(path):
        return open_regular(Path(path))
    return cast(BinaryIO, io.BufferedReader(_RemoteFile(path), 2**16))


def read_part(path: str, start: int, size: int) -> bytes:
    """Return some bytes of a shard; fewer if it ends before.

    Raises:
        OSError: It cannot be read.
    """
    if is_remote(path):
        return _blocks.read(path, start, start + size, file_key(path)[0]) if size else b""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - millions of reads
        file.seek(start)
        data = file.read(size)
        while len(data) < size and (more := file.read(size - len(data))):
            data += more
    return data


def file_key(path: str) -> FileKey:
    """Return the size of a file with its times of change, or with a hash of its entity tag if it is remote.

    Raises:
        OSError: There is no such file.
    """
    if is_remote(path):
        return _remote_key(path)
    facts = os.stat(path)  # noqa: PTH116 - millions of paths
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


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
        _remote_key.cache_clear()
        _blocks.forget()
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


def read_beside(path: str, most: int) -> bytes | None:
    """Return the content of a file next to shards, or None if there is none.

    Raises:
        OSError: It is larger than `most`, or cannot be read.
    """
    try:
        with open_shard(path) as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", path)
    return data


def _matches(pattern: str) -> list[str]:
    if is_remote(pattern):
        return _remote_matches(pattern)
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


def _remote_matches(pattern: str) -> list[str]:
    scheme, _, rest = pattern.partition(":")
    rest = rest.lstrip("/")
    if rest.lower().endswith(SUFFIXES) and not glob.has_magic(rest):
        return [f"{scheme}:/{rest}"]
    patterns = [rest] if glob.has_magic(rest) else [f"{rest.rstrip('/')}/{depth}" for depth in ("*", "*/*")]
    folder = _MAGIC.split(patterns[0], maxsplit=1)[0].rpartition("/")[0]
    with _remote_errors(pattern):
        found = (_google_matches if scheme == "gs" else _glob_matches)(_filesystem(scheme), folder, patterns)
    return [f"{scheme}:/{place}" for place in found if is_shard(place)]


def _glob_matches(store: Any, folder: str, patterns: list[str]) -> list[str]:
    try:
        store.ls(folder)
    except FileNotFoundError:
        return []
    # Like fsspec's `find`, `glob` takes an error of the connection for an empty folder, hence `ls` before it.
    return [place for pattern in patterns for place in store.glob(pattern)]


def _google_matches(store: Any, folder: str, patterns: list[str]) -> list[str]:
    """Match the names of all objects of a folder: pyarrow lists only folders that an empty object stands for."""
    from fsspec.utils import glob_translate
    from pyarrow.fs import FileSelector

    matches = [re.compile(glob_translate(pattern)).match for pattern in patterns]
    found = store.fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    return [one.path for one in found if any(match(one.path) for match in matches)]


def _fetch(path: str, start: int, stop: int) -> bytes:
    scheme, _, rest = path.partition(":")
    with _remote_errors(path):
        # Without this, the wrapper of pyarrow opens a stream for the start of a file, and then seeks in it.
        options = {} if scheme == "hf" else {"seekable": True}
        data: bytes = _filesystem(scheme).cat_file(rest.lstrip("/"), start=start, end=stop, **options)
    return data


@lru_cache(None)
def _remote_key(path: str) -> FileKey:
    scheme, _, rest = path.partition(":")
    with _remote_errors(path):
        facts = _filesystem(scheme).info(rest.lstrip("/"))
    if facts.get("type") == "directory":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url_of(path))
    tag = next((facts[name] for name in ("etag", "ETag", "blob_id", "mtime", "last_commit") if facts.get(name)), "")
    digest = blake2b(str(tag).encode(), digest_size=8).digest()
    return int(facts["size"]), int.from_bytes(digest, "big") % _LATEST_NS, 0


class _remote_errors:  # noqa: N801 - a context manager
    """Turns the exceptions of object stores, which can be of any class, into OSError with the path."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url_of(self._path)) from error
        if isinstance(error, Exception) and not isinstance(error, DataError):
            raise OSError(errno.EIO, reason_of(error), url_of(self._path)) from error


@lru_cache(None)
def _filesystem(scheme: str) -> Any:
    """Return the file system of an object store, with the interface of fsspec.

    S3 and Google Cloud Storage are read by pyarrow, which needs no other package and takes credentials and region
    from the environment and the usual files. `AWS_ENDPOINT_URL`, `STORAGE_EMULATOR_HOST` and `HF_ENDPOINT` name other
    servers, such as MinIO.
    """
    try:
        if scheme == "hf":
            return _hugging_face()
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import fs

        if scheme == "gs":
            options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=RETRY_SECONDS)}
            if server := os.environ.get("STORAGE_EMULATOR_HOST"):
                protocol, _, address = server.rpartition("://")
                options |= {"anonymous": True, "scheme": protocol or "http", "endpoint_override": address.rstrip("/")}
            return ArrowFSWrapper(fs.GcsFileSystem(**options))
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return ArrowFSWrapper(fs.S3FileSystem(endpoint_override=endpoint))
    except ImportError as error:
        text = f"{scheme}:// needs {error.name or 'pyarrow'}. Install it with: pip install 'cnncli[cloud]'"
        raise DataError(Message("data-cloud-not-installed", text, received=scheme)) from None


def _hugging_face() -> Any:
    # Otherwise it asks its maker's server for the agents that it should look for, and tells it what is installed here.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfFileSystem

    return HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT"))
