"""Values with the position where they were written, and problems reported at that position.

Every source of settings is converted to a tree of nodes before it is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from cnncli.errors import ConfigError, Message, printable

LONGEST = 80
"""Maximum number of characters of a value in a message."""

Value: TypeAlias = "dict[str, Node] | list[Node] | object"
NOTHING: Any = object()


@dataclass(frozen=True)
class Origin:
    """The position where a value was written.

    Attributes:
        where: `FILE:LINE:COLUMN`, `override KEY=VALUE`, `environment NAME=VALUE`, or empty for values from Python.
        folder: Folder at which relative paths start.
        order: Source (0: the file), line and column; sorts messages in reading order.
        file: Name of the file, or None.
    """

    where: str
    folder: Path
    order: tuple[int, int, int] = (0, 0, 0)
    file: Path | None = None

    @property
    def facts(self) -> dict[str, object]:
        """File, line and column as facts of a message, or the source if it is not a file."""
        if self.file is None:
            return {"source": self.where} if self.where else {}
        _, line, column = self.order
        return {"path": self.file, **({"line": line, "column": column} if line else {})}


@dataclass
class Node:
    """A value with its origin; `value` is a dict of nodes, a list of nodes, or a plain value."""

    value: Value
    origin: Origin = field(repr=False)

    def plain(self) -> Any:
        """Return the value without origins."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, name: str) -> Node | None:
        """Return the node one level down, by name in a group or by number in a list, or None."""
        if isinstance(self.value, dict):
            return self.value.get(name)
        if isinstance(self.value, list) and name.isdecimal() and len(name) < 9:
            return dict(enumerate(self.value)).get(int(name))
        return None

    def find(self, key: str) -> Node | None:
        """Return the node of a dotted key, such as `training.stages.0.name`, or None if it was not written."""
        node: Node | None = self
        for name in key.split("."):
            node = node.child(name) if node else None
        return node

    def origins(self) -> Iterator[Origin]:
        """Yield the origin of the value and of all values in it."""
        yield self.origin
        children = list(self.value.values()) if isinstance(self.value, dict) else self.value
        for child in children if isinstance(children, list) else ():
            yield from child.origins()

    def nearest(self, names: Iterable[str]) -> Node:
        """Return the node at a path of names or, if it was not written, the innermost group around it."""
        node = self
        for name in names:
            if (below := node.child(name)) is None:
                break
            node = below
        return node


def tree_of(value: object, origin: Origin) -> Node:
    """Convert a Python value (settings, mapping, list, tuple, NumPy scalar, path) to a tree with a single origin."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_unset=True)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return Node({str(key): tree_of(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Node([tree_of(child, origin) for child in value], origin)
    return Node(str(value) if isinstance(value, Path) else value, origin)


def join(group: str, name: str) -> str:
    """Return the dotted key of a name in a group; the top-level group is the empty string."""
    return f"{group}.{name}" if group else name


@dataclass(frozen=True)
class Problem:
    """A problem with a config.

    Attributes:
        key: Dotted setting; empty if the problem is not about a setting.
        what: Description that follows `key:`.
        expected: Description of valid values that follows `expected`.
        hint: Additional sentence, such as `Did you mean …?`.
    """

    code: str
    origin: Origin
    key: str
    what: str
    received: Any = NOTHING
    expected: str = ""
    hint: str = ""

    @property
    def message(self) -> Message:
        """`WHERE: KEY: what (received X), expected Y. Did you mean …?` on one line, with its facts."""
        where = printable(self.origin.where)
        key = "" if where.startswith(f"override {self.key}=") else shorten(printable(self.key))
        facts = {"key": self.key, "expected": self.expected, "hint": self.hint, **self.origin.facts}
        received = ""
        if self.received is not NOTHING:
            facts["received"] = self.received
            received = f" (received {format_value(self.received)})"
        expected = f", expected {self.expected}" if self.expected else ""
        hint = f" {self.hint}" if self.hint else ""
        text = ": ".join(filter(None, [where, key, f"{self.what}{received}{expected}.{hint}"]))
        return Message(self.code, text, **facts)


def raise_all(problems: Iterable[Problem]) -> None:
    """Raise a ConfigError if there are problems, in the order of their positions."""
    ordered = sorted(problems, key=lambda problem: problem.origin.order)
    if ordered:
        raise ConfigError(list(dict.fromkeys(problem.message for problem in ordered)))


def format_value(value: object) -> str:
    """Return a value as it would be written in a config, shortened to one line."""
    return shorten(_format(value))


def setting_text(value: object) -> str:
    """Return the value of a setting as it is shown in a table."""
    return "–" if value is None else value if isinstance(value, str) else format_value(value)


def shorten(text: str) -> str:
    """Return at most 80 characters of a text."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _format(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str() | Path():
            # Long text is cut before it is escaped, so that a megabyte of text takes no time.
            return repr(printable(str(value)[: 2 * LONGEST])).replace("\\\\", "\\")
        case dict():
            return "{" + ", ".join(f"{printable(str(name))}: {_format(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_format, value)) + "]"
        case int() if abs(value) > 10**LONGEST:
            return f"a number of about {value.bit_length() * 3 // 10} digits"
        case _:
            return re.sub(r"\s+", " ", str(value))
