"""One thing that is wrong with a config, as a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cnncli.config.tree import Origin
from cnncli.errors import ConfigError, printable

_LONGEST = 80
_NOTHING: Final = object()


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what would be right.

    Attributes:
        origin: where it was written.
        key: the setting, dotted; empty where it is about no setting.
        what: what is wrong, in words that fit behind `key:`.
        received: the value.
        expected: what would be right, in words that fit behind `expected`.
        hint: a further sentence, such as `Did you mean …?`.
    """

    origin: Origin
    key: str
    what: str
    received: Any = _NOTHING
    expected: str = ""
    hint: str = ""

    @property
    def is_absence(self) -> bool:
        """Whether the problem is that something was not written at all."""
        return self.what == "missing"

    @property
    def sentence(self) -> str:
        """`WHERE: KEY: what (received X), expected Y. Did you mean …?`, one line."""
        places = [printable(self.origin.where), "" if self.key == self.origin.key else shortened(printable(self.key))]
        received = "" if self.received is _NOTHING else f" (received {shown(self.received)})"
        expected = f", expected {self.expected}" if self.expected else ""
        hint = f" {self.hint}" if self.hint else ""
        return ": ".join([*filter(None, places), f"{self.what}{received}{expected}.{hint}"])


def raise_all(problems: Iterable[Problem]) -> None:
    """Report problems together, in the order in which a reader meets them in the sources.

    Raises:
        ConfigError: there is at least one.
    """
    ordered = sorted(problems, key=lambda problem: problem.origin.order)
    key_of = {problem.sentence: problem.key for problem in ordered}
    if key_of:
        raise ConfigError(list(key_of), list(key_of.values()))


def shown(value: object) -> str:
    """A value as a config would write it, on one line, shortened."""
    return shortened(_written(value))


def shortened(text: str) -> str:
    """At most 80 characters of a text."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _written(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str() | Path():
            # A longer text is cut before it is escaped, so that a megabyte of it costs nothing.
            return repr(printable(str(value)[: 2 * _LONGEST])).replace("\\\\", "\\")
        case dict():
            return "{" + ", ".join(f"{printable(str(name))}: {_written(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_written, value)) + "]"
        case int() if abs(value) > 10**_LONGEST:
            return f"a number of about {value.bit_length() * 3 // 10} digits"
        case _:
            return re.sub(r"\s+", " ", str(value))
