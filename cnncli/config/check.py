"""Check a tree against the schema and find all unknown keys, missing keys, wrong types, ranges and choices.

pydantic checks each value on its own; the messages come from the schema, so that a setting with several forms (a
number or `all`) has one message instead of one per form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from cnncli.catalogue.settings import Settings
from cnncli.config.fields import choices_of, expectation, group_of, item_groups_of, takes_null
from cnncli.config.schema import MAX_ITEMS, Config, HeadLayer, StageConfig
from cnncli.config.suggestions import setting_hint
from cnncli.config.tree import Node, Problem, format_value, join
from cnncli.config.yaml_document import unquoted
from cnncli.terminal.suggestions import did_you_mean

_HEAD_LAYERS: tuple[type[Settings], ...] = get_args(HeadLayer)


class Check:
    """One pass over a tree.

    Attributes:
        problems: All problems.
        values: The valid values, ready for `Config.model_validate`; wrong ones are left out.
    """

    def __init__(self, tree: Node) -> None:
        self.problems: list[Problem] = []
        self.values = self._group(Config, tree, "")

    @property
    def wrong(self) -> frozenset[str]:
        """Keys with problems."""
        return frozenset(problem.key for problem in self.problems)

    def _group(self, group: type[Settings], node: Node, key: str, or_null: bool = False) -> dict[str, Any]:
        """Return the valid values of a group; null is an empty group: a heading with all its lines commented out."""
        if node.value is None:
            node = Node({}, node.origin)
        if not isinstance(node.value, dict):
            words = f"a group of settings ({', '.join(group.model_fields)})"
            self._add("config-wrong-type", node, key, "wrong type", f"{words} or null" if or_null else words)
            return {}
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            field = group.model_fields.get(name)
            if field is not None:
                values.update(self._field(group, name, field, child, join(key, name)))
            elif group.model_config.get("extra") == "allow":
                values[name] = child.plain()
            else:
                hint = _hint_for(name, group, key)
                self._add("config-unknown-key", child, join(key, name), "unknown setting", "", hint)
        self._find_missing(group, node, key)
        return values

    def _find_missing(self, group: type[Settings], node: Node, key: str) -> None:
        for name, field in group.model_fields.items():
            if field.is_required() and node.child(name) is None:
                inner, full_key = group_of(field), join(key, name)
                if inner is None:
                    words = expectation(field)
                    problem = Problem("config-missing-key", node.origin, full_key, "missing", expected=words)
                    self.problems.append(problem)
                else:
                    self._find_missing(inner, Node({}, node.origin), full_key)

    def _field(self, group: type[Settings], name: str, field: FieldInfo, node: Node, key: str) -> dict[str, Any]:
        """Return `{name: value}` if the value is valid, else nothing."""
        if node.value is None and takes_null(field):
            return {name: None}
        if node.value is None and (item_groups_of(field) or get_origin(field.annotation) is dict):
            return {}
        if (inner := group_of(field)) is not None:
            return {name: self._group(inner, node, key, takes_null(field))}
        if (kinds := item_groups_of(field)) and isinstance(node.value, list) and node.value:
            if len(node.value) > MAX_ITEMS:
                what = f"a list of {len(node.value):,}"
                self._add("config-list-too-long", node, key, what, f"at most {MAX_ITEMS}")
                return {}
            items = [self._item(kinds, item, join(key, number)) for number, item in node.children()]
            return {name: [_complete_item(kinds, item, number) for number, item in enumerate(items)]}
        return self._value(group, name, field, node, key)

    def _item(self, kinds: tuple[type[Settings], ...], node: Node, key: str) -> dict[str, Any]:
        """Return the valid values of an item in a list of groups, whose kind is known by the name that it requires."""
        if isinstance(node.value, dict):
            for kind in kinds:
                if len(kinds) == 1 or _required(kind) in node.value:
                    return self._group(kind, node, key)
        *first, last = (f"{{{_required(kind)}: …}}" for kind in kinds)
        expected = f"{', '.join(first)} or {last}" if first else last
        self._add("config-wrong-form", node, key, "wrong form", expected)
        return {}

    def _value(self, group: type[Settings], name: str, field: FieldInfo, node: Node, key: str) -> dict[str, Any]:
        value = node.plain()
        if field.annotation is Path and isinstance(value, str) and value:
            value = Path(value)  # pydantic accepts text in UTF-8 only, but a file name may be any bytes
        errors = list(_errors(group, name, value))
        if not errors:
            return {name: value}
        close = did_you_mean(value, choices_of(field)) if isinstance(value, str) else ""
        code, what = _verdict(errors, value)
        hint = close or _own_words(errors) or _quotes_hint(group, name, node)
        self._add(code, node, key, what, expectation(field), hint)
        return {}

    def _add(self, code: str, node: Node, key: str, what: str, expected: str, hint: str = "") -> None:
        self.problems.append(Problem(code, node.origin, key, what, node.plain(), expected, hint))


def _required(kind: type[Settings]) -> str:
    """Return the name that every item of this kind has."""
    return next(name for name, field in kind.model_fields.items() if field.is_required())


def _hint_for(name: str, group: type[Settings], key: str) -> str:
    """Return a hint for an unknown name; a second layer in one item of the head needs an item of its own."""
    if group in _HEAD_LAYERS and any(name in kind.model_fields for kind in _HEAD_LAYERS):
        return "Each layer is an item of its own."
    return setting_hint(name, key, group.model_fields)


def _complete_item(kinds: tuple[type[Settings], ...], values: dict[str, Any], number: int) -> dict[str, Any]:
    """Return an item of a list, completed if too little of it is valid, so that rules can check the other items."""
    stand_in = {"name": f"unnamed-{number}"} if kinds == (StageConfig,) else {"batch_norm": True}
    for candidate in (values, {**stand_in, **values}):
        for kind in kinds:
            with suppress(ValidationError):
                kind.model_validate(candidate)
                return candidate
    return stand_in


def _errors(group: type[Settings], name: str, value: object) -> Iterator[dict[str, Any]]:
    """Yield pydantic's errors about one value of a group."""
    try:
        group.model_validate({name: value})
    except ValidationError as error:
        yield from (dict(detail) for detail in error.errors() if detail["loc"][0] == name)


