"""The index of a shard, read once from its headers and cached while the file is unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import MOST_PROBLEMS, DataError
from cnncli.runtime.threads import HEADER_LOCK
from cnncli.shards.files import FileKey, file_key, open_shard
from cnncli.shards.parquet import n_null, open_parquet, parquet_columns, read_labels, require_bounded
from cnncli.shards.places import COMPRESSED, PARQUET
from cnncli.shards.tar import read_tar
from cnncli.storage.atomic import replacing, touch
from cnncli.storage.cache_dir import SHARDS, cache_dir
from cnncli.storage.safe_io import parse_json

FORMAT = 7
MAX_LABEL_BYTES = 2**20

_LABEL_KEYS = ("label", "cls", "class", "class_name")
_KEY = re.compile(
    r"((?:.*/)?[^/.]+)\.([^/]*)", re.DOTALL
)  # as in webdataset: the key ends at the first dot of the name
_LABEL_SUFFIXES = (".cls", "cls", ".json", "json")
"""Endings of the files with a label, the one that is preferred first: `1.cls` before `1.old.cls` and `1.json`."""
_KEY_RULE = "a key ends at the first dot of the name, so that names with other dots share one; replace those dots"
_IN_PLACE = "so that its images cannot be read in place; unpack it to a plain .tar file"
_SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},  # a file in a tar can be named BZh
    b"\xfd7zXZ\0": "xz",
}
_SEPARATOR = "\0"


@dataclass(frozen=True)
class ShardIndex:
    """The images of a shard, and in a tar other files that are not labels, in the order of the file.

    Attributes:
        names: Name of each file: its name in the tar, or the number of its row.
        offsets, sizes: Place and number of bytes of each image in a tar; row and 0 in a Parquet file.
        labels: Label of each image; an empty text if the shard does not state one.
        classes: Names of the classes if labels are their indexes, as stated in a Parquet file.
        problems: What cannot be used: name, or an empty text for the shard as a whole, and reason.
    """

    names: Sequence[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: Sequence[str]
    classes: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()

    def save(self, path: Path, key: FileKey) -> None:
        """Write the index to the cache."""
        facts = {"classes": self.classes, "problems": self.problems}
        texts = {"names": self.names, "labels": self.labels, "facts": [json.dumps(facts)]}
        arrays: dict[str, NDArray[Any]] = {name: _packed(lines) for name, lines in texts.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            arrays |= {"key": np.array(key), "offsets": self.offsets, "sizes": self.sizes}
            np.savez(temporary, allow_pickle=False, **arrays)

    @classmethod
    def unusable(cls, reason: str) -> ShardIndex:
        """Return the index of a shard that cannot be used at all."""
        none = np.empty(0, np.int64)
        return cls([], none, none, [], problems=(("", reason),))

    @classmethod
    def load(cls, path: Path, key: FileKey) -> ShardIndex | None:
        """Read the index of a shard from the cache, or return None if there is none for its present content."""
        try:
            with HEADER_LOCK, path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                if tuple(file["key"].tolist()) != key:
                    return None
                names, labels, (facts,) = (_unpacked(file[name]) for name in ("names", "labels", "facts"))
                known = json.loads(facts)
                found = cls(
                    names,
                    file["offsets"],
                    file["sizes"],
                    labels,
                    tuple(known["classes"]),
                    tuple((name, reason) for name, reason in known["problems"]),
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return found if len(found.names) == len(found.labels) == len(found.offsets) == len(found.sizes) else None


def read_index(path: str) -> ShardIndex:
    """Return the index of a shard from the cache, or from its headers.

    Raises:
        OSError: It cannot be read.
    """
    key = file_key(path)
    cached = cache_dir() / SHARDS / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.{FORMAT}.npz"
    found = ShardIndex.load(cached, key)
    if found is not None:
        touch(cached)
        return found
    if path.lower().endswith(COMPRESSED):
        return ShardIndex.unusable(f"is compressed, {_IN_PLACE}")
    with open_shard(path) as file:
        try:
            is_parquet = path.lower().endswith(PARQUET)
            found = _index_of_parquet(file, path, key[0]) if is_parquet else _index_of_tar(file)
        except (OSError, DataError):
            raise
        except Exception as error:  # pyarrow can raise anything for a hostile file
            return ShardIndex.unusable(f"cannot be read ({str(error).partition(chr(10))[0][:200]})")
    with suppress(OSError):  # the cache may be read-only, and only saves time
        found.save(cached, key)
    return found


def _index_of_tar(file: BinaryIO) -> ShardIndex:
    """Read the headers of a tar, and the labels in it."""
    start = file.read(max(map(len, _SIGNATURES)))
    if kind := next((kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)), None):
        return ShardIndex.unusable(f"is compressed with {kind}, {_IN_PLACE}")
    files: list[tuple[str, int, int]] = []
    problems: list[tuple[str, str]] = []
    labels: list[dict[str, str]] = [{} for _ in _LABEL_SUFFIXES]
    contradictions: dict[tuple[int, str], str] = {}  # names of files, by their place in `labels` and their key
    names: set[str] = set()
    for one in read_tar(file):
        key, extension = _key_of(one.name)
        if one.problem or one.name in names:
            problems.append((one.name, one.problem or "is in the archive twice"))
        elif (rank := _rank_of(extension)) is not None:
            label = _read_label(file, one.offset, one.size, extension)
            if isinstance(label, ValueError):
                problems.append((one.name, str(label)))
            elif label is not None and labels[rank].setdefault(key, label) != label:
                contradictions.setdefault((rank, key), one.name)
        else:
            files.append((one.name, one.offset, one.size))
        names.add(one.name)
    for (rank, key), name in contradictions.items():
        if not any(key in preferred for preferred in labels[:rank]):
            problems.append((name, f"is a second label of the key {key} ({_KEY_RULE})"))
    of_key = {key: label for one in reversed(labels) for key, label in one.items()}
    return ShardIndex(
        [name for name, _, _ in files],
        np.array([offset for _, offset, _ in files], np.int64),
        np.array([size for _, _, size in files], np.int64),
        [of_key.get(_key_of(name)[0], "") for name, _, _ in files],
        problems=_listed(problems),
    )


def _key_of(name: str) -> tuple[str, str]:
    """Return the key of a sample and the rest of a name, with its dot and in lower case.

    >>> _key_of("cat/0001.left.JPG")
    ('cat/0001', '.left.jpg')
    """
    found = _KEY.fullmatch(name)
    return (found[1], f".{found[2].lower()}") if found else (name, "")


def _rank_of(extension: str) -> int | None:
    """Return the place in `_LABEL_SUFFIXES` of the rest of a name, or None if it is not that of a label."""
    if extension in _LABEL_SUFFIXES:
        return _LABEL_SUFFIXES.index(extension)
    kind = extension.rpartition(".")[2]
    return _LABEL_SUFFIXES.index(kind) if kind in _LABEL_SUFFIXES else None


def _read_label(file: BinaryIO, offset: int, size: int, extension: str) -> str | ValueError | None:
    """Return the label in a file of a tar, None if a JSON file has none, or the reason why it cannot be used."""
    if size > MAX_LABEL_BYTES:
        return ValueError(f"is a label of {size:,} bytes")
    file.seek(offset)
    content = file.read(size)
    try:
        value = content.decode("utf-8").strip() if extension.endswith("cls") else parse_json(content)
    except ValueError:
        return ValueError("is neither text nor a number" if extension.endswith("cls") else "is not JSON")
    if isinstance(value, Mapping):
        value = next((value[name] for name in _LABEL_KEYS if name in value), None)
        if value is None:
            return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value) or not is_text(str(value)):
        return ValueError("has no label that is text or an integer")
    return str(value)


def _index_of_parquet(file: BinaryIO, path: str, size_bytes: int) -> ShardIndex:
    """Read the labels of a Parquet file; its images are not read."""
    parquet = open_parquet(file, path)
    columns = parquet_columns(parquet.schema_arrow)
    if isinstance(columns, str):
        return ShardIndex.unusable(columns)
    if not all(map(is_text, columns.names)):
        return ShardIndex.unusable("has a name of a class that is not text")
    require_bounded(parquet, columns, size_bytes)
    labels = list(read_labels(parquet, columns.label, size_bytes))
    if n := sum(not is_text(label) for label in labels):
        return ShardIndex.unusable(f"has {n:,} labels that are not text")
    if labels and n_null(parquet, columns.image) == len(labels):
        return ShardIndex.unusable(
            f"images are not embedded ({columns.image} is null in all rows, which can only have paths); embed them "
            "with datasets.table.embed_table_storage, or use the image files with class folders or a table"
        )
    rows = np.arange(len(labels))
    return ShardIndex(list(map(str, rows)), rows, np.zeros(len(rows), np.int64), labels, columns.names)


def is_text(label: str) -> bool:
    r"""Return whether a label is Unicode without `\0`; JSON can contain halves of characters."""
    try:
        return b"\0" not in label.encode()
    except UnicodeEncodeError:
        return False


def _listed(problems: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the first problems, those of the whole shard first, and the number of the others."""
    ordered = sorted(problems, key=lambda one: one[0] != "")
    others = len(ordered) - MOST_PROBLEMS
    return (*ordered[:MOST_PROBLEMS], *([("", f"has {others:,} more files that cannot be used")] if others > 0 else []))


def _packed(lines: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer("".join(f"{line}{_SEPARATOR}" for line in lines).encode("utf-8", "surrogateescape"), np.uint8)


def _unpacked(data: NDArray[np.uint8]) -> list[str]:
    return data.tobytes().decode("utf-8", "surrogateescape").split(_SEPARATOR)[:-1]
