"""Settings that a sweep varies: lists of values, and ranges from which a random search or Optuna draws."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from cnncli.errors import ConfigError, Message, printable

LOG_FROM = 100
"""Ratio of the ends of a range from which on its numbers are drawn uniformly in their logarithm."""
MAX_REPEATED = 1_000
"""Successive draws of known combinations after which no others are expected."""
MAX_REPEATED_TRIALS = 50
"""The same for Optuna, which prefers what was good."""

FIRST_AT_RANDOM = 6
"""Number of Optuna's trials that do not depend on results."""

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_INTEGER = re.compile(r"[-+]?\d+")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both ends are written as such."""

    low: float
    high: float
    is_integer: bool

    def at(self, fraction: float) -> str:
        """Return the number at a fraction (0-1) of the range, with three digits, as text.

        If the ends differ by a factor of 100 or more, the fraction is that of the logarithm.

        >>> Range(1e-4, 1e-2, False).at(0.5), Range(0, 0.9, False).at(0.5), Range(1, 9, True).at(0.5)
        ('0.001', '0.45', '5')
        """
        if self.low > 0 and self.high / self.low >= LOG_FROM:
            value = self.low * math.exp(fraction * math.log(self.high / self.low))
        else:
            value = self.low + fraction * (self.high - self.low)
        value = min(max(round(value) if self.is_integer else float(f"{value:.3g}"), self.low), self.high)
        return str(int(value) if self.is_integer else value)


@dataclass(frozen=True)
class Axis:
    """A setting with its values, as texts; those of a range are its ends."""

    key: str
    values: tuple[str, ...]
    range: Range | None = None

    @property
    def is_varied(self) -> bool:
        """Whether the setting has several values."""
        return len(self.values) > 1

    def draw(self, random: Random) -> str:
        """Return a value at random."""
        fraction = random.random()  # of all methods of Random, the one that no Python version changes
        return self.range.at(fraction) if self.range else self.values[int(fraction * len(self.values))]


def read_axis(text: str) -> Axis:
    """Return the axis of `KEY=VALUE,VALUE` or `KEY=LOW..HIGH`; commas in brackets and quotes do not separate.

    Raises:
        ConfigError: LOW is not below HIGH, or there is a range among other values.
    """
    key, _, values = text.partition("=")
    depth, quote, parts = 0, "", [""]
    for character in values:
        if quote or character in "\"'":
            quote = "" if character == quote else quote or character
        depth += (character in "[{(") - (character in ")}]") if not quote else 0
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return _axis(key.strip(), tuple(dict.fromkeys(part.strip() for part in parts)))


def _axis(key: str, values: tuple[str, ...]) -> Axis:
    ranges = [found for value in values if (found := _RANGE.fullmatch(value))]
    if not ranges:
        return Axis(key, values)
    low, high = ranges[0].groups()
    if len(values) > 1 or float(low) >= float(high):
        raise wrong_range(key, values[0], "a range is the only value, LOW..HIGH, with LOW below HIGH")
    is_integer = all(_INTEGER.fullmatch(end) for end in (low, high))
    return Axis(key, (low, high), Range(float(low), float(high), is_integer))


def all_combinations(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """Return all combinations of values, the last axis varying fastest. Raises ConfigError for a range."""
    for axis in axes:
        if axis.range:
            raise wrong_range(
                axis.key, "..".join(axis.values), "a range needs --random N or --optuna N, the number of draws"
            )
    return list(product(*(axis.values for axis in axes)))


def draw_combinations(axes: Sequence[Axis], n: int, seed: int) -> list[tuple[str, ...]]:
    """Draw n different combinations of values, or all if there are fewer. More draws only add to them.

    >>> draw_combinations([Axis("a", ("1", "2")), Axis("b", ("3",))], 5, seed=0)
    [('2', '3'), ('1', '3')]
    """
    random, repeated, found = Random(seed), 0, dict[tuple[str, ...], None]()
    while len(found) < n and repeated < MAX_REPEATED:
        values = tuple(axis.draw(random) for axis in axes)
        repeated = repeated + 1 if values in found else 0
        found[values] = None
    return list(found)


class Optuna:
    """Combinations of values that Optuna's tree-structured Parzen estimator proposes from the results of those before.

    The proposals depend only on the seed and the results. A search that is repeated with the same results is the same
    search, so that a killed one continues by repeating it with the results that are known.
    """

    def __init__(self, axes: Sequence[Axis], seed: int, lower_is_better: bool) -> None:
        """Create a study. Raises ConfigError if Optuna is not installed."""
        try:
            import optuna
        except ImportError:
            text = "--optuna needs Optuna. Install it with: pip install 'cnncli[sweep]'"
            raise ConfigError(Message("usage-optuna-not-installed", text, key="--optuna")) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST_AT_RANDOM)
        self._axes, self._failed = axes, optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(sampler=sampler, direction="minimize" if lower_is_better else "maximize")
        self._results: dict[tuple[str, ...], float | None] = {}

    def ask(self) -> tuple[str, ...] | None:
        """Return the next combination, which is a new one, or None if there seem to be no others."""
        for _ in range(MAX_REPEATED_TRIALS):
            self._trial = self._study.ask()
            values = tuple(self._suggest(axis) for axis in self._axes)
            if values not in self._results:
                self._values = values
                return values
            self._tell(self._results[values])
        return None

    def tell(self, result: float | None) -> None:
        """Report the result of the last combination, None if it failed."""
        self._results[self._values] = result
        self._tell(result)

    def _suggest(self, axis: Axis) -> str:
        trial: Any = self._trial
        if axis.range:
            return axis.range.at(trial.suggest_float(axis.key, 0.0, 1.0))
        return str(trial.suggest_categorical(axis.key, axis.values))

    def _tell(self, result: float | None) -> None:
        if result is None:
            self._study.tell(self._trial, state=self._failed)
        else:
            self._study.tell(self._trial, result)


def wrong_range(key: str, value: str, problem: str) -> ConfigError:
    """Return the error about a range that cannot be used."""
    text = f"{printable(key)}={printable(value)}: {problem}."
    return ConfigError(Message("usage-sweep-range", text, key=key, received=value))
