"""Check a tree against the schema, and find all unknown keys, missing keys, wrong types, ranges and choices.

pydantic finds the problems; the messages are built from the schema, so that a setting with several forms (a number or
`all`) has one message instead of one per form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cnncli.config.checked_names import MAX_ITEMS
from cnncli.config.fields import Setting, all_settings, choices_of, expectation, group_words, settings_by_key
from cnncli.config.head_settings import LAYERS
from cnncli.config.schema import Config
from cnncli.config.suggestions import setting_hint
from cnncli.config.tree import NOTHING, Node, Problem, format_value, join
from cnncli.config.yaml_document import unquoted
from cnncli.terminal.suggestions import did_you_mean

Location = tuple[int | str, ...]

_FORMS = {"BackboneConfig", "BackboneConfig[]", *(kind.__name__ for kind in LAYERS.values())}
"""Names of the forms of a value in pydantic's locations."""


def check(tree: Node) -> tuple[dict[str, Any], list[Problem]]:
    """Return the valid settings, and a problem for each invalid one; a list with a problem is omitted as a whole."""
    values = {} if tree.value is None else tree.plain()
    if isinstance(values, dict):
        values.setdefault("data", {})
    errors: dict[Location, list[ErrorDetails]] = {}
    try:
        Config.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            errors.setdefault(_location(detail), []).append(detail)
    # A list with wrong items is also too short, because pydantic leaves them out.
    inner = [
        location
        for location in errors
        if not any(location == other[: len(location)] for other in errors.keys() - {location})
    ]
    problems = [_problem(tree, location, errors[location]) for location in inner]
    return {} if () in inner else _without(values, inner), problems


def _location(error: ErrorDetails) -> Location:
    """Return the names and numbers that lead to a setting, without pydantic's names for forms and parts of a value."""
    location = tuple(part for part in error["loc"] if part not in _FORMS)
    if error["type"] == "extra_forbidden":
        return location
    known = settings_by_key()
    items = {key.rpartition(".")[0] for key in known if ".N." in key}
    while location and (key := _general_key(location)) not in known and key not in items:
        location = location[:-1]
    return location


def _general_key(location: Sequence[int | str]) -> str:
    return ".".join("N" if isinstance(part, int) else part for part in location)


def _without(values: dict[str, Any], locations: Iterable[Location]) -> dict[str, Any]:
    """Remove values, each with the list that contains it."""
    for location in locations:
        *groups, name = map(str, takewhile(lambda part: isinstance(part, str), location))
        holder = values
        for group in groups:
            holder = holder.get(group) or {}
        holder.pop(name, None)
    return values


def _problem(tree: Node, location: Location, errors: list[ErrorDetails]) -> Problem:
    """Combine pydantic's errors about a value, one for each form it could have, into one problem."""
    key, node = ".".join(map(str, location)), tree.nearest(map(str, location))
    kinds = {error["type"] for error in errors}
    if error := next((error for error in errors if error["type"] == "config-contradiction-block"), None):
        return _contradiction(node, key, error)
    if "extra_forbidden" in kinds:
        hint = _hint_for_unknown(location)
        return Problem("config-unknown-key", node.origin, key, "unknown setting", node.plain(), hint=hint)
    setting = _setting(location, errors)
    expected = expectation(setting.field) if setting else group_words(Config)
    if "missing" in kinds:
        return Problem("config-missing-key", node.origin, key, "missing", expected=expected)
    if location and isinstance(location[-1], int):
        expected = expected.removeprefix("a list of ").removesuffix(", or a list of such groups")
    code, what, hint = _verdict(errors, node.value)
    if code == "config-list-too-long":
        expected = f"at most {MAX_ITEMS}"
    elif setting and not hint:
        close = did_you_mean(node.value, choices_of(setting.field)) if isinstance(node.value, str) else ""
        hint = close or _quotes_hint(setting, node)
    return Problem(code, node.origin, key, what, node.plain(), expected, hint)


def _contradiction(group: Node, key: str, error: ErrorDetails) -> Problem:
    """Return the problem of a setting that contradicts another one of its group."""
    name, expected = error["ctx"]["setting"], error["ctx"]["expected"]
    node = group.nearest([name])
    received = node.plain() if node is not group else NOTHING
    return Problem(error["type"], node.origin, join(key, name), error["msg"], received, expected)


def _setting(location: Location, errors: list[ErrorDetails]) -> Setting | None:
    """Return the setting at a location, or the list around an item; several layer kinds have settings of one name."""
    if location and isinstance(location[-1], int):
        location = location[:-1]
    settings = settings_by_key().get(_general_key(location), [])
    return next((one for one in settings if one.group.__name__ in errors[0]["loc"]), next(iter(settings), None))


def _verdict(errors: list[ErrorDetails], value: object) -> tuple[str, str, str]:
    """Return code, description and hint; if a setting has several forms, use the closest one."""
    kinds = {error["type"]: error for error in errors}
    if unknown := kinds.get("config-unknown-name"):
        return "config-unknown-name", unknown["msg"], unknown["ctx"]["hint"]
    if own := kinds.get("value_error"):
        reason = str(own["ctx"]["error"])
        return "config-out-of-range", "out of range", f"{reason[0].upper()}{reason[1:]}."
    if kinds.keys() & {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}:
        return "config-out-of-range", "out of range", ""
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        return "config-list-too-long", f"a list of {len(value):,}", ""
    if "union_tag_not_found" in kinds or any(
        kind.startswith(("string_", "too_")) for kind in kinds if kind != "string_type"
    ):
        return "config-wrong-form", "wrong form", ""
    if "literal_error" in kinds and isinstance(value, str):
        return "config-unknown-choice", "unknown choice", ""
    return "config-wrong-type", "wrong type", ""


def _hint_for_unknown(location: Location) -> str:
    """Return a hint for an unknown name: a similar setting, or that each layer of the head is its own list item."""
    *groups, name = location
    key = _general_key(groups)
    siblings = [setting.name for setting in all_settings() if setting.key.rpartition(".")[0] == key]
    if key == "head.layers.N" and name in siblings:
        return "Each layer is an item of its own."
    return setting_hint(str(name), ".".join(map(str, groups)), siblings)


def _quotes_hint(setting: Setting, node: Node) -> str:
    """Return a hint if the only mistake is missing or extra quotes, else an empty string."""
    value = node.value
    if isinstance(value, int | float) and not isinstance(value, bool) and _accepts(setting, format_value(value)):
        in_shell = node.origin.where and node.origin.file is None
        shell = " In a shell, put single quotes around the whole KEY=VALUE." if in_shell else ""
        return f'Write it in quotes: "{format_value(value)}".{shell}'
    if isinstance(value, str) and (plain := unquoted(value)) not in (None, value) and _accepts(setting, plain):
        return "Write it without quotes."
    return ""


def _accepts(setting: Setting, value: object) -> bool:
    """Return whether a value is valid for a setting, independent of other settings in its group."""
    try:
        setting.group.model_validate({setting.name: value})
    except ValidationError as error:
        return all(detail["loc"][0] != setting.name for detail in error.errors())
    return True
