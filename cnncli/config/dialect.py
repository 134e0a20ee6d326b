"""The YAML that configs are written in: YAML 1.1 without its traps.

Numbers are what people write: `1e-3` is one (PyYAML alone reads text), `150:150` (base 60), `010` (base 8) and
`2026-01-31` are text. `yes` and `on` are true, as in YAML 1.1. No tag makes an object.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

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


class ConfigLoader(yaml.SafeLoader):
    """Composes nodes with the plain scalars of this dialect."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own way to replace the table


class ConfigDumper(yaml.SafeDumper):
    """Writes what `ConfigLoader` reads back equal, and quotes what any other YAML reader would take for no text."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text with line breaks in double quotes, where they are escaped: PyYAML loses the rare ones in other styles."""
    style = '"' if any(character in text for character in "\n\r\x85\u2028\u2029") else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


ConfigDumper.add_representer(str, _write_text)

for _name, (_pattern, _first) in _PLAIN.items():
    _characters = [*_first, ""] if _name == "null" else list(_first)
    ConfigLoader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _characters)
    ConfigDumper.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _characters)


def is_merge(node: yaml.Node) -> bool:
    """Whether a key is `<<`, which takes over the entries of other mappings."""
    return bool(node.tag == f"{_TAG}merge")


def scalar_of(node: yaml.ScalarNode) -> bool | int | float | str | None:
    """The value of a scalar.

    Raises:
        ValueError: its tag is not one of null, bool, int, float, str, or its text does not fit the tag.
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
    raise ValueError(f"the tag {shorten_tag(node.tag)} is not allowed")


def _number(text: str, kind: str) -> int | float:
    try:
        if kind == "int":
            return int(text, 0)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:  # a tag written by hand, or more digits than Python reads
        raise ValueError(f"{text[:40]!r} is not a number that can be read") from error


def unquoted(text: str) -> bool | int | float | str | None:
    """What a text means where it is written without quotes."""
    try:
        return scalar_of(yaml.ScalarNode(ConfigLoader("").resolve(yaml.ScalarNode, text, (True, False)), text))  # type: ignore[no-untyped-call]
    except ValueError:
        return text


_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def shorten_tag(tag: str) -> str:
    """A tag as it is written in a file."""
    return tag.replace(_TAG, "!!")
