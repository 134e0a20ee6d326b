"""Checks a tree against the schema: unknown keys, missing ones, wrong types, ranges and choices, all of them.

pydantic judges each value by itself; the words come from the schema, so that a setting with several forms (a number
or `all`) has one message and not one per form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from cnncli.config.dialect import unquoted
from cnncli.config.fields import choices_of, expectation, group_of, item_groups_of, takes_null
from cnncli.config.problems import Problem, shown
from cnncli.config.schema import MOST_IN_A_LIST, Config, HeadLayer, Settings, StageConfig
from cnncli.config.suggestions import setting_hint, word_hint
from cnncli.config.tree import Node, join

_HEAD_LAYERS: tuple[type[Settings], ...] = get_args(HeadLayer)


class Check:
    """One pass over a tree.

    Attributes:
        problems: all that was found.
        values: what is sound, ready for `Config.model_validate`; wrong values are left out.
        wrong: the keys that were complained about.
    """

    def __init__(self, tree: Node) -> None:
        self.problems: list[Problem] = []
        self.values = self._group(Config, tree, "")

    @property
    def wrong(self) -> frozenset[str]:
        """The keys that were complained about."""
        return frozenset(problem.key for problem in self.problems)

    def _group(self, group: type[Settings], node: Node, key: str, or_null: bool = False) -> dict[str, Any]:
        """The sound values of a group; null stands for an empty one, as a heading with all its lines commented out."""
        if node.value is None:
            node = Node({}, node.origin)
        if not isinstance(node.value, dict):
            words = f"a group of settings ({', '.join(group.model_fields)})"
            self._add(node, key, "wrong type", f"{words} or null" if or_null else words)
            return {}
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            field = group.model_fields.get(name)
            if field is not None:
                values.update(self._field(group, name, field, child, join(key, name)))
            elif group.model_config.get("extra") == "allow":
                values[name] = child.plain()
            else:
                self._add(child, join(key, name), "unknown setting", "", _hint_for(name, group, key))
        self._find_missing(group, node, key)
        return values

    def _find_missing(self, group: type[Settings], node: Node, key: str) -> None:
        for name, field in group.model_fields.items():
            if field.is_required() and node.child(name) is None:
                inner = group_of(field)
                if inner is None:
                    words = expectation(field)
                    self.problems.append(Problem(node.origin, join(key, name), "missing", expected=words))
                else:
                    self._find_missing(inner, Node({}, node.origin), join(key, name))

    def _field(self, group: type[Settings], name: str, field: FieldInfo, node: Node, key: str) -> dict[str, Any]:
        """`{name: value}` where the value is sound, else nothing."""
        if node.value is None and takes_null(field):
            return {name: None}
        if node.value is None and (item_groups_of(field) or get_origin(field.annotation) is dict):
            return {}
        if (inner := group_of(field)) is not None:
            return {name: self._group(inner, node, key, takes_null(field))}
        if (kinds := item_groups_of(field)) and isinstance(node.value, list) and node.value:
            if len(node.value) > MOST_IN_A_LIST:
                self._add(node, key, f"a list of {len(node.value):,}", f"at most {MOST_IN_A_LIST}")
                return {}
            items = [self._item(kinds, item, join(key, number)) for number, item in node.children()]
            return {name: [_whole(kinds, item, number) for number, item in enumerate(items)]}
        return self._value(group, name, field, node, key)

    def _item(self, kinds: tuple[type[Settings], ...], node: Node, key: str) -> dict[str, Any]:
        """An item of a list of groups; what it is, is told by the name that only its kind requires."""
        if isinstance(node.value, dict):
            for kind in kinds:
                if len(kinds) == 1 or _required(kind) in node.value:
                    return self._group(kind, node, key)
        *first, last = (f"{{{_required(kind)}: …}}" for kind in kinds)
        self._add(node, key, "wrong form", f"{', '.join(first)} or {last}" if first else last)
        return {}

    def _value(self, group: type[Settings], name: str, field: FieldInfo, node: Node, key: str) -> dict[str, Any]:
        value = node.plain()
        if field.annotation is Path and isinstance(value, str) and value:
            value = Path(value)  # pydantic takes text in UTF-8 alone, but a name on disk may be any bytes
        errors = list(_errors(group, name, value))
        if not errors:
            return {name: value}
        hint = word_hint(value, choices_of(field)) or _said(errors) or _repair(group, name, value)
        self._add(node, key, _verdict(errors, value), expectation(field), hint)
        return {}

    def _add(self, node: Node, key: str, what: str, expected: str, hint: str = "") -> None:
        self.problems.append(Problem(node.origin, key, what, node.plain(), expected, hint))


def _required(kind: type[Settings]) -> str:
    """The name an item of this kind cannot lack."""
    return next(name for name, field in kind.model_fields.items() if field.is_required())


def _hint_for(name: str, group: type[Settings], key: str) -> str:
    """What an unknown name may have meant; a second layer in one item of the head wants an item of its own."""
    if group in _HEAD_LAYERS and any(name in kind.model_fields for kind in _HEAD_LAYERS):
        return "Each layer is an item of its own."
    return setting_hint(name, key, group.model_fields)


def _whole(kinds: tuple[type[Settings], ...], values: dict[str, Any], number: int) -> dict[str, Any]:
    """An item of a list, completed where too little of it is sound, so that the rules can judge its neighbours."""
    stand_in = {"name": f"unnamed-{number}"} if kinds == (StageConfig,) else {"batch_norm": True}
    for candidate in (values, {**stand_in, **values}):
        for kind in kinds:
            with suppress(ValidationError):
                kind.model_validate(candidate)
                return candidate
    return stand_in


def _errors(group: type[Settings], name: str, value: object) -> Iterator[dict[str, Any]]:
    """What pydantic has against one value of a group."""
    try:
        group.model_validate({name: value})
    except ValidationError as error:
        yield from (dict(detail) for detail in error.errors() if detail["loc"][0] == name)


_RANGE = ("greater_than", "less_than", "finite_number", "value_error")
_FORM = ("string_too", "string_pattern", "too_short", "too_long")


def _verdict(errors: list[dict[str, Any]], value: object) -> str:
    """Type, range, choice or form: in a setting of several forms, the form that came closest says what is wrong."""
    kinds = [str(error["type"]) for error in errors]
    if any(kind.startswith(_RANGE) for kind in kinds):
        return "out of range"
    if any(kind.startswith(_FORM) for kind in kinds):
        return "wrong form"
    if "literal_error" in kinds and isinstance(value, str):
        return "unknown choice"
    return "wrong type"


def _said(errors: list[dict[str, Any]]) -> str:
    """What a rule of the schema's own says, as a sentence."""
    said = (str(error["ctx"]["error"]) for error in errors if error["type"] == "value_error")
    return "".join(f"{text[0].upper()}{text[1:]}." for text in said)


def _repair(group: type[Settings], name: str, value: object) -> str:
    """A sentence where quotes are all that is missing or too much."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not list(_errors(group, name, shown(value))):
        return "Write it in quotes."
    if isinstance(value, str):
        plain = unquoted(value)
        if plain is not None and plain != value and not list(_errors(group, name, plain)):
            return "Write it without quotes."
    return ""
