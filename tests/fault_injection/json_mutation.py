"""What JSON holds, changed at random."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

Random = np.random.Generator

NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**30, -(10**18), 0.5, math.nan, math.inf, "", "..", "/etc/passwd", "\0"),
    *("\x1b[2J", "é" * 300, "None", [], {}, [[]], [None] * 3, {"": None}, {"class_name": "system", "module": "os"}),
)


def one_of(random: Random, choices: Sequence[Any]) -> Any:
    """One of them."""
    return choices[int(random.integers(len(choices)))]


def mutated_json(document: Any, random: Random) -> Any:
    """A JSON document in which one to three values were removed, replaced, renamed or doubled."""
    document = json.loads(json.dumps(document))
    for _ in range(int(random.integers(1, 4))):
        holders = list(_holders(document))
        if not holders:
            return copy.deepcopy(one_of(random, NASTY_VALUES))
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
        lambda: holder.__setitem__(key, copy.deepcopy(one_of(random, NASTY_VALUES))),  # which the next harm may change
        lambda: holder.__setitem__(key, [holder[key]]),
        lambda: _add(holder, key, random),
    )
    one_of(random, cast("Sequence[Callable[[], object]]", harms))()


def _add(holder: Any, key: Any, random: Random) -> None:
    if isinstance(holder, dict):
        holder[one_of(random, (f"{key}x", str(key).upper(), "class_name", "module", "\0", ""))] = holder[key]
    else:
        holder += [holder[key]] * int(random.integers(1, 2000))
