"""Settings outside the file: `key=value` on the command line, `CNNCLI_*` in the environment, mappings in Python.

An environment variable is a key in capitals with two underscores for each dot: `CNNCLI_TRAINING__EPOCHS=3` is
`training.epochs=3`, `CNNCLI_SEED=1` is `seed=1`. Empty variables are ignored. `CNNCLI_CACHE` and `CNNCLI_RUNS` name
folders and are not settings. A number in a key is a list index: `training.stages.0.epochs=3`.

Values are YAML. For settings that are text, such as a path, the value is taken literally instead, including `#`, `: `
and `~`; only quotes around the whole value are removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from cnncli.config.fields import kinds_of
from cnncli.config.schema import Config
from cnncli.config.suggestions import variable_hint
from cnncli.config.tree import Node, Origin, Problem, raise_all, shorten, tree_of
from cnncli.config.yaml_document import parse, unquoted
from cnncli.errors import Message, printable
from cnncli.terminal.suggestions import closest

PREFIX = "CNNCLI_"
OTHER_VARIABLES = frozenset({"CNNCLI_CACHE", "CNNCLI_RUNS", "CNNCLI_TOKEN"})
"""Variables that are not settings."""
MAX_DEPTH = 16
"""Maximum number of names in the key of an override."""

EPOCHS = "training.epochs"
"""The only setting that can be changed when resuming a run."""

PATHS_OF_GROUPS = {"data.labels": "path"}
"""Groups that can be written as a single value, and the setting that this value is."""

Overrides = Sequence[str] | Mapping[str, object]
"""`key=value` texts, or a mapping from dotted keys to values."""

Assignment = tuple[str, Node]
"""A dotted key and its value; a group or a list is replaced as a whole."""

_Entry = tuple[str, str, Any]
"""Text as written, key and value of a setting; the key of malformed text is empty."""


def parse_overrides(overrides: Overrides) -> tuple[list[Assignment], list[Problem]]:
    """Return the overrides in order, and problems with their syntax."""
    if isinstance(overrides, Mapping):
        entries: list[_Entry] = [(f"{key}={value}", key, value) for key, value in overrides.items()]
        return _assignments("override", 2, entries, "a key such as training.epochs", is_text=False)
    entries = []
    for text in overrides:
        written, equals, value = text.partition("=")
        key = written.strip()
        entries.append((text, key if equals else "", value if written == key else value.strip()))
    return _assignments("override", 2, entries, "key=value, such as training.epochs=3")


def parse_environment(environment: Mapping[str, str]) -> tuple[list[Assignment], list[Problem]]:
    """Return the settings in variables, groups first, and problems with their syntax."""
    entries: list[_Entry] = [
        (f"{name}={value}", name.removeprefix(PREFIX).lower().replace("__", "."), value)
        for name, value in environment.items()
        if value and _is_setting(name)
    ]
    entries.sort(key=lambda entry: (entry[1].count("."), entry[1]))
    return _assignments("environment", 1, entries, "a name such as CNNCLI_TRAINING__EPOCHS")


def _assignments(
    source: str, rank: int, entries: Iterable[_Entry], expected: str, is_text: bool = True
) -> tuple[list[Assignment], list[Problem]]:
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for number, (written, key, value) in enumerate(entries):
        origin = Origin(f"{source} {shorten(printable(written))}", Path.cwd(), (rank, number, 0))
        names = key.split(".")
        if not all(names) or len(names) > MAX_DEPTH:
            problems.append(Problem("config-override-malformed", origin, "", "not a setting", expected=expected))
            continue
        node, found = _read_text(key, value, origin) if is_text else (tree_of(value, origin), [])
        problems += found
        if node is not None:
            assignments.append((key, node))
    return assignments, problems


def _read_text(key: str, text: str, origin: Origin) -> tuple[Node | None, list[Problem]]:
    """Convert the text of a value: YAML, or literal text without quotes around all of it."""
    kinds = kinds_of(key)
    # YAML cannot contain everything that an argument can, such as a path of raw bytes.
    if not kinds & {str, Path} and not yaml.reader.Reader.NON_PRINTABLE.search(text):
        return parse(text, lambda _: origin, key)
    plain = unquoted(text)
    if (plain is None and NoneType in kinds) or (not isinstance(plain, str) and int in kinds):
        return Node(plain, origin), []
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        node, problems = parse(text, lambda _: origin)
        if node is not None and not problems and isinstance(node.value, str):
            return node, []
    return Node(text, origin), []


def read_epochs(overrides: Overrides) -> int | None:
    """Return the requested number of epochs for the last stage of a run, or None to keep its number.

    Raises:
        ConfigError: Other settings are given for the run, or the number of epochs is not an integer above 0.
    """
    assignments, problems = parse_overrides(overrides)
    for key, node in assignments:
        if key != EPOCHS:
            what = f"cannot be changed when a run is resumed; only {EPOCHS} can"
            hint = "Leave it out, or train a new run from the config.yaml of this one."
            problems.append(Problem("usage-settings-of-run", node.origin, key, what, hint=hint))
        elif type(node.value) is not int or node.value < 1:
            expected = "an integer of at least 1"
            problems.append(Problem("config-out-of-range", node.origin, key, "out of range", node.plain(), expected))
    raise_all(problems)
    return assignments[-1][1].plain() if assignments else None


def variable_notes(environment: Mapping[str, str] = os.environ) -> tuple[Message, ...]:
    """Return a note for each variable (default: of this process) that looks like a setting but is not one."""
    return tuple(
        Message(
            "config-unknown-variable",
            f"environment {shorten(printable(f'{name}={environment[name]}'))}: not a setting, so it has no effect. "
            f"{variable_hint(name.removeprefix(PREFIX))}",
            key=name,
            received=environment[name],
        )
        for name in sorted(environment)
        if name.startswith(PREFIX) and environment[name] and name not in OTHER_VARIABLES and not _is_setting(name)
    )


def assign(tree: Node, key: str, value: Node) -> Problem | None:
    """Insert a value into a tree, creating groups as needed, or return the reason why it cannot be inserted."""
    *groups, name = key.split(".")
    node = tree
    for depth, group in enumerate(groups):
        if isinstance(node.value, dict):
            node.value.setdefault(group, Node({}, value.origin))
        below = node.child(group)
        if below and below.value is None:
            below.value = {}
        only = PATHS_OF_GROUPS.get(".".join(groups[: depth + 1]))
        if below and only and isinstance(below.value, str):
            below.value = {only: Node(below.value, below.origin)}
        if not below or not isinstance(below.value, dict | list):
            what = f"cannot be set inside {'.'.join(groups[: depth + 1])}, which is not a group"
            return Problem("config-override-misplaced", value.origin, key, what, below.plain() if below else None)
        node = below
    if isinstance(node.value, dict):
        node.value[name] = value
    elif isinstance(node.value, list):
        if not node.child(name):
            what, expected = f"cannot be set in a list of {len(node.value)}", f"a number below {len(node.value)}"
            return Problem("config-override-misplaced", value.origin, key, what, expected=expected)
        node.value[int(name)] = value
    return None


def _is_setting(name: str) -> bool:
    """Return whether a variable is certainly meant as a setting, so that a typo in it is an error."""
    if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
        return False
    word = name.removeprefix(PREFIX).lower()
    return "__" in word or bool(closest(word, Config.model_fields))
