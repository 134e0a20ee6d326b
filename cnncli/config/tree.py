"""Values that know where they were written: what every source of settings is turned into before it is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Value: TypeAlias = "dict[str, Node] | list[Node] | object"


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    Attributes:
        where: `FILE:LINE:COLUMN`, `override KEY=VALUE`, `environment NAME=VALUE`, or empty for values from Python.
        folder: what a relative path written there is relative to.
        key: the setting that `where` already names, so that a message need not repeat it.
        order: sorts messages as a reader meets them: source, line, column.
    """

    where: str
    folder: Path
    key: str = ""
    order: tuple[int, int, int] = (0, 0, 0)


@dataclass
class Node:
    """A value with its origin; `value` is a dict or a list of nodes, or plain."""

    value: Value
    origin: Origin = field(repr=False)

    def plain(self) -> Any:
        """The value without origins."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, name: str) -> Node | None:
        """One step down: a name in a group, a number in a list; None where there is no such thing."""
        if isinstance(self.value, dict):
            return self.value.get(name)
        place = self.place(name)
        return self.value[place] if isinstance(self.value, list) and place is not None else None

    def place(self, name: str) -> int | None:
        """The place in a list that a name counts to; None where there is no such place, or no list."""
        if not isinstance(self.value, list) or not name.isdecimal() or len(name) > 9:
            return None
        return int(name) if int(name) < len(self.value) else None

    def find(self, key: str) -> Node | None:
        """The node of a dotted key, such as `training.stages.0.name`; None where it was not written."""
        node: Node | None = self
        for name in key.split("."):
            node = node.child(name) if node is not None else None
        return node

    def nearest(self, key: str) -> Node:
        """The node of a dotted key or, where it was not written, of the closest group around it."""
        node = self
        for name in key.split("."):
            below = node.child(name)
            if below is None:
                break
            node = below
        return node

    def children(self) -> Iterator[tuple[str, Node]]:
        """The named or numbered nodes one step down; none of a plain value."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from ((str(number), child) for number, child in enumerate(self.value))


def tree_of(value: object, origin: Origin) -> Node:
    """A value from Python as a tree of one origin: settings, mappings, lists, tuples, NumPy's scalars, paths."""
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
    """The dotted key of a name in a group; the outermost group is empty."""
    return f"{group}.{name}" if group else name
