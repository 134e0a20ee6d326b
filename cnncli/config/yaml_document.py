"""Read YAML with positions, and report problems of the text itself.

Configs are YAML 1.1 without its traps: `1e-3` is a number, which PyYAML alone reads as text; `150:150` (base 60), `010`
(base 8) and `2026-01-31` are text. `yes` and `on` are true, as in YAML 1.1. No tag creates an object.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cnncli.config.suggestions import names_beside
from cnncli.config.tree import Node, Origin, Problem, join
from cnncli.errors import printable, reason_of

MAX_BYTES = 128 * 1024
MAX_VALUES = 10_000
"""Maximum number of values in a text, counting aliases: a few lines of YAML can stand for billions of values."""

Place = Callable[[yaml.Mark | None], Origin]
Scalar = bool | int | float | str | None

_TAG = "tag:yaml.org,2002:"
_TAGS: dict[type[yaml.Node], set[str]] = {
    yaml.ScalarNode: {"null", "bool", "int", "float", "str"},
    yaml.SequenceNode: {"seq"},
    yaml.MappingNode: {"map"},
}
"""Allowed tags by kind of node; none of them creates an object of a class."""
_INTEGER = r"(?:0|[1-9](?:_?[0-9])*)"
_PLAIN = {
    "bool": (r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    "int": (rf"[-+]?(?:{_INTEGER}|0x[0-9a-fA-F]+|0o[0-7]+)", "-+0123456789"),
    "float": (
        rf"[-+]?(?:{_INTEGER}\.[0-9]*|{_INTEGER}(?=[eE])|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": (r"~|null|Null|NULL|", "~nN"),
    "merge": (r"<<", "<"),
}
"""Patterns and first characters of the plain scalars that are not text, by tag."""


class ConfigLoader(yaml.SafeLoader):
    """YAML loader that composes nodes, with the plain scalars described above."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own way to replace the table


class ConfigDumper(yaml.SafeDumper):
    """YAML dumper whose output `ConfigLoader` reads back unchanged, with quotes around text that others misread."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write text with line breaks in double quotes with escapes; PyYAML loses rare line breaks in other styles."""
    style = '"' if any(character in text for character in "\n\r\x85\u2028\u2029") else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


ConfigDumper.add_representer(str, _represent_text)

for _name, (_pattern, _first) in _PLAIN.items():
    for _class in (ConfigLoader, ConfigDumper):
        _characters = [*_first, ""] if _name == "null" else [*_first]
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern})$"), _characters)


def read_document(source: Path, expected: str = "a YAML config") -> tuple[Node | None, list[Problem]]:
    """Read a file; the tree is None if it cannot be read or is not YAML.

    Args:
        source: The file.
        expected: Description of what the file may be, for the message if it does not exist.
    """
    folder, name = source.parent.absolute(), printable(source)
    whole = Origin(name, folder, file=source)

    def place(mark: yaml.Mark | None) -> Origin:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        return Origin(f"{name}:{line}:{column}", folder, order=(0, line, column), file=source)

    try:
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = names_beside(source, (".yaml", ".yml"))
        return None, [Problem("config-file-missing", whole, "", "does not exist", expected=expected, hint=hint)]
    except IsADirectoryError:
        hint = f"`cnncli init {printable(shlex.quote(str(source)))}` writes one for a folder of images."
        return None, [Problem("config-is-folder", whole, "", "a folder", expected="a YAML config", hint=hint)]
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        return None, [Problem("config-unreadable", whole, "", f"cannot be read: {reason_of(error).lower()}")]
    if len(data) > MAX_BYTES:
        return None, [Problem("config-too-large", whole, "", "too large for a config", expected="at most 128 KiB")]
    return parse(data, place)


