"""Damage done to bytes, and to what JSON holds, at random."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

Random = np.random.Generator

NASTY_BYTES = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"\n", b"%s", b"../" * 3)
NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**30, -(10**18), 0.5, math.nan, math.inf, "", "..", "/etc/passwd", "\0"),
    *("\x1b[2J", "é" * 300, "None", [], {}, [[]], [None] * 3, {"": None}, {"class_name": "system", "module": "os"}),
)


def one_of(random: Random, choices: Sequence[Any]) -> Any:
    """One of them."""
    return choices[int(random.integers(len(choices)))]


def damaged(data: bytes, random: Random) -> bytes:
    """Bytes with one to five damages of any kind."""
    for _ in range(int(random.integers(1, 6))):
        harm: Callable[[bytes, Random], bytes] = one_of(random, (_flipped, _overwritten, _cut, _repeated, _swapped))
        data = harm(data, random)
    return data


def _flipped(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for place in random.integers(0, max(len(data), 1), int(random.integers(1, 20))):
        if place < len(changed):
            changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _overwritten(data: bytes, random: Random) -> bytes:
    place = int(random.integers(len(data) + 1))
    nasty: bytes = one_of(random, NASTY_BYTES)
    return data[:place] + nasty + data[place + len(nasty) :]


def _cut(data: bytes, random: Random) -> bytes:
    start, end = sorted(int(place) for place in random.integers(0, len(data) + 1, 2))
    if random.random() < 0.5:
        return data[:end]
    return data[:start] + data[min(end, start + 64) :]


def _repeated(data: bytes, random: Random) -> bytes:
    place, length = int(random.integers(len(data) + 1)), int(random.integers(1, 200))
    return data[: place + length] + data[place:]


def _swapped(data: bytes, random: Random) -> bytes:
    first, second = sorted(int(place) for place in random.integers(0, len(data) + 1, 2))
    length = min(int(random.integers(1, 64)), second - first)
    return (
        data[:first]
        + data[second : second + length]
        + data[first + length : second]
        + data[first : first + length]
        + data[second + length :]
    )


def damaged_json(document: Any, random: Random) -> Any:
    """A JSON document in which one to three values were removed, replaced, renamed or doubled."""
    document = json.loads(json.dumps(document))
    for _ in range(int(random.integers(1, 4))):
        holders = list(_holders(document))
        if not holders:
            return one_of(random, NASTY_VALUES)
        _harm(one_of(random, holders), random)
    return document


def _holders(value: Any) -> list[Any]:
    """Every mapping and list with something in it."""
    found, pending = [], [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict | list) and one:
            found.append(one)
            pending += one.values() if isinstance(one, dict) else one
    return found


def _harm(holder: Any, random: Random) -> None:
    key = one_of(random, list(holder) if isinstance(holder, dict) else range(len(holder)))
    harms: tuple[Callable[[], object], ...] = (
        lambda: holder.pop(key),
        lambda: holder.__setitem__(key, one_of(random, NASTY_VALUES)),
        lambda: holder.__setitem__(key, [holder[key]]),
        lambda: _add(holder, key, random),
    )
    one_of(random, cast("Sequence[Callable[[], object]]", harms))()


def _add(holder: Any, key: Any, random: Random) -> None:
    if isinstance(holder, dict):
        holder[one_of(random, (f"{key}x", str(key).upper(), "class_name", "module", "\0", ""))] = holder[key]
    else:
        holder += [holder[key]] * int(random.integers(1, 2000))
