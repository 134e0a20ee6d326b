"""Settings given outside the file: `key=value` on the command line, `CNNCLI_*` in the environment, mappings in Python.

An environment variable names a setting in capitals with two underscores for a dot: `CNNCLI_TRAINING__EPOCHS=3` is
`training.epochs=3`, `CNNCLI_SEED=1` is `seed=1`. An empty variable counts as absent. `CNNCLI_CACHE` and `CNNCLI_RUNS`
name folders and are not settings. A number in a key is an index in a list: `training.stages.0.epochs=3`.

Values are YAML. The value of a setting that is text, such as a path, is taken as given instead, with `#`, `: `, `~` and
everything else that YAML would interpret; only quotes around the whole value are removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType

import yaml

from cnncli.config.fields import all_settings, alternatives
from cnncli.config.schema import Config
from cnncli.config.suggestions import variable_hint
from cnncli.config.tree import Node, Origin, Problem, raise_all, shorten, tree_of
from cnncli.config.yaml_document import parse, unquoted
from cnncli.errors import ConfigError, Message, printable
from cnncli.terminal.suggestions import closest

PREFIX = "CNNCLI_"
FOLDERS = frozenset({"CNNCLI_CACHE", "CNNCLI_RUNS"})
"""Variables that are not settings."""
MAX_DEPTH = 16
"""Maximum number of names in the key of an override."""

EPOCHS = "training.epochs"
"""The only setting that can be changed when resuming a run."""

Overrides = Sequence[str] | Mapping[str, object]
"""`key=value` texts, or a mapping from dotted keys to values."""


@dataclass(frozen=True)
class Assignment:
    """A value for a dotted key; a group or a list is replaced as a whole."""

    key: str
    node: Node


def parse_overrides(overrides: Overrides) -> tuple[list[Assignment], list[Problem]]:
    """Return the overrides in order, and the problems with their form."""
    if isinstance(overrides, Mapping):
        return _parse_mapping(overrides)
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for number, text in enumerate(overrides):
        written, equals, value = text.partition("=")
        key = written.strip()
        origin = _override(text, key, number)
        if equals and _is_key(key):
            _assign_text(key, value if written == key else value.strip(), origin, assignments, problems)
        else:
            problems.append(_malformed(origin, "key=value, such as training.epochs=3"))
    return assignments, problems


def read_epochs(source: Path, overrides: Overrides) -> int | None:
    """Return the number of epochs that the last stage of a run is to have; None: as many as it has.

    Raises:
        ConfigError: Other settings are given for the run, or the number of epochs is not an integer above 0.
    """
    assignments, problems = parse_overrides(overrides)
    raise_all(problems)
    if others := [one.key for one in assignments if one.key != EPOCHS]:
        raise ConfigError(
            Message(
                "usage-settings-of-run",
                f"{printable(source)}: is a run, and its settings cannot be changed when resuming it, except for "
                f"{EPOCHS}. Leave out {', '.join(others)}, or train a new run from its config.yaml.",
                path=source,
                keys=others,
            )
        )
    values = [one.node.plain() for one in assignments]
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in values):
        expected = "an integer of at least 1"
        text = f"{EPOCHS}: received {values[-1]!r}, expected {expected}."
        raise ConfigError(Message("config-out-of-range", text, key=EPOCHS, received=values[-1], expected=expected))
    return values[-1] if values else None


def _parse_mapping(overrides: Mapping[str, object]) -> tuple[list[Assignment], list[Problem]]:
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for number, (key, value) in enumerate(overrides.items()):
        origin = _override(f"{key}={value}", key, number)
        if _is_key(key):
            assignments.append(Assignment(key, tree_of(value, origin)))
        else:
            problems.append(_malformed(origin, "a key such as training.epochs"))
    return assignments, problems


def parse_environment(environment: Mapping[str, str]) -> tuple[list[Assignment], list[Problem]]:
    """Return the settings in environment variables, groups before their contents, and the problems with their form."""
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    named = {name: name.removeprefix(PREFIX).lower().replace("__", ".") for name in environment if _is_setting(name)}
    for number, (name, key) in enumerate(sorted(named.items(), key=lambda item: (item[1].count("."), item[1]))):
        value = environment[name]
        origin = Origin(_quote_variable(name, value), Path.cwd(), order=(1, number, 0))
        if not _is_key(key):
            problems.append(_malformed(origin, "a name such as CNNCLI_TRAINING__EPOCHS", "not a setting"))
        elif value:
            _assign_text(key, value, origin, assignments, problems)
    return assignments, problems


def variable_notes(environment: Mapping[str, str] | None = None) -> tuple[Message, ...]:
    """Return a note for each variable that looks like a setting but is not.

    Args:
        environment: Default: that of this process.
    """
    environment = os.environ if environment is None else environment
    return tuple(
        Message(
            "config-unknown-variable",
            f"{_quote_variable(name, environment[name])}: not a setting and without effect. "
            f"{variable_hint(name.removeprefix(PREFIX))}",
            key=name,
            received=environment[name],
        )
        for name in sorted(environment)
        if name.startswith(PREFIX) and environment[name] and name not in FOLDERS and not _is_setting(name)
    )


def assign(tree: Node, assignment: Assignment) -> Problem | None:
    """Put a value into a tree, creating groups on the way.

    Returns:
        A problem if the node at this place cannot contain the value, else None.
    """
    *groups, name = assignment.key.split(".")
    node, origin = tree, assignment.node.origin
    for depth, group in enumerate(groups):
        node = _group(node, group, origin)
        if not isinstance(node.value, dict | list):
            holder = ".".join(groups[: depth + 1])
            what = f"cannot be set inside {holder}, which is not a group"
            return Problem("config-override-misplaced", origin, assignment.key, what, node.plain())
    if isinstance(node.value, dict):
        node.value[name] = assignment.node
    elif isinstance(node.value, list):
        index, count = node.index(name), len(node.value)
        if index is None:
            what, expected = f"cannot be set in a list of {count}", f"a number below {count}"
            return Problem("config-override-misplaced", origin, assignment.key, what, expected=expected)
        node.value[index] = assignment.node
    return None


def _group(node: Node, name: str, origin: Origin) -> Node:
    """Return the group of this name inside a node; an absent or empty one is created."""
    found = node.child(name)
    if found is None and isinstance(node.value, dict):
        found = node.value[name] = Node({}, origin)
    if found is None:
        return Node(None, origin)
    if found.value is None:
        found.value = {}
    return found


def _override(text: str, key: str, number: int) -> Origin:
    return Origin(f"override {_quote(text)}", Path.cwd(), key, order=(2, number, 0))


def _quote_variable(name: str, value: str) -> str:
    return f"environment {_quote(f'{name}={value}')}"


def _quote(text: str) -> str:
    return shorten(printable(text))


def _malformed(origin: Origin, expected: str, what: str = "not an override") -> Problem:
    return Problem("config-override-malformed", origin, "", what, expected=expected)


def _is_key(key: str) -> bool:
    """Return whether a text consists of names with dots between them; no setting is deeper than a few groups."""
    names = key.split(".")
    return all(names) and len(names) <= MAX_DEPTH


def _is_setting(name: str) -> bool:
    """Return whether a variable is certainly meant as a setting, so that a typing error in it is an error."""
    if not name.startswith(PREFIX) or name in FOLDERS:
        return False
    word = name.removeprefix(PREFIX).lower()
    return "__" in word or bool(closest(word, Config.model_fields))


def _assign_text(key: str, text: str, origin: Origin, assignments: list[Assignment], problems: list[Problem]) -> None:
    """Convert the text of a value; text that YAML cannot contain, such as a path of raw bytes, is taken as given."""
    kinds = _text_settings().get(re.sub(r"(?<=\.)[0-9]+(?=\.)", "N", key))
    is_yaml = kinds is None and not any(yaml.reader.Reader.NON_PRINTABLE.search(character) for character in set(text))
    if not is_yaml:
        assignments.append(Assignment(key, Node(_text_value(text, kinds or ()), origin)))
        return
    node, found = parse(text, lambda _: origin)
    problems += [replace(problem, key=f"{key}.{problem.key}" if problem.key else key) for problem in found]
    if node is not None:
        assignments.append(Assignment(key, node))


def _text_value(text: str, kinds: Iterable[type]) -> object:
    """Return the text of a value as given, without quotes around all of it, or the null or number it stands for."""
    plain = unquoted(text)
    if (plain is None and NoneType in kinds) or (not isinstance(plain, str) and int in kinds):
        return plain
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        node, problems = parse(text, lambda _: Origin("", Path()))
        if node is not None and not problems and isinstance(node.value, str):
            return node.value
    return text


@cache
def _text_settings() -> Mapping[str, tuple[type, ...]]:
    """Return the settings that may be any text, with the types of their values."""
    found: dict[str, tuple[type, ...]] = {}
    for setting in all_settings():
        kinds = tuple(kind for kind, _ in alternatives(setting.field.annotation))
        if str in kinds or Path in kinds:
            found[setting.key] = (*found.get(setting.key, ()), *kinds)
    return found