def parse(text: bytes | str, place: Place, key: str = "") -> tuple[Node | None, list[Problem]]:
    """Parse one YAML document; the tree is None if the text is not YAML, and contains null for an empty text.

    Args:
        text: The document; bytes are UTF-8 (or UTF-16 with a byte order mark).
        place: Returns the origin of a position, or of the whole text for None.
        key: Dotted setting whose value the document is; empty for a whole config.
    """
    code, hint, mark = "config-not-yaml", "", None
    try:
        root = yaml.compose(text, Loader=ConfigLoader)
        if root is None:
            return Node(None, place(None)), []
        converter = _Converter(place)
        return converter.convert(root, key, place(root.start_mark)), converter.problems
    except yaml.MarkedYAMLError as error:
        reason = " ".join(str(error.problem or error.context).split()).replace("but found another", "a second")
        mark = error.problem_mark or error.context_mark
        wording = (words for sign, words in _REASONS.items() if sign in reason)
        what = f"not valid YAML: {next(wording, reason)}"
        hint = next((remedy for sign, remedy in _REMEDIES.items() if sign in reason), "")
    except yaml.reader.ReaderError as error:
        code, what = "config-not-utf8", f"not text in UTF-8: {error.reason} at position {error.position}"
    except RecursionError:
        code, what = "config-too-large", f"nested too deeply, or more than {MAX_VALUES:,} values, counting aliases"
    except (ValueError, OverflowError) as error:  # raised by PyYAML for "\UFFFFFFFF" and a version of 5,000 digits
        what = f"not valid YAML: {error}"
    return None, [Problem(code, place(mark), key, what, hint=hint)]


_REASONS = {
    "<block end>": "this line is indented differently from those around it",
    "<document start>": "this line is indented differently from those before it",
    "<stream end>": "a bracket is not closed",
    "unexpected end of stream": "a quote is not closed",
}
"""Descriptions of problems, by a part of PyYAML's text about them."""

_REMEDIES = {
    "\\t": "Indent with spaces: YAML does not allow tabs.",
    "a second document": "One file is one config: remove everything after the line of dashes.",
    "mapping values": "Text that contains a colon and a space needs quotes; or a line is indented wrongly.",
}


class _Converter:
    """Converts PyYAML's nodes to a tree and collects problems."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.problems: list[Problem] = []
        self.n_values = 0

    def convert(self, node: yaml.Node, key: str, origin: Origin) -> Node:
        """Convert a node and its contents; `origin` is the position of its key or list item."""
        self.n_values += 1
        if self.n_values > MAX_VALUES:  # aliases multiply values, and a circular alias would never end
            raise RecursionError
        if node.tag.removeprefix(_TAG) not in _TAGS[type(node)]:
            self._report(node, key, f"the tag {node.tag.replace(_TAG, '!!')} is not allowed")
        elif isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, key), origin)
        elif isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            found = [self.convert(item, join(key, str(number)), self.place(item.start_mark)) for number, item in items]
            return Node(found, origin)
        elif isinstance(node, yaml.ScalarNode):
            try:
                return Node(_scalar_value(node), origin)
            except ValueError as error:
                self._report(node, key, str(error))
        return Node(None, origin)

    def _mapping(self, node: yaml.MappingNode, group: str) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for name_node, value_node in node.value:
            name, origin = str(name_node.value), self.place(name_node.start_mark)
            key = join(group, name)
            if not isinstance(name_node, yaml.ScalarNode):
                self._report(name_node, group, "a list or a group in place of a name")
            elif name_node.tag == f"{_TAG}merge":
                merged = {**self._merged(value_node, key), **merged}
            else:
                child = self.convert(value_node, key, origin)
                if name in own:
                    hint = f"The first is at {own[name].origin.where}."
                    plain = child.plain()
                    self.problems.append(
                        Problem("config-duplicate-key", origin, key, "given twice", plain, "once", hint)
                    )
                own.setdefault(name, child)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, key: str) -> dict[str, Node]:
        """Return the entries that `<<` adds; if several mappings have a name, the first takes precedence."""
        found = self.convert(node, key, self.place(node.start_mark))
        entries: dict[str, Node] = {}
        for source in found.value if isinstance(found.value, list) else [found]:
            if isinstance(source.value, dict):
                entries = {**source.value, **entries}
            else:
                self._report(node, key, "not a group of settings")
        return entries

    def _report(self, node: yaml.Node, key: str, what: str) -> None:
        self.problems.append(Problem("config-invalid-value", self.place(node.start_mark), key, what))


def _scalar_value(node: yaml.ScalarNode) -> Scalar:
    """Return the value of a scalar.

    Raises:
        ValueError: The text does not match its tag, or has more digits than Python can parse.
    """
    try:
        value: Scalar = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError) as error:
        raise ValueError(f"{node.value[:40]!r} cannot be read as {node.tag.removeprefix(_TAG)}") from error
    return value


def unquoted(text: str) -> Scalar:
    """Return the value of a text that is written without quotes."""
    tag = ConfigLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's stubs
    try:
        return _scalar_value(yaml.ScalarNode(tag, text)) if tag.removeprefix(_TAG) in _TAGS[yaml.ScalarNode] else text
    except ValueError:
        return text
