"""Select and sort runs by their facts, results and settings: `test.accuracy>0.95`, `backbone=ResNet50`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cnncli.config.fields import kinds_of, settings_by_key
from cnncli.config.reader import load_resolved
from cnncli.config.tree import Origin
from cnncli.config.writer import plain_settings
from cnncli.config.yaml_document import parse
from cnncli.errors import CnncliError, Message, printable
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import RunSummary
from cnncli.runs.results import RunResults
from cnncli.terminal.suggestions import did_you_mean

_CONDITION = re.compile(r"\s*([A-Za-z][\w.-]*)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_NUMBER, _TEXT = "a number", "text"
_KINDS = {int: _NUMBER, float: _NUMBER, str: _TEXT, bool: "true or false", list: "a list", dict: "a group of settings"}
_EXAMPLES = {int: 0, float: 0.0, str: "", Path: "", bool: False, tuple: [], dict: {}}
_FACTS = ("name", "state", "created", "parent", "mode", "backbone", "seconds")
_MORE_FACTS = ("engine", "precision", "best_epoch", "finished", "cnncli")


@dataclass(frozen=True)
class Condition:
    """A comparison of a key with a value, such as `test.accuracy>0.95`."""

    key: str
    operator: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition of a text. Raises CnncliError."""
        if (match := _CONDITION.fullmatch(text)) is None:
            what = f"{printable(text)}: not a condition. Write KEY=VALUE, or another of = != < <= > >=,"
            example = "as in test.accuracy>0.95 (quoted, since a shell reads > otherwise)."
            raise CnncliError(Message("usage-where", f"{what} {example}", received=text))
        key, sign, value = match.groups()
        return cls(key, sign, value)

    def holds(self, value: Any) -> bool:
        """Return whether a run's value fulfills the condition.

        Numbers are compared as numbers, text without case, and lists item by item.
        """
        own = self._own(value)
        if self.operator in ("=", "!="):
            return _is_equal(value, own) == (self.operator == "=")
        return self._is_comparable(value) and _ORDER[self.operator](value, own)

    def require_comparable(self, values: Sequence[Any]) -> None:
        """Check that the condition fits the values of the runs, or other values of the setting. Raises CnncliError."""
        found = [value for value in [*values, *self._examples()] if value is not None]
        if not found or any(map(self._is_comparable, found)):
            return
        kind, example = _kind(found[0]), json.dumps(found[0], ensure_ascii=False)
        text = f"{self.key}{self.operator}{self.text}: cannot be compared; {self.key} is {kind}, such as {example}"
        raise CnncliError(
            Message("usage-where-value", printable(text), key=self.key, received=self.text, expected=kind)
        )

    def _own(self, value: Any) -> Any:
        """Return the text of the condition as a value to compare with that of a run."""
        if isinstance(value, str):
            return self.text
        if isinstance(value, list | dict):
            node, problems = parse(self.text, lambda _: Origin("", Path()))
            return self.text if node is None or problems else node.plain()
        return parse_value(self.text)

    def _is_comparable(self, value: Any) -> bool:
        own = self._own(value)
        if self.operator in ("=", "!="):
            return own is None or _kind(own) == _kind(value)
        return _kind(own) == _kind(value) and _kind(own) in (_NUMBER, _TEXT)

    def _examples(self) -> Iterator[Any]:
        """Yield a value of each kind that the setting accepts; of fixed words, only the one in the condition."""
        for kind in sorted(kinds_of(self.key), key=str):
            if get_origin(kind) is Literal:
                yield from (word for word in get_args(kind) if str(word).casefold() == self.text.casefold())
            else:
                yield _EXAMPLES.get(get_origin(kind) or kind)


def _is_equal(value: Any, own: Any) -> bool:
    if isinstance(value, list) and isinstance(own, list):
        return len(value) == len(own) and all(map(_is_equal, value, own))
    if isinstance(value, str) and isinstance(own, str):
        return value.casefold() == own.casefold()
    return _kind(value) == _kind(own) and bool(value == own)


def _kind(value: Any) -> str:
    """Return the kind of a value in words; values of different kinds are not equal."""
    return _KINDS.get(type(value), "null")


