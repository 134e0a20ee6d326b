"""Object stores: S3, Google Cloud Storage and the Hub of Hugging Face, read through one interface."""

from __future__ import annotations

import errno
import glob
import os
import re
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from cnncli.errors import DataError, Message, reason_of
from cnncli.shards.places import SUFFIXES, is_shard, url_of

RETRY_SECONDS = 30
"""Time in seconds for which Google's client repeats a failed request, also one without credentials; its default is 15
minutes."""

_MAGIC = re.compile(r"[*?[]")
_LATEST_NS = 2**59  # hashes of entity tags are before any time of change


def fetch(path: str, start: int, stop: int) -> bytes:
    """Return the bytes from start to stop of a remote file.

    Raises:
        OSError: It cannot be read.
    """
    scheme, _, rest = path.partition(":")
    with _remote_errors(path):
        # Without this, the wrapper of pyarrow opens a stream for the start of a file, and then seeks in it.
        options = {} if scheme == "hf" else {"seekable": True}
        data: bytes = _filesystem(scheme).cat_file(rest.lstrip("/"), start=start, end=stop, **options)
    return data


@lru_cache(None)
def remote_key(path: str) -> tuple[int, int, int]:
    """Return the size of a remote file in bytes, a hash of its entity tag, and 0; see `shards.files.file_key`.

    Raises:
        OSError: There is no such file.
    """
    scheme, _, rest = path.partition(":")
    with _remote_errors(path):
        facts = _filesystem(scheme).info(rest.lstrip("/"))
    if facts.get("type") == "directory":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url_of(path))
    tag = next((facts[name] for name in ("etag", "ETag", "blob_id", "mtime", "last_commit") if facts.get(name)), "")
    digest = blake2b(str(tag).encode(), digest_size=8).digest()
    return int(facts["size"]), int.from_bytes(digest, "big") % _LATEST_NS, 0


def remote_matches(pattern: str) -> list[str]:
    """Return the shards of a remote folder or pattern; the path of a file is returned whether or not it exists.

    Raises:
        OSError: The object store cannot be reached.
    """
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
    """Match the names of objects in a folder, and below it only if a pattern reaches into folders.

    These are not listed one by one, because pyarrow only knows folders that an empty object stands for.
    """
    from fsspec.utils import glob_translate
    from pyarrow.fs import FileSelector

    matches = [re.compile(glob_translate(pattern)).match for pattern in patterns]
    is_deep = any("/" in pattern.removeprefix(f"{folder}/") for pattern in patterns)
    found = store.fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=is_deep))
    return [one.path for one in found if any(match(one.path) for match in matches)]


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
