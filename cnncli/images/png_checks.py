"""PNGs held to what the format promises: a checksum for every chunk, an end, and as many rows as the header says."""

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
    """Hold a PNG to the checksums of all its chunks, and to its end.

    Pillow checks what stands before the pixels alone. Its `verify` reads chunks whole, and one may be as long as the
    file; here they are read in blocks.

    Raises:
        SyntaxError: a checksum is wrong, or there are too many chunks.
        EOFError: the file ends before the chunk that ends it.
    """
    for kind, length in _chunks(file):
        checksum = zlib.crc32(kind)
        for block in _blocks(file, length):
            checksum = zlib.crc32(block, checksum)
        if checksum != int.from_bytes(_exactly(file, 4), "big"):
            raise SyntaxError(f"wrong checksum in {kind!r}")


class WholePngFile(PngImageFile):
    """A PNG that raises EOFError while it is loaded where rows are missing, instead of leaving them black."""

    def load_end(self) -> None:
        """Count what the pixels unfold to where rows may be missing, which is seldom: the last one is black then."""
        super().load_end()
        width, height = self.size
        if self.info.get("interlace") or self.im.crop((0, height - 1, width, height)).getbbox(False) is None:
            self._require_rows()

    def _require_rows(self) -> None:
        assert self.fp is not None  # noqa: S101 - for mypy; Pillow closes it later
        self.fp.seek(_SIGNATURE_BYTES + 8)
        width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", self.fp.read(13))
        needed = _unfolded_bytes(width, height, depth * _CHANNELS[color], bool(interlaced))
        found = _count_unfolded(self.fp, needed)  # type: ignore[arg-type]
        if found < needed:
            raise EOFError(f"{found:,} of {needed:,} bytes of pixels")


def _unfolded_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """How many bytes pixels of so many bits take, a byte for the filter of each row included."""
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _count_unfolded(file: BinaryFile, enough: int) -> int:
    """How many bytes the pixels of a PNG unfold to, counted until there are enough."""
    unfolding, total = zlib.decompressobj(), 0
    for kind, length in _chunks(file):
        if kind != b"IDAT":
            file.seek(length + 4, io.SEEK_CUR)
            continue
        for block in _blocks(file, length):
            while block and total < enough:
                total += len(unfolding.decompress(block, BLOCK_BYTES))
                block = unfolding.unconsumed_tail
        file.seek(4, io.SEEK_CUR)
    return total


def _chunks(file: BinaryFile) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk; whoever asks for the next one has gone behind this one."""
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
        raise EOFError(f"it ends after {file.seek(0, io.SEEK_END):,} bytes")
    return block