def parse_value(text: str) -> str | float | bool | None:
    """Return the value of a text: a number, a percentage as a fraction, true, false, null, or the text itself.

    >>> parse_value("0.95"), parse_value("95 %"), parse_value("true"), parse_value("ResNet50")
    (0.95, 0.95, True, 'ResNet50')
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    number = text.removesuffix("%").rstrip()
    with suppress(ValueError):
        return float(number) / 100 if number != text else float(number)
    return text


class QueriedRun:
    """A run with the values that a condition can name."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """Facts, results as `SPLIT.METRIC`, and settings by dotted key; of a broken run, those that can be read."""
        facts: Mapping[str, Any] = {}
        settings: Mapping[str, Any] = {}
        folder = RunFolder(self.summary.path)
        with suppress(CnncliError):
            facts = folder.read_facts()
        with suppress(CnncliError):
            settings = plain_settings(load_resolved(folder.config))
        more = {name: facts[name] for name in _MORE_FACTS if facts.get(name) is not None}
        own = {name: getattr(self.summary, name) for name in _FACTS}
        return {**settings, **more, **_results(facts), **own, "name": facts.get("name"), "run": self.summary.name}


def _results(facts: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for split, summary in (facts.get("metrics") or {}).items():
        numbers = {name: value for name, value in summary.items() if _is_number(value)}
        if "top1" in numbers:
            numbers["accuracy"] = numbers["top1"]
        found |= {f"{split}.{name}": value for name, value in numbers.items()}
    return found


def select(runs: Sequence[RunSummary], where: Sequence[str], sort: str | None) -> tuple[RunSummary, ...]:
    """Return the runs that fulfill all conditions, in their order or sorted by a key, those without a value last.

    Args:
        runs: The runs.
        where: Conditions, such as `test.accuracy>0.95`.
        sort: A key; with a hyphen in front, the largest value comes first.

    Raises:
        CnncliError: All texts that are no conditions, all keys that neither a run nor a config has, and all values that
            cannot be compared with those of the runs.
    """
    problems: list[Message] = []
    conditions = []
    for text in where:
        try:
            conditions.append(Condition.parse(text))
        except CnncliError as error:
            problems += error.problems
    queried = [QueriedRun(run) for run in runs]
    key = None if sort is None else sort.removeprefix("-")
    known = {name for run in queried for name in run.values} | {"run", *_FACTS, *_MORE_FACTS, *settings_by_key()}
    for name in [*(one.key for one in conditions), *([] if key is None else [key])]:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or "Use a setting, a fact such as state, or SPLIT.METRIC."
            text = f"{printable(name)}: no run has this, and it is no setting. {hint}"
            problems.append(Message("usage-where-key", text, received=name))
    for one in conditions:
        try:
            one.require_comparable([run.values.get(one.key) for run in queried])
        except CnncliError as error:
            problems += error.problems
    if problems:
        raise CnncliError(problems)
    chosen = [run for run in queried if all(one.holds(run.values.get(one.key)) for one in conditions)]
    return tuple(run.summary for run in (chosen if key is None else _sorted(chosen, key, is_falling=sort != key)))


def mixed_definitions(runs: Sequence[RunSummary], sort: str) -> Message | None:
    """Return a warning if runs compute the metric by which they are sorted in different ways, else None."""
    split, _, name = sort.removeprefix("-").rpartition(".")
    found: dict[str, list[str]] = {}
    for run in runs:
        with suppress(CnncliError):
            results = RunResults.load(RunFolder(run.path))
            if name in results.summary(split):
                found.setdefault(results.definition(name), []).append(run.name)
    if len(found) < 2:
        return None
    listed = "; ".join(f"{how or 'unknown'}: {len(names):,}" for how, names in found.items())
    text = f"{name} has different definitions in these runs, so their order means nothing ({listed})"
    return Message("run-metrics-differ", printable(text), key=sort, received=found)


def _sorted(runs: Sequence[QueriedRun], key: str, is_falling: bool) -> list[QueriedRun]:
    with_value = [run for run in runs if run.values.get(key) is not None]
    without = [run for run in runs if run.values.get(key) is None]

    def place(run: QueriedRun) -> tuple[bool, Any]:
        value = run.values[key]
        return (False, value) if _is_number(value) else (True, str(value).casefold())

    return [*sorted(with_value, key=place, reverse=is_falling), *without]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
