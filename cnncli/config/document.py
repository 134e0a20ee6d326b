"""A YAML text as a tree that knows its lines, and what is wrong with the text itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import yaml

from cnncli.config.dialect import ConfigLoader, is_merge, scalar_of, shorten_tag
from cnncli.config.problems import Problem
from cnncli.config.tree import Node, Origin, join
from cnncli.errors import printable

MAX_BYTES = 128 * 1024
MAX_VALUES = 10_000
"""Of one text, counted as often as aliases repeat them: a few lines of YAML can stand for billions."""

Place = Callable[[yaml.Mark | None], Origin]


A_CONFIG = "a config in YAML"
"""What is expected where only a file will do."""


def read_document(source: Path, expected: str = A_CONFIG) -> tuple[Node | None, list[Problem]]:
    """Read a file.

    Args:
        source: the file.
        expected: what might be there, for the message where nothing is.

    Returns: `(tree, problems)`; the tree is None where the file cannot be read or is no YAML at all.
    """
    folder = source.parent.absolute()
    name = printable(source)
    try:
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        return None, [_unreadable(source, Origin(name, folder), error, expected)]
    if len(data) > MAX_BYTES:
        return None, [Problem(Origin(name, folder), "", "too large for a config", expected="at most 128 KiB")]

    def place(mark: yaml.Mark | None) -> Origin:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        return Origin(f"{name}:{line}:{column}", folder, order=(0, line, column))

    return parse(data, place)


def _unreadable(source: Path, origin: Origin, error: Exception, expected: str) -> Problem:
    if isinstance(error, FileNotFoundError):
        what = "no such file" if expected == A_CONFIG else "no such file or folder"
        return Problem(origin, "", what, expected=expected, hint=_what_is_there(source))
    if isinstance(error, IsADirectoryError):
        hint = f"`cnncli init {printable(shlex.quote(str(source)))}` writes one for a folder of images."
        return Problem(origin, "", "a folder", expected=A_CONFIG, hint=hint)
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return Problem(origin, "", f"cannot be read: {reason}")


def _what_is_there(source: Path) -> str:
    """The configs beside a file that is missing."""
    import difflib

    try:
        names = sorted(path.name for path in source.parent.iterdir() if path.suffix in {".yaml", ".yml"})
    except OSError:
        return ""
    close = difflib.get_close_matches(source.name, names, n=1)
    if close:
        return f"Did you mean {printable(source.parent / close[0])}?"
    return f"There are {', '.join(map(printable, names[:8]))}." if names else ""


def parse(text: bytes | str, place: Place) -> tuple[Node | None, list[Problem]]:
    """Parse one YAML document.

    Args:
        text: the document; bytes are UTF-8 (or UTF-16 with a byte order mark).
        place: tells an origin from a position; None: the text as a whole.

    Returns: `(tree, problems)`; the tree is None where the text is no YAML at all, and holds null for an empty one.
    """
    try:
        root = yaml.compose(text, Loader=ConfigLoader)
        if root is None:
            return Node(None, place(None)), []
        converter = _Converter(place)
        return converter.convert(root, "", place(root.start_mark)), converter.problems
    except yaml.MarkedYAMLError as error:
        return None, [_syntax_problem(error, place)]
    except yaml.reader.ReaderError as error:
        what = f"not text in UTF-8: {_character(error)} at position {error.position}"
        return None, [Problem(place(None), "", what)]
    except RecursionError:
        return None, [Problem(place(None), "", "nested too deeply for a config")]
    except (ValueError, OverflowError) as error:  # what PyYAML makes of "\UFFFFFFFF" and of a version of 5,000 digits
        return None, [Problem(place(None), "", f"not valid YAML: {error}")]
    except _TooManyValuesError:
        what = f"more than {MAX_VALUES:,} values, with aliases written out"
        return None, [Problem(place(None), "", what)]


def _character(error: yaml.reader.ReaderError) -> str:
    code = error.character if isinstance(error.character, int) else ord(error.character)
    return f"{'byte' if code < 256 and error.encoding != 'unicode' else 'character'} {code:#04x}"


_REMEDIES = {
    "\\t": "Indent with spaces: YAML allows no tabs.",
    "a second document": "One file is one config: remove what follows the line of dashes.",
    "mapping values": "Text that holds a colon and a space needs quotes; or a line is indented wrongly.",
}


def _syntax_problem(error: yaml.MarkedYAMLError, place: Place) -> Problem:
    what = " ".join(str(error.problem or error.context).split()).replace("but found another", "a second")
    hint = next((remedy for sign, remedy in _REMEDIES.items() if sign in what), "")
    return Problem(place(error.problem_mark or error.context_mark), "", f"not valid YAML: {what}", hint=hint)


class _TooManyValuesError(Exception):
    """Aliases multiply the values beyond any config."""


class _Converter:
    """Turns PyYAML's nodes into a tree, collecting what is wrong on the way."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.problems: list[Problem] = []
        self.n_values = 0
        self.open: list[yaml.Node] = []

    def convert(self, node: yaml.Node, key: str, origin: Origin) -> Node:
        """A node and what is below it; `origin` is the key's, or the item's in a list."""
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise _TooManyValuesError
        if any(node is ancestor for ancestor in self.open):
            self._complain(node, key, "an alias that contains itself")
            return Node(None, origin)
        self.open.append(node)
        try:
            return Node(self._value(node, key), origin)
        finally:
            self.open.pop()

    def _value(self, node: yaml.Node, key: str) -> object:
        if isinstance(node, yaml.ScalarNode):
            try:
                return scalar_of(node)
            except ValueError as error:
                self._complain(node, key, f"not a value of a config: {error}")
                return None
        if shorten_tag(node.tag) not in {"!!map", "!!seq"}:
            self._complain(node, key, f"not a value of a config: the tag {shorten_tag(node.tag)} is not allowed")
            return None
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return [self.convert(item, join(key, str(number)), self.place(item.start_mark)) for number, item in items]
        return self._mapping(node, key)

    def _mapping(self, node: yaml.Node, group: str) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for name_node, value_node in node.value:
            if is_merge(name_node):
                merged = {**self._merged(value_node, group), **merged}
            elif not isinstance(name_node, yaml.ScalarNode):
                self._complain(name_node, group, "a list or a group in the place of a name")
            else:
                self._add(own, name_node, value_node, group)
        return {**merged, **own}

    def _add(self, entries: dict[str, Node], name_node: yaml.ScalarNode, value_node: yaml.Node, group: str) -> None:
        name, origin = str(name_node.value), self.place(name_node.start_mark)
        child = self.convert(value_node, join(group, name), origin)
        if name in entries:
            first = entries[name].origin
            hint = f"The first is at {first.where}." if first.order != origin.order else ""
            self.problems.append(Problem(origin, join(group, name), "given twice", child.plain(), "once", hint))
        entries.setdefault(name, child)

    def _merged(self, node: yaml.Node, group: str) -> dict[str, Node]:
        """What `<<` takes over; of several mappings, the first that has a name wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: dict[str, Node] = {}
        for source in sources:
            found = self.convert(source, group, self.place(source.start_mark)).value
            if not isinstance(found, dict):
                self._complain(source, join(group, "<<"), "not a group of settings")
                continue
            entries = {**found, **entries}
        return entries

    def _complain(self, node: yaml.Node, key: str, what: str) -> None:
        self.problems.append(Problem(self.place(node.start_mark), key, what))
