"""Settings given outside the file: `key=value` on the command line, `CNNCLI_*` in the environment, mappings in Python.

An environment variable names a setting in capitals with two underscores for a dot: `CNNCLI_TRAINING__EPOCHS=3` is
`training.epochs=3`, `CNNCLI_SEED=1` is `seed=1`. Values are YAML, as on the command line; an empty variable counts as
absent. `CNNCLI_CACHE` and `CNNCLI_RUNS` name folders and are no settings. A number in a key counts into a list:
`training.stages.0.epochs=3`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from cnncli.config.document import parse
from cnncli.config.problems import Problem, shortened
from cnncli.config.schema import Config
from cnncli.config.tree import Node, Origin, tree_of
from cnncli.errors import printable

PREFIX = "CNNCLI_"
FOLDERS = frozenset({"CNNCLI_CACHE", "CNNCLI_RUNS"})
"""Variables that are no settings."""
DEEPEST = 16
"""Names in the key of an override, at most."""

Overrides = Sequence[str] | Mapping[str, object]
"""`key=value` texts, or a mapping from dotted keys to values."""


@dataclass(frozen=True)
class Assignment:
    """A value for a dotted key; a group or a list is replaced as a whole."""

    key: str
    node: Node


def assignments_of(overrides: Overrides) -> tuple[list[Assignment], list[Problem]]:
    """Overrides in their order, and what is wrong with their form."""
    if isinstance(overrides, Mapping):
        return _assignments_of_mapping(overrides)
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for number, text in enumerate(overrides):
        key, equals, value = text.partition("=")
        origin = _override(text, key.strip(), number)
        if not equals or not _is_key(key.strip()):
            problems.append(Problem(origin, "", "not an override", expected="key=value, such as training.epochs=3"))
            continue
        _assign_text(key.strip(), value, origin, assignments, problems)
    return assignments, problems


def _assignments_of_mapping(overrides: Mapping[str, object]) -> tuple[list[Assignment], list[Problem]]:
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for number, (key, value) in enumerate(overrides.items()):
        origin = _override(f"{key}={value}", key, number)
        if _is_key(key):
            assignments.append(Assignment(key, tree_of(value, origin)))
        else:
            problems.append(Problem(origin, "", "not an override", expected="a key such as training.epochs"))
    return assignments, problems


def environment_assignments(environment: Mapping[str, str]) -> tuple[list[Assignment], list[Problem]]:
    """Settings in environment variables, groups before what is inside them, and what is wrong with their form."""
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    named = {name: name.removeprefix(PREFIX).lower().replace("__", ".") for name in environment if _is_setting(name)}
    for number, (name, key) in enumerate(sorted(named.items(), key=lambda item: (item[1].count("."), item[1]))):
        value = environment[name]
        origin = Origin(shown_variable(name, value), Path.cwd(), order=(1, number, 0))
        if not _is_key(key):
            problems.append(Problem(origin, "", "not a setting", expected="a name such as CNNCLI_TRAINING__EPOCHS"))
        elif value:
            _assign_text(key, value, origin, assignments, problems)
    return assignments, problems


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The names of variables with our prefix that are neither settings nor folders; empty ones count as absent."""
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX) and value and name not in FOLDERS and not _is_setting(name)
    )


def shown_variable(name: str, value: str) -> str:
    """A variable as messages quote it."""
    return f"environment {_shown(f'{name}={value}')}"


def _is_key(key: str) -> bool:
    """Whether a text is names with dots between them; no setting lies deeper than a few groups."""
    names = key.split(".")
    return all(names) and len(names) <= DEEPEST


def assign(tree: Node, assignment: Assignment) -> Problem | None:
    """Put a value into a tree, making groups on the way; a problem where what is there cannot hold it."""
    *groups, name = assignment.key.split(".")
    node, origin = tree, assignment.node.origin
    for depth, group in enumerate(groups):
        node = _group(node, group, origin)
        if not isinstance(node.value, dict | list):
            holder = ".".join(groups[: depth + 1])
            return Problem(origin, assignment.key, f"cannot be set inside {holder}, which is no group", node.plain())
    if isinstance(node.value, dict):
        node.value[name] = assignment.node
    elif isinstance(node.value, list) and (place := node.place(name)) is not None:
        node.value[place] = assignment.node
    elif isinstance(node.value, list):
        count = len(node.value)
        return Problem(
            origin, assignment.key, f"cannot be set in a list of {count}", expected=f"a number below {count}"
        )
    return None


def _group(node: Node, name: str, origin: Origin) -> Node:
    """The group of this name inside a node; an absent or empty one is made."""
    found = node.child(name)
    if found is None and isinstance(node.value, dict):
        found = node.value[name] = Node({}, origin)
    if found is None:
        return Node(None, origin)
    if found.value is None:
        found.value = {}
    return found


def _override(text: str, key: str, number: int) -> Origin:
    return Origin(f"override {_shown(text)}", Path.cwd(), key, order=(2, number, 0))


def _shown(text: str) -> str:
    return shortened(printable(text))


def _is_setting(name: str) -> bool:
    """Whether a variable is surely meant as a setting, so that a slip of the pen in it is an error."""
    if not name.startswith(PREFIX) or name in FOLDERS:
        return False
    word = name.removeprefix(PREFIX).lower()
    return "__" in word or bool(difflib.get_close_matches(word, Config.model_fields, n=1, cutoff=0.75))


def _assign_text(key: str, text: str, origin: Origin, assignments: list[Assignment], problems: list[Problem]) -> None:
    """Parse a value as YAML; text that YAML cannot hold at all, such as a path of raw bytes, is taken as it is."""
    if any(yaml.reader.Reader.NON_PRINTABLE.search(character) for character in set(text)):
        assignments.append(Assignment(key, Node(text, origin)))
        return
    node, found = parse(text, lambda _: origin)
    problems += [replace(problem, key=f"{key}.{problem.key}" if problem.key else key) for problem in found]
    if node is not None:
        assignments.append(Assignment(key, node))
