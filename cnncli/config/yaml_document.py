"""Read YAML with positions, and report what is wrong with the text itself.

Configs are YAML 1.1 without its traps: `1e-3` is a number (PyYAML alone reads text); `150:150` (base 60), `010` (base
8) and `2026-01-31` are text. `yes` and `on` are true, as in YAML 1.1. No tag creates an object.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cnncli.config.tree import Node, Origin, Problem, join
from cnncli.errors import printable
from cnncli.terminal.suggestions import closest, question

MAX_BYTES = 128 * 1024
MAX_VALUES = 10_000
"""Values of one text, counting each repetition by an alias: a few lines of YAML can stand for billions."""

A_CONFIG = "a config in YAML"
"""Expectation where only a file is accepted."""

Place = Callable[[yaml.Mark | None], Origin]
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "bool": (
        re.compile(r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
        "yYnNtTfFoO",
    ),
    "int": (re.compile(r"^[-+]?(?:0|[1-9](?:_?[0-9])*|0x[0-9a-fA-F]+|0o[0-7]+)$"), "-+0123456789"),
    "float": (
        re.compile(
            r"""^(?:[-+]?(?:
                (?:0|[1-9](?:_?[0-9])*)(?:\.[0-9]*)(?:[eE][-+]?[0-9]+)?
               |(?:0|[1-9](?:_?[0-9])*)[eE][-+]?[0-9]+
               |\.[0-9]+(?:[eE][-+]?[0-9]+)?
               |\.(?:inf|Inf|INF))
               |\.(?:nan|NaN|NAN))$""",
            re.X,
        ),
        "-+.0123456789",
    ),
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), "~nN"),
    "merge": (re.compile(r"^<<$"), "<"),
}
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


class ConfigLoader(yaml.SafeLoader):
    """Composes nodes, with the plain scalars described above."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own way to replace the table


class ConfigDumper(yaml.SafeDumper):
    """Writes text that `ConfigLoader` reads back equal, quoting whatever another YAML reader would not take as text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Put text with line breaks in double quotes and escape them: PyYAML loses the rare ones in other styles."""
    style = '"' if any(character in text for character in "\n\r\x85\u2028\u2029") else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


ConfigDumper.add_representer(str, _represent_text)

for _name, (_pattern, _first) in _PLAIN.items():
    _characters = [*_first, ""] if _name == "null" else list(_first)
    ConfigLoader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _characters)
    ConfigDumper.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _characters)


def read_document(source: Path, expected: str = A_CONFIG) -> tuple[Node | None, list[Problem]]:
    """Read a file.

    Args:
        source: The file.
        expected: Description of what could be there, for the message if there is nothing.

    Returns:
        `(tree, problems)`; the tree is None if the file cannot be read or is not YAML.
    """
    folder = source.parent.absolute()
    name = printable(source)
    whole = Origin(name, folder, file=source)
    try:
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        return None, [_unreadable(source, whole, error, expected)]
    if len(data) > MAX_BYTES:
        return None, [Problem("config-too-large", whole, "", "too large for a config", expected="at most 128 KiB")]

    def place(mark: yaml.Mark | None) -> Origin:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        return Origin(f"{name}:{line}:{column}", folder, order=(0, line, column), file=source)

    return parse(data, place)


def _unreadable(source: Path, origin: Origin, error: Exception, expected: str) -> Problem:
    if isinstance(error, FileNotFoundError):
        what = "no such file" if expected == A_CONFIG else "no such file or folder"
        return Problem("config-file-missing", origin, "", what, expected=expected, hint=_configs_beside(source))
    if isinstance(error, IsADirectoryError):
        hint = f"`cnncli init {printable(shlex.quote(str(source)))}` writes one for a folder of images."
        return Problem("config-is-folder", origin, "", "a folder", expected=A_CONFIG, hint=hint)
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return Problem("config-unreadable", origin, "", f"cannot be read: {reason}")


def _configs_beside(source: Path) -> str:
    """Suggest the configs in the folder of a missing file."""
    try:
        names = sorted(path.name for path in source.parent.iterdir() if path.suffix in {".yaml", ".yml"})
    except OSError:
        return ""
    close = [printable(source.parent / name) for name in closest(source.name, names, limit=1)]
    return question(close) or (f"There are {', '.join(map(printable, names[:8]))}." if names else "")


