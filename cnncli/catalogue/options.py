"""Types and allowed values of the arguments of networks and optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "integer", "boolean", "word", "integers"]


BOUNDS = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
"""Words of limits, by the names that pydantic has for them."""


@dataclass(frozen=True)
class Option:
    """One argument of a network or optimizer; null is allowed if it is the default.

    Attributes:
        ge, gt, lt: Limits of a number: at least, above, below.
        choices: Allowed words, for kind `word`.
    """

    kind: Kind
    default: Any
    doc: str
    ge: float | None = None
    gt: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Description of the allowed values that fits behind `expected`."""
        words = {
            "number": "a number",
            "integer": "an integer",
            "boolean": "true or false",
            "word": f"one of {', '.join(self.choices)}",
            "integers": "a list of integers",
        }[self.kind]
        words += bounds_words(vars(self))
        return f"{words} or null" if self.default is None else words

    def accepts(self, value: object) -> bool:
        """Return whether a value is allowed; null is if the default is null."""
        if value is None:
            return self.default is None
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "word":
            return value in self.choices
        if self.kind == "integers":
            return isinstance(value, list | tuple) and len(value) > 0 and all(self._in_range(item) for item in value)
        return self._in_range(value)

    def value(self, given: Any) -> Any:
        """Return a value in the type that builders expect: Keras has a weights file for alpha 1.0 but not for 1."""
        if self.kind == "number":
            return float(given)
        return tuple(given) if self.kind == "integers" else given

    def _in_range(self, value: object) -> bool:
        numbers = int | float if self.kind == "number" else int
        if isinstance(value, bool) or not isinstance(value, numbers):
            return False
        above = (self.ge is None or value >= self.ge) and (self.gt is None or value > self.gt)
        return above and value < (float("inf") if self.lt is None else self.lt)


def bounds_words(limits: Mapping[str, Any]) -> str:
    """Return the words that stand behind a noun for limits, such as ` of at least 0 and below 1`."""
    bounds = [f"{words} {limits[name]:.15g}" for name, words in BOUNDS.items() if limits.get(name) is not None]
    return f" {' and '.join(bounds)}" if bounds else ""


def with_defaults(allowed: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a network, completed with defaults; lists become tuples."""
    return {name: option.value(given.get(name, option.default)) for name, option in allowed.items()}
