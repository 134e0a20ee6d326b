"""What `backbone.options` may hold: the arguments of a network's builder, with types and allowed values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "integer", "boolean", "word", "integers"]


@dataclass(frozen=True)
class Option:
    """One argument of a network's builder.

    Attributes:
        kind: what a value must be.
        default: the value where the option is absent.
        doc: one line for the reference.
        minimum: the smallest number allowed; `exclusive` leaves it out itself.
        below: numbers must be smaller than this.
        choices: the words allowed, for kind `word`.
    """

    kind: Kind
    default: Any
    doc: str
    minimum: float | None = None
    exclusive: bool = False
    below: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a value must be, in words that fit behind `expected`."""
        if self.kind == "word":
            return "one of " + ", ".join(self.choices)
        noun = {"number": "a number", "integer": "a whole number", "boolean": "true or false"}.get(
            self.kind, "a list of whole numbers"
        )
        bounds = [] if self.minimum is None else [f"{'above' if self.exclusive else 'at least'} {self.minimum:g}"]
        bounds += [] if self.below is None else [f"below {self.below:g}"]
        return " ".join([noun, " and ".join(bounds)]) if bounds else noun

    def accepts(self, value: object) -> bool:
        """Whether a value from a config may stand here."""
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "word":
            return value in self.choices
        if self.kind == "integers":
            return isinstance(value, list | tuple) and len(value) > 0 and all(self._in_range(item) for item in value)
        return self._in_range(value)

    def value(self, given: Any) -> Any:
        """The value in the one form in which builders get it: Keras has a file for alpha 1.0, and none for 1."""
        if self.kind == "number":
            return float(given)
        return tuple(given) if self.kind == "integers" else given

    def _in_range(self, value: object) -> bool:
        numbers = int | float if self.kind == "number" else int
        if isinstance(value, bool) or not isinstance(value, numbers):
            return False
        low = self.minimum is None or value > self.minimum or (value == self.minimum and not self.exclusive)
        return low and (self.below is None or value < self.below) and value < float("inf")


def option_problems(
    network: str, allowed: Mapping[str, Option], given: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """What is wrong with a network's options: `(option, sentence)` for each, none when all is well."""
    problems = []
    for name, value in given.items():
        if name not in allowed:
            problems.append((name, _unknown(network, allowed, name)))
        elif not allowed[name].accepts(value):
            problems.append((name, f"{value!r} is not allowed: expected {allowed[name].expected}"))
    return tuple(problems)


def _unknown(network: str, allowed: Mapping[str, Option], name: str) -> str:
    if not allowed:
        return f"{network} has no options"
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(allowed)}"
    return f"is not an option of {network}. {hint}"


def with_defaults(allowed: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """All the options of a network: those given, and the defaults of the rest; lists as tuples."""
    return {name: option.value(given.get(name, option.default)) for name, option in allowed.items()}