_RANGE = ("greater_than", "less_than", "finite_number", "value_error")
_FORM = ("string_too", "string_pattern", "too_short", "too_long")


def _verdict(errors: list[dict[str, Any]], value: object) -> tuple[str, str]:
    """Return code and description; in a setting of several forms, the form that came closest decides."""
    kinds = [str(error["type"]) for error in errors]
    if any(kind.startswith(_RANGE) for kind in kinds):
        return "config-out-of-range", "out of range"
    if any(kind.startswith(_FORM) for kind in kinds):
        return "config-wrong-form", "wrong form"
    if "literal_error" in kinds and isinstance(value, str):
        return "config-unknown-choice", "unknown choice"
    return "config-wrong-type", "wrong type"


def _own_words(errors: list[dict[str, Any]]) -> str:
    """Return the reason that a validator of the schema gives, as a sentence."""
    reasons = (str(error["ctx"]["error"]) for error in errors if error["type"] == "value_error")
    return "".join(f"{text[0].upper()}{text[1:]}." for text in reasons)


def _quotes_hint(group: type[Settings], name: str, node: Node) -> str:
    """Return a sentence if missing or superfluous quotes are all that is wrong."""
    value = node.plain()
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = format_value(value)
        if not list(_errors(group, name, text)):
            in_shell = node.origin.where and node.origin.file is None
            shell = " In a shell, put single quotes around the whole KEY=VALUE." if in_shell else ""
            return f'Write it in quotes: "{text}".{shell}'
    if isinstance(value, str):
        plain = unquoted(value)
        if plain is not None and plain != value and not list(_errors(group, name, plain)):
            return "Write it without quotes."
    return ""
