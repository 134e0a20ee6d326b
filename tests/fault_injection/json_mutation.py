"""Random mutations of JSON documents."""

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
    """Return a random element."""
    return choices[int(random.integers(len(choices)))]


def mutate_json(document: Any, random: Random) -> Any:
    """Return a copy of a JSON document with one to three values removed, replaced, renamed or duplicated."""
    document = json.loads(json.dumps(document))
    for _ in range(int(random.integers(1, 4))):
        holders = list(_holders(document))
        if not holders:
            return copy.deepcopy(one_of(random, NASTY_VALUES))
        _change(one_of(random, holders), random)
    return document


def _holders(value: Any) -> list[Any]:
    """Return all mappings and lists that are not empty."""
    found, pending = [], [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict | list) and one:
            found.append(one)
            pending += one.values() if isinstance(one, dict) else one
    return found


def _change(holder: Any, random: Random) -> None:
    key = one_of(random, list(holder) if isinstance(holder, dict) else range(len(holder)))
    changes: tuple[Callable[[], object], ...] = (
        lambda: holder.pop(key),
        lambda: holder.__setitem__(key, copy.deepcopy(one_of(random, NASTY_VALUES))),  # a later change may modify it
        lambda: holder.__setitem__(key, [holder[key]]),
        lambda: _add(holder, key, random),
    )
    one_of(random, cast("Sequence[Callable[[], object]]", changes))()


def _add(holder: Any, key: Any, random: Random) -> None:
    if isinstance(holder, dict):
        holder[one_of(random, (f"{key}x", str(key).upper(), "class_name", "module", "\0", ""))] = holder[key]
    else:
        holder += [holder[key]] * int(random.integers(1, 2000))
