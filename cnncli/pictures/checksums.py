"""A PNG is the one format that tells damage by itself: each of its chunks ends with a checksum."""

from __future__ import annotations

import io
import struct
import zlib

from cnncli.pictures.bombs import BLOCK_BYTES, SMALL_READS, BinaryFile

_SIGNATURE_BYTES = 8


def require_whole_png(file: BinaryFile) -> None:
    """Hold a PNG to the checksums of all its chunks, and to its end.

    Pillow checks what stands before the pixels alone. Its `verify` reads chunks whole, and one may be as long as the
    file; here they are read in blocks.

    Raises:
        SyntaxError: a checksum is wrong.
        EOFError: the file ends before the chunk that ends it.
    """
    file.seek(_SIGNATURE_BYTES)
    for _ in range(SMALL_READS):
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        if _checksum(file, length, zlib.crc32(kind)) != int.from_bytes(_exactly(file, 4), "big"):
            raise SyntaxError(f"wrong checksum in {kind!r}")
        if kind == b"IEND":
            return
    raise SyntaxError(f"more than {SMALL_READS:,} chunks")


def _checksum(file: BinaryFile, length: int, begun: int) -> int:
    while length:
        block = _exactly(file, min(length, BLOCK_BYTES))
        begun, length = zlib.crc32(block, begun), length - len(block)
    return begun


def _exactly(file: BinaryFile, length: int) -> bytes:
    block = file.read(length)
    if len(block) < length:
        raise EOFError(f"it ends after {file.seek(0, io.SEEK_END):,} bytes")
    return block
