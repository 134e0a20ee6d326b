"""Describe the fields of the schema: accepted values in words, choices, and settings inside a group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from cnncli.catalogue.settings import Expected, Option, Settings
from cnncli.config.schema import Config
from cnncli.config.tree import join

Metadata = tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """A field of a group, with its dotted key; a list item is `N`, as in `training.stages.N.epochs`."""

    key: str
    group: type[Settings]
    field: FieldInfo

    @property
    def name(self) -> str:
        """Last word of the key."""
        return self.key.rpartition(".")[2]

    @property
    def doc(self) -> str:
        """Description of the setting."""
        return self.field.description or self.group.docs().get(self.name, "")


def all_settings(group: type[Settings] = Config, key: str = "") -> Iterator[Setting]:
    """Yield every setting in the order of the schema, with groups before their contents."""
    for name, field in group.model_fields.items():
        yield from _settings_of(Setting(join(key, name), group, field))


def _settings_of(setting: Setting) -> Iterator[Setting]:
    """Yield a setting, and those of the groups in it."""
    yield setting
    for end, inner in groups_in(setting.field):
        yield from all_settings(inner, setting.key + end)
    for kind, _ in alternatives(setting.field.annotation):
        if is_typeddict(kind):
            for name, annotation in get_type_hints(kind, include_extras=True).items():
                field = FieldInfo.from_annotation(annotation)
                field.default = None
                yield from _settings_of(Setting(join(setting.key, name), setting.group, field))


@cache
def settings_by_key() -> Mapping[str, list[Setting]]:
    """Return all settings by key; several layer kinds have settings with the same key."""
    found: dict[str, list[Setting]] = {}
    for setting in all_settings():
        found.setdefault(setting.key, []).append(setting)
    return found


def kinds_of(key: str) -> set[Any]:
    """Return the types that a setting accepts; a number in its key is a list index."""
    settings = settings_by_key().get(re.sub(r"(?<=\.)[0-9]+(?=\.)", "N", key), ())
    return {kind for setting in settings for kind, _ in alternatives(setting.field.annotation)}


def alternatives(annotation: Any, metadata: Metadata = ()) -> Iterator[tuple[Any, Metadata]]:
    """Yield the types that a value can have, each with its constraints."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        flat = [part for item in more for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
        yield from alternatives(inner, (*metadata, *flat))
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from alternatives(member, metadata)
    else:
        yield annotation, metadata


def groups_in(field: FieldInfo) -> Iterator[tuple[str, type[Settings]]]:
    """Yield the groups that a field can contain, each with the suffix of its key (`.N` in a list)."""
    for kind, _ in alternatives(field.annotation):
        if _is_group(kind):
            yield "", kind
        elif get_origin(kind) is tuple:
            yield from ((".N", item) for item, _ in alternatives(get_args(kind)[0]) if _is_group(item))


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Return the choices of a field, or nothing if it also accepts other values."""
    found = [get_args(kind) for kind, _ in alternatives(field.annotation) if get_origin(kind) is Literal]
    return tuple(word for words in found for word in words if isinstance(word, str))


def expectation(field: FieldInfo | Option) -> str:
    """Describe the values that a field or an option accepts, in words that follow `expected`."""
    metadata = tuple(field.metadata) if isinstance(field, FieldInfo) else ()
    kinds = alternatives(field.annotation, metadata)
    return _own_words(metadata) or " or ".join(dict.fromkeys(_words(*kind) for kind in kinds))


def group_words(group: type[Settings]) -> str:
    """Describe a group, as the expectation for a value that is not a group."""
    return f"a group of settings ({', '.join(group.model_fields)})"


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _own_words(metadata: Sequence[Any]) -> str:
    return next((item.words for item in metadata if isinstance(item, Expected)), "")


def _words(kind: Any, metadata: Metadata) -> str:
    if words := _own_words(metadata):
        return words
    if _is_group(kind):
        return group_words(kind)
    if get_origin(kind) is Literal:
        *first, last = map(str, get_args(kind))
        return f"{', '.join(first)} or {last}" if first else last
    items = () if kind is NoneType else metadata
    limits = {name: getattr(item, name) for item in items for name in _LIMITS if hasattr(item, name)}
    bounds = [f"{words} {limits[name]:.15g}" for name, words in _LIMITS.items() if name in limits]
    kind = dict if is_typeddict(kind) else kind
    return " ".join([_WORDS[get_origin(kind) or kind], " and ".join(bounds)]).rstrip()


_LIMITS = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    NoneType: "null",
    dict: "a group of names and values",
    Path: "a path",
}