def parse(text: bytes | str, place: Place) -> tuple[Node | None, list[Problem]]:
    """Parse one YAML document.

    Args:
        text: The document; bytes are UTF-8 (or UTF-16 with a byte order mark).
        place: Returns the origin of a position; None is the text as a whole.

    Returns:
        `(tree, problems)`; the tree is None if the text is not YAML, and holds null for an empty text.
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
        return None, [Problem("config-not-utf8", place(None), "", what)]
    except RecursionError:
        return None, [Problem("config-too-large", place(None), "", "nested too deeply for a config")]
    except (ValueError, OverflowError) as error:  # raised by PyYAML for "\UFFFFFFFF" and a version of 5,000 digits
        return None, [Problem("config-not-yaml", place(None), "", f"not valid YAML: {error}")]
    except _TooManyValuesError:
        what = f"more than {MAX_VALUES:,} values, counting aliases"
        return None, [Problem("config-too-large", place(None), "", what)]


def _character(error: yaml.reader.ReaderError) -> str:
    code = error.character if isinstance(error.character, int) else ord(error.character)
    return f"{'byte' if code < 256 and error.encoding != 'unicode' else 'character'} {code:#04x}"


_REMEDIES = {
    "\\t": "Indent with spaces: YAML does not allow tabs.",
    "a second document": "One file is one config: remove everything after the line of dashes.",
    "mapping values": "Text that contains a colon and a space needs quotes; or a line is indented wrongly.",
}


def _syntax_problem(error: yaml.MarkedYAMLError, place: Place) -> Problem:
    what = " ".join(str(error.problem or error.context).split()).replace("but found another", "a second")
    hint = next((remedy for sign, remedy in _REMEDIES.items() if sign in what), "")
    origin = place(error.problem_mark or error.context_mark)
    return Problem("config-not-yaml", origin, "", f"not valid YAML: {what}", hint=hint)


class _TooManyValuesError(Exception):
    """Aliases multiply the values beyond any config."""


class _Converter:
    """Converts PyYAML's nodes to a tree and collects problems."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.problems: list[Problem] = []
        self.n_values = 0
        self.open: list[yaml.Node] = []

    def convert(self, node: yaml.Node, key: str, origin: Origin) -> Node:
        """Convert a node and everything below it; `origin` is the place of its key, or of the item in a list."""
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise _TooManyValuesError
        if any(node is ancestor for ancestor in self.open):
            self._report("config-invalid-value", node, key, "an alias that contains itself")
            return Node(None, origin)
        self.open.append(node)
        try:
            return Node(self._value(node, key), origin)
        finally:
            self.open.pop()

    def _value(self, node: yaml.Node, key: str) -> object:
        if isinstance(node, yaml.ScalarNode):
            try:
                return scalar_value(node)
            except ValueError as error:
                self._report("config-invalid-value", node, key, f"not a value of a config: {error}")
                return None
        if (tag := _short_tag(node.tag)) not in {"!!map", "!!seq"}:
            what = f"not a value of a config: the tag {tag} is not allowed"
            self._report("config-invalid-value", node, key, what)
            return None
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return [self.convert(item, join(key, str(number)), self.place(item.start_mark)) for number, item in items]
        return self._mapping(node, key)

    def _mapping(self, node: yaml.Node, group: str) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for name_node, value_node in node.value:
            if name_node.tag == f"{_TAG}merge":
                merged = {**self._merged(value_node, group), **merged}
            elif not isinstance(name_node, yaml.ScalarNode):
                self._report("config-invalid-value", name_node, group, "a list or a group in place of a name")
            else:
                self._add(own, name_node, value_node, group)
        return {**merged, **own}

    def _add(self, entries: dict[str, Node], name_node: yaml.ScalarNode, value_node: yaml.Node, group: str) -> None:
        name, origin = str(name_node.value), self.place(name_node.start_mark)
        key = join(group, name)
        child = self.convert(value_node, key, origin)
        if name in entries:
            first = entries[name].origin
            hint = f"The first is at {first.where}." if first.order != origin.order else ""
            problem = Problem("config-duplicate-key", origin, key, "given twice", child.plain(), "once", hint)
            self.problems.append(problem)
        entries.setdefault(name, child)

    def _merged(self, node: yaml.Node, group: str) -> dict[str, Node]:
        """Return the entries that `<<` adds; of several mappings, the first that has a name wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: dict[str, Node] = {}
        for source in sources:
            found = self.convert(source, group, self.place(source.start_mark)).value
            if not isinstance(found, dict):
                self._report("config-invalid-value", source, join(group, "<<"), "not a group of settings")
                continue
            entries = {**found, **entries}
        return entries

    def _report(self, code: str, node: yaml.Node, key: str, what: str) -> None:
        self.problems.append(Problem(code, self.place(node.start_mark), key, what))


def scalar_value(node: yaml.ScalarNode) -> bool | int | float | str | None:
    """Return the value of a scalar.

    Raises:
        ValueError: Its tag is not one of null, bool, int, float, str, or its text does not fit the tag.
    """
    text = node.value
    match str(node.tag).removeprefix(_TAG):
        case "str":
            return str(text)
        case "null":
            return None
        case "bool" if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        case "int" | "float" as kind:
            return _number(text, kind)
        case "bool":
            raise ValueError(f"{text!r} is neither true nor false")
    raise ValueError(f"the tag {_short_tag(node.tag)} is not allowed")


def unquoted(text: str) -> bool | int | float | str | None:
    """Return the value of a text that is written without quotes."""
    tag = ConfigLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's stubs
    try:
        return scalar_value(yaml.ScalarNode(tag, text))
    except ValueError:
        return text


def _number(text: str, kind: str) -> int | float:
    try:
        if kind == "int":
            return int(text, 0)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:  # a tag written by hand, or more digits than Python reads
        raise ValueError(f"{text[:40]!r} is not a number that can be read") from error


def _short_tag(tag: str) -> str:
    """Return a tag as it is written in a file."""
    return tag.replace(_TAG, "!!")
