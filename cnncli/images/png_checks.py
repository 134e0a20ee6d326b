"""PNG checks that Pillow leaves out: the checksum of every chunk, the end chunk, and the number of rows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL.PngImagePlugin import PngImageFile

from cnncli.images.limits import BLOCK_BYTES, SMALL_READS, BinaryFile

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def require_checksums(file: BinaryFile) -> None:
    """Check the checksums of all chunks of a PNG, and its end.

    Pillow only checks the chunks before the pixels. Its `verify` reads each chunk at once, and one may be as long as
    the file; this function reads blocks.

    Raises:
        SyntaxError: a checksum is wrong, or there are too many chunks.
        EOFError: the file ends before the end chunk.
    """
    for kind, length in _chunks(file):
        checksum = zlib.crc32(kind)
        for block in _blocks(file, length):
            checksum = zlib.crc32(block, checksum)
        if checksum != int.from_bytes(_exactly(file, 4), "big"):
            raise SyntaxError(f"wrong checksum in {kind!r}")


class CompletePngFile(PngImageFile):
    """PNG reader that raises EOFError if rows are missing; Pillow leaves them black."""

    def load_end(self) -> None:
        """Check the number of rows if some may be missing, which is rare: the last row is black then."""
        super().load_end()
        width, height = self.size
        if self.info.get("interlace") or self.im.crop((0, height - 1, width, height)).getbbox(False) is None:
            self._require_rows()

    def _require_rows(self) -> None:
        assert self.fp is not None  # noqa: S101 - for mypy; Pillow closes it later
        self.fp.seek(_SIGNATURE_BYTES + 8)
        width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", self.fp.read(13))
        needed = _expanded_bytes(width, height, depth * _CHANNELS[color], bool(interlaced))
        found = _count_expanded(self.fp, needed)  # type: ignore[arg-type]
        if found < needed:
            raise EOFError(f"{found:,} of {needed:,} bytes of pixels")


def _expanded_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return the size of uncompressed pixel data in bytes, including one byte for the filter of each row."""
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _count_expanded(file: BinaryFile, enough: int) -> int:
    """Return the size to which the pixel data of a PNG expands, in bytes; stops counting at `enough`."""
    inflater, total = zlib.decompressobj(), 0
    for kind, length in _chunks(file):
        if kind != b"IDAT":
            file.seek(length + 4, io.SEEK_CUR)
            continue
        for block in _blocks(file, length):
            while block and total < enough:
                total += len(inflater.decompress(block, BLOCK_BYTES))
                block = inflater.unconsumed_tail
        file.seek(4, io.SEEK_CUR)
    return total


def _chunks(file: BinaryFile) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and length of each chunk. The caller moves past a chunk before it takes the next."""
    file.seek(_SIGNATURE_BYTES)
    for _ in range(SMALL_READS):
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        yield kind, length
        if kind == b"IEND":
            return
    raise SyntaxError(f"more than {SMALL_READS:,} chunks")


def _blocks(file: BinaryFile, length: int) -> Iterator[bytes]:
    while length:
        block = _exactly(file, min(length, BLOCK_BYTES))
        yield block
        length -= len(block)


def _exactly(file: BinaryFile, length: int) -> bytes:
    block = file.read(length)
    if len(block) < length:
        raise EOFError(f"end of file after {file.seek(0, io.SEEK_END):,} bytes")
    return block
