"""The index of a tar file: its regular files with their places, and everything in it that is refused.

Only headers are read, and nothing is unpacked. The headers are parsed here because `tarfile` takes a damaged header for
the end of the archive, so that the images after it would be missing without a word.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
MAX_HEADER_BYTES = 2**16
"""Maximum size of an extended header; names are shorter than a kilobyte."""

_SPARSE = {"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"}
_KINDS = {
    tarfile.LNKTYPE: "is a hard link",
    tarfile.SYMTYPE: "is a symbolic link",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
    tarfile.FIFOTYPE: "is a named pipe",
    tarfile.GNUTYPE_SPARSE: "is a sparse file",
}


@dataclass(frozen=True, slots=True)
class TarFile:
    """A regular file in a tar, or one that is refused.

    Attributes:
        name: Its name without a leading `./`.
        offset: Place of its first byte in the tar.
        size: Number of its bytes.
        problem: Reason for refusing it; empty if it can be used.
    """

    name: str
    offset: int
    size: int
    problem: str = ""


def read_tar(file: BinaryIO) -> Iterator[TarFile]:
    """Yield the files of a tar in order; folders are left out.

    Damage that ends the tar, such as a missing end, is yielded as a problem with an empty name.
    """
    end = file.seek(0, 2)
    place, extended = 0, dict[str, str]()
    while True:
        file.seek(place)
        block = file.read(BLOCK)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return
        except tarfile.HeaderError as error:
            reason = "no end of the archive" if len(block) < BLOCK else str(error)
            yield TarFile("", place, 0, f"is damaged or truncated at byte {place:,} ({reason})")
            return
        start = place + BLOCK
        is_extension = header.type in (*_EXTENSIONS, tarfile.XGLTYPE)
        size = header.size
        if not is_extension and "size" in extended:
            size = int(extended["size"]) if extended["size"].isdecimal() else -1
        if header.type in _WITHOUT_CONTENT:
            size = 0
        name = header.name if is_extension else extended.get("path", header.name)
        if size < 0 or start + size > end:
            yield TarFile("", place, 0, f"is truncated: {name} has {size:,} bytes, of which {end - start:,} are there")
            return
        place = start + -(-size // BLOCK) * BLOCK
        if is_extension:
            if size > MAX_HEADER_BYTES:
                yield TarFile("", start, 0, f"has a header of {size:,} bytes at byte {start:,}")
                return
            if header.type != tarfile.XGLTYPE:
                extended.update(_extension(header.type, file.read(size)))
            continue
        if not header.isdir():
            problem = _KINDS.get(header.type, "" if header.isreg() else f"has the unknown type {header.type!r}")
            problem = "is a sparse file" if _SPARSE & extended.keys() else problem
            name = name.removeprefix("./")
            yield TarFile(name, start, size, problem or _problem_of_name(name))
        extended = {}


_EXTENSIONS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_WITHOUT_CONTENT = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
)


def _extension(kind: bytes, content: bytes) -> dict[str, str]:
    """Return what an extended header says about the next file."""
    if kind == tarfile.GNUTYPE_LONGLINK:
        return {}
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    found = {}
    while content:
        length, _, _ = content.partition(b" ")
        n = int(length) if length.isdigit() and len(length) < 10 else 0
        key, equals, value = content[len(length) + 1 : n - 1].partition(b"=")
        if n <= len(length) or not equals or content[n - 1 : n] != b"\n":
            break
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[n:]
    return found


def _problem_of_name(name: str) -> str:
    """Return why a name cannot be that of a file below a folder, or an empty text."""
    if name.startswith("/") or name[1:3] in (":/", ":\\"):
        return "has an absolute name"
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        return "has a name that leads out of the archive, or has empty parts"
    return ""
