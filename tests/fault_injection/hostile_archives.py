"""Hostile downloads: zip archives, and other files with the suffix of a zip."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fault_injection.kinds import Kind, Refusal, prepare

NEEDED = 4
"""Images of each class that the preparation takes; the archives hold a few more."""


def drawn_image(seed: int) -> bytes:
    """Return a small JPEG that depends on the seed."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def images(name: Callable[[str, int], str], count: int = NEEDED + 1) -> dict[str, bytes]:
    """Return images of cats and dogs by name; `name` builds the names."""
    kinds = enumerate(("cat", "dog"))
    return {name(kind, k): drawn_image(100 * number + k) for number, kind in kinds for k in range(count)}


def flat(kind: str, number: int) -> str:
    """Return the name of an image in Kaggle's archive."""
    return f"train/{kind}.{number}.jpg"


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return the bytes of a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def _zip(content: Callable[[], bytes], refusal: Refusal | None) -> Kind:
    def make(here: Path) -> None:
        (here / "archive.zip").write_bytes(content())

    return Kind(make, prepare, refusal)


def _with_images(
    more: Callable[[], Iterable[tuple[str | zipfile.ZipInfo, bytes]]], method: int = zipfile.ZIP_STORED
) -> Kind:
    """Return a kind of archive with additional entries next to valid images, which must still be extracted."""
    return _zip(lambda: zipped([*images(flat).items(), *more()], method), None)


def _special(name: str, kind: int, data: bytes = b"") -> tuple[zipfile.ZipInfo, bytes]:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (kind | 0o666) << 16
    return entry, data


def _link_and_through_it() -> list[tuple[str | zipfile.ZipInfo, bytes]]:
    return [_special("train", 0o120000, b"../../outside"), *images(flat, 2).items()]


def _lying() -> bytes:
    """Return a zip of valid images with an entry that declares one kilobyte but unpacks to much more."""
    name = "train/cat.99.jpg"
    data = bytearray(zipped([*images(flat).items(), (name, b"\xff\xd8\xff" + bytes(50_000_000))], zipfile.ZIP_DEFLATED))
    for signature, size_at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = data.find(signature)
        while at >= 0:
            if data[at + name_at : at + name_at + len(name)] == name.encode():
                data[at + size_at : at + size_at + 4] = struct.pack("<I", 1000)
            at = data.find(signature, at + 1)
    return bytes(data)


def _many_entries(count: int) -> bytes:
    """Return a zip with `count` names for one empty entry; ten thousand names take one megabyte."""
    entry = zipped([("a", b"")])
    local, listed = entry[: entry.index(b"PK\x01\x02")], entry[entry.index(b"PK\x01\x02") : entry.index(b"PK\x05\x06")]
    body = listed * count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(body), len(local), 0)
    return local + body + end


def _tar(names: Iterable[tuple[str, bytes, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, kind, data in names:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), "../outside"
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def _quine() -> bytes:
    """Return three nested zips. Only the second one is opened."""
    inner = zipped(images(flat).items())
    for name in ("c.zip", "b.zip"):
        inner = zipped([(name, inner)])
    return zipped([("a.zip", inner)])


def _folder_with_a_pipe(here: Path) -> None:
    folder = here / "archive.zip"  # a folder despite its name
    folder.mkdir()
    for name, data in images(lambda kind, k: f"{kind}.{k}.jpg").items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "cat.77.jpg")
    (folder / "cat.78.jpg").symlink_to("/etc/passwd")
    (folder / "cat.79.jpg").symlink_to("cat.79.jpg")


NO_ZIP = Refusal("", r"archive\.zip")
TOO_FEW = Refusal("", "cats")
DEFLATED = zipfile.ZIP_DEFLATED

KINDS: Mapping[str, Kind] = {
    "zip with paths that lead out": _zip(
        lambda: zipped(images(lambda kind, k: f"../../outside/{kind}.{k}.jpg").items()), None
    ),
    "zip with absolute paths": _zip(
        lambda: zipped(images(lambda kind, k: f"/tmp/outside/{kind}.{k}.jpg").items()), None
    ),
    "zip with paths of Windows": _zip(lambda: zipped(images(lambda kind, k: f"C:\\..\\{kind}\\{k}.jpg").items()), None),
    "zip with a link, and files through it": _zip(lambda: zipped(_link_and_through_it()), TOO_FEW),
    "zip with a device and a pipe": _with_images(
        lambda: [_special("train/cat.7.jpg", 0o020000), _special("train/dog.7.jpg", 0o010000)]
    ),
    "zip with the same name twice, in capitals": _with_images(
        lambda: [(f"TRAIN/CAT.{k}.JPG", drawn_image(900 + k)) for k in range(3)]
    ),
    "zip with names of 5,000 characters": _zip(
        lambda: zipped(images(lambda kind, k: f"{kind}/{'x' * 5000}{k}.jpg").items()), None
    ),
    "zip with names full of control characters": _zip(
        lambda: zipped(images(lambda kind, k: f"{kind}/\x1b[2J\n{k}.jpg").items()), None
    ),
    "zip with a bomb for an image": _with_images(
        lambda: [("train/cat.99.jpg", b"\xff\xd8\xff" + bytes(40_000_000))], DEFLATED
    ),
    "zip whose sizes lie": _zip(_lying, None),
    "zip packed by a method without limits": _zip(lambda: zipped(images(flat).items(), zipfile.ZIP_BZIP2), TOO_FEW),
    "zip of a zip that is a bomb": _zip(
        lambda: zipped([("train.zip", bytes(20_000_000))], DEFLATED), Refusal("", "20,000,000 bytes")
    ),
    "zip of many zips": _zip(lambda: zipped([(f"{k}.zip", zipped([])) for k in range(200)]), Refusal("", "100")),
    "zip in a zip in a zip": _zip(_quine, Refusal("", r"archive\.zip.*Dogs vs\. Cats")),
    "zip with a million entries": _zip(lambda: _many_entries(1_000_000), Refusal("", "47,000,000 bytes")),
    "zip that is cut off": _zip(lambda: zipped(images(flat).items())[:-60], NO_ZIP),
    "tar with paths that lead out": _zip(
        lambda: _tar([("../../outside/x", tarfile.REGTYPE, b"x"), ("/etc/x", tarfile.REGTYPE, b"x")]), NO_ZIP
    ),
    "tar with links and devices": _zip(
        lambda: _tar([("a", tarfile.SYMTYPE, b""), ("b", tarfile.LNKTYPE, b""), ("c", tarfile.CHRTYPE, b"")]), NO_ZIP
    ),
    "folder with a pipe and links": Kind(_folder_with_a_pipe, prepare, None),
}
