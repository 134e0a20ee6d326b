"""Random mutations of files: bits, spans, numbers, and the chunks of image formats."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np

Random = np.random.Generator
Mutator = Callable[[bytes, Random], bytes]

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_TEXTS = (b"\n", b"\0", b"%s", b"../../../", b"\x1b[2J")
_PNG_SIGNATURE_BYTES = 8
_HEADER_BYTES = 200


def mutate(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a file with one to four mutations, such as a splice with itself or with one of `others`."""
    for _ in range(random.integers(1, 5)):
        if random.random() < 0.1:
            data = splice(data, others[int(random.integers(len(others)))] if others else data, random)
        else:
            by_parts = _PARTS[data[:4]] if data[:4] in _PARTS and random.random() < 0.5 else None
            data = (by_parts or _ANYWHERE[random.integers(len(_ANYWHERE))])(data, random)
    return data


def splice(data: bytes, other: bytes, random: Random) -> bytes:
    """Join the beginning of one file and the end of another."""
    return data[: _place(data, random)] + other[_place(other, random) :]


def _bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.integers(1, 20) if changed else 0):
        changed[_place(data, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _header_bits(data: bytes, random: Random) -> bytes:
    return _bits(data[:_HEADER_BYTES], random) + data[_HEADER_BYTES:]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def _without_span(data: bytes, random: Random) -> bytes:
    begin, end = _span(data, random)
    return data[:begin] + data[end:]


def _span_again(data: bytes, random: Random) -> bytes:
    begin, end = _span(data, random)
    return data[:end] + data[begin:end] * int(random.integers(1, 20)) + data[end:]


def _span_moved(data: bytes, random: Random) -> bytes:
    begin, end = _span(data, random)
    rest = data[:begin] + data[end:]
    place = _place(rest, random)
    return rest[:place] + data[begin:end] + rest[place:]


def _span_filled(data: bytes, random: Random) -> bytes:
    begin, end = _span(data, random)
    fill = bytes([(0, 255, int(random.integers(256)))[random.integers(3)]])
    return data[:begin] + fill * (end - begin) + data[end:]


def _rubbish_inside(data: bytes, random: Random) -> bytes:
    place = _place(data, random)
    return data[:place] + random.bytes(int(random.integers(1, 300))) + data[place:]


def _number(data: bytes, random: Random) -> bytes:
    """Write a boundary value of one, two or four bytes, mostly into the header."""
    length, order = (1, 2, 4)[random.integers(3)], (">", "<")[random.integers(2)]
    within = data[:_HEADER_BYTES] if random.random() < 0.7 else data
    place = _place(within, random)
    value = _NUMBERS[random.integers(len(_NUMBERS))] % 256**length
    return data[:place] + struct.pack(order + {1: "B", 2: "H", 4: "I"}[length], value) + data[place + length :]


def _text(data: bytes, random: Random) -> bytes:
    """Write text with a special meaning in formats, paths or terminals."""
    place, text = _place(data, random), _TEXTS[random.integers(len(_TEXTS))]
    return data[:place] + text + data[place + len(text) :]


_ANYWHERE: tuple[Mutator, ...] = (
    _bits,
    _header_bits,
    _header_bits,
    _cut,
    _without_span,
    _span_again,
    _span_moved,
    _span_filled,
    _rubbish_inside,
    _text,
    _number,
    _number,
    _number,
)


def _png_parts(data: bytes, random: Random) -> bytes:
    """Change, duplicate, drop or move chunks; their checksums match, so that their content is read."""
    parts, at = list[tuple[bytes, bytes]](), _PNG_SIGNATURE_BYTES
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    changed = _change_parts(parts, random)
    sums = [zlib.crc32(kind + body) for kind, body in changed]
    chunks = zip(changed, sums, strict=True)
    written = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc) for (kind, body), crc in chunks]
    return data[:_PNG_SIGNATURE_BYTES] + b"".join(written)


def _riff_parts(data: bytes, random: Random) -> bytes:
    parts, at = list[tuple[bytes, bytes]](), 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    written = [
        kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for kind, body in _change_parts(parts, random)
    ]
    body = b"WEBP" + b"".join(written)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg_parts(data: bytes, random: Random) -> bytes:
    """Change the segments before the first scan."""
    parts, at = list[tuple[bytes, bytes]](), 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append((data[at : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + max(2, length)
    written = [kind + struct.pack(">H", len(body) + 2) + body for kind, body in _change_parts(parts, random)]
    return data[:2] + b"".join(written) + data[at:]


def _tiff_parts(data: bytes, random: Random) -> bytes:
    """Change one entry of the first directory: its tag, type, count or value."""
    order = "<" if data[:1] == b"I" else ">"
    begin = int(struct.unpack(order + "I", data[4:8].ljust(4, b"\0"))[0])
    count = int(struct.unpack(order + "H", data[begin : begin + 2].ljust(2, b"\0"))[0])
    if not count or begin + 2 + 12 * count > len(data):
        return _number(data, random)
    entry = begin + 2 + 12 * int(random.integers(count))
    at, length = ((0, 2), (2, 2), (4, 4), (8, 4), (8, 2))[random.integers(5)]
    value = int(_NUMBERS[random.integers(len(_NUMBERS))] if random.random() < 0.5 else random.integers(0, 40))
    packed = struct.pack(order + {2: "H", 4: "I"}[length], value % 256**length)
    return data[: entry + at] + packed + data[entry + at + length :]


def _change_parts(parts: list[tuple[bytes, bytes]], random: Random) -> list[tuple[bytes, bytes]]:
    if not parts:
        return parts
    changed, place = list(parts), int(random.integers(len(parts)))
    kind, body = changed[place]
    how = random.integers(5)
    if how == 0:
        del changed[place]
    elif how == 1:
        changed[place:place] = [changed[place]] * int(random.integers(1, 4))
    elif how == 2:
        changed.insert(int(random.integers(len(changed))), changed.pop(place))
    elif how == 3:
        changed[place] = (changed[random.integers(len(changed))][0], body)
    else:
        changed[place] = (kind, _ANYWHERE[random.integers(len(_ANYWHERE))](body, random)[:65_000])
    return changed


_PARTS: dict[bytes, Mutator] = {
    b"\x89PNG": _png_parts,
    b"RIFF": _riff_parts,
    b"\xff\xd8\xff\xe0": _jpeg_parts,
    b"\xff\xd8\xff\xe1": _jpeg_parts,
    b"\xff\xd8\xff\xee": _jpeg_parts,
    b"\xff\xd8\xff\xdb": _jpeg_parts,
    b"II*\0": _tiff_parts,
    b"MM\0*": _tiff_parts,
}


def _place(data: bytes, random: Random) -> int:
    return int(random.integers(len(data))) if data else 0


def _span(data: bytes, random: Random) -> tuple[int, int]:
    begin = _place(data, random)
    return begin, min(len(data), begin + int(random.integers(1, 200)))
