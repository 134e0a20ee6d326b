"""The runs of a sweep: a grid of settings and seeds, random settings, and a second search to compare with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cnncli.config.modes import run_name
from cnncli.config.schema import MAX_NAME_LENGTH, Config
from cnncli.config.search import Axis, all_combinations, draw_combinations, read_axis
from cnncli.errors import ConfigError, Message

GRID, RANDOM, OPTUNA = "grid", "random search", "Optuna"
"""Names of searches."""


@dataclass(frozen=True)
class Cell:
    """A run of a sweep.

    Attributes:
        config: Its config, whose name is unique in the sweep.
        values: The values that are varied, as texts.
        search: Name of the search that it belongs to.
    """

    config: Config
    values: tuple[tuple[str, str], ...]
    search: str = GRID

    @property
    def name(self) -> str:
        """Name of the run."""
        return run_name(self.config)

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """The values that are varied, without the seed."""
        return tuple(pair for pair in self.values if pair[0] != "seed")


@dataclass(frozen=True)
class Draw:
    """Draws of a search: their number, and the seed of the draws."""

    n: int
    seed: int = 0


@dataclass(frozen=True)
class Search:
    """The settings that a search varies.

    Attributes:
        read: Function that returns the config with overrides, `KEY=VALUE` texts.
        axes: The settings with their values.
        seeds: Seeds with which each combination of values is trained; none: that of the config.
        name: Name of the search.
    """

    read: Callable[[Sequence[str]], Config]
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...] = ()
    name: str = GRID

    @classmethod
    def of(
        cls, read: Callable[[Sequence[str]], Config], settings: Sequence[str], seeds: Sequence[int], name: str
    ) -> Search:
        """Return the search over settings, `KEY=VALUE,VALUE` or `KEY=LOW..HIGH`. For errors, see `read_axis`."""
        return cls(read, tuple(map(read_axis, settings)), tuple(seeds), name)

    @property
    def first(self) -> tuple[str, ...]:
        """The first value of each setting."""
        return tuple(axis.values[0] for axis in self.axes)

    @cached_property
    def base_name(self) -> str:
        """Name of the runs without the varied values."""
        return run_name(self.read([f"{axis.key}={value}" for axis, value in zip(self.axes, self.first, strict=True)]))

    def cells(self, combinations: Iterable[Sequence[str]]) -> tuple[Cell, ...]:
        """Return the runs of combinations of values, each of them with all seeds.

        Raises:
            ConfigError: All problems of all configs.
        """
        keys = [axis.key for axis in self.axes] + ["seed"] * bool(self.seeds)
        varied = {axis.key for axis in self.axes if axis.is_varied} | ({"seed"} if len(self.seeds) > 1 else set())
        lasts: list[tuple[str, ...]] = [(str(seed),) for seed in self.seeds] or [()]
        base, cells, problems = "run", [], list[Message]()
        try:
            base = self.base_name
        except ConfigError as error:  # reported together with the problems of the other values
            problems += error.problems
        for values in ((*one, *last) for one in combinations for last in lasts):
            pairs = tuple((key, value) for key, value in zip(keys, values, strict=True) if key in varied)
            overrides = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
            try:
                config = self.read([*overrides, f"name={_cell_name(base, pairs)}"])
                cells.append(Cell(config, pairs, self.name))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(_once(problems))
        return tuple(cells)

    def require_valid(self) -> tuple[Cell, ...]:
        """Return runs in which each value occurs, with the first values of the other settings; for errors, see `cells`.

        Combinations that are proposed later can still be contradictory.
        """
        changed: list[tuple[str, ...]] = [
            (*self.first[:place], value, *self.first[place + 1 :])
            for place, axis in enumerate(self.axes)
            for value in axis.values
        ]
        return self.cells(dict.fromkeys(changed or [()]))


def plan_sweep(
    read: Callable[[Sequence[str]], Config],
    settings: Sequence[str],
    seeds: Sequence[int] = (),
    draw: Draw | None = None,
    search: str = GRID,
) -> tuple[Cell, ...]:
    """Return the runs of a grid, the last setting varying fastest, or of random settings, each of them with all seeds.

    Args:
        read: Function that returns the config with overrides, `KEY=VALUE` texts.
        settings: `KEY=VALUE` texts; several values are separated by commas, e.g. `head.pooling=avg,max`. With `draw`,
            also ranges, e.g. `training.optimizer.learning_rate=1e-4..1e-1`.
        seeds: Seeds; none: that of the config.
        draw: Draw combinations of values at random; None: all combinations.
        search: Name of the search.

    Raises:
        ConfigError: All problems of all configs.
    """
    planned = Search.of(read, settings, seeds, search)
    return planned.cells(draw_combinations(planned.axes, draw.n, draw.seed) if draw else all_combinations(planned.axes))


def plan_searches(
    read: Callable[[Sequence[str]], Config],
    settings: Sequence[str],
    against: Sequence[str] = (),
    seeds: Sequence[int] = (),
    draw: Draw | None = None,
) -> tuple[Cell, ...]:
    """Return the runs of a search and of the one to which it is compared, if there is one; see `plan_sweep`."""
    first = RANDOM if draw else GRID
    return (
        *plan_sweep(read, settings, seeds, draw, first),
        *plan_against(read, settings, against, seeds, draw, first),
    )


def plan_against(
    read: Callable[[Sequence[str]], Config],
    settings: Sequence[str],
    against: Sequence[str],
    seeds: Sequence[int],
    draw: Draw | None,
    first: str,
) -> tuple[Cell, ...]:
    """Return the runs of a second search, to which that named `first` is compared; none without settings of its own.

    The settings of the first one that have a single value hold for both. The second one is a random search with as many
    draws if it has a range, else a grid.
    """
    if not against:
        return ()
    axes = {text: read_axis(text) for text in settings}
    fixed = [text for text, axis in axes.items() if not axis.is_varied]
    is_random = any(read_axis(text).range for text in against)
    name = RANDOM if is_random else GRID
    name = f"{name} 2" if name == first else name
    return plan_sweep(read, [*fixed, *against], seeds, draw if is_random else None, name)


def _once(problems: Iterable[Message]) -> list[Message]:
    """Return each problem once; that of an unknown key for the first of its values only."""
    found: dict[object, Message] = {}
    for problem in problems:
        found.setdefault(problem.facts["key"] if problem.code == "config-unknown-key" else problem, problem)
    return [*found.values()]


def _cell_name(base: str, values: Sequence[tuple[str, str]]) -> str:
    """Return a name made of the varied values, with a digest of them if it does not contain them exactly."""
    parts = [base]
    for key, value in values:
        word = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(value).name if "/" in value else value).strip("_")
        parts.append(f"{key.rpartition('.')[2]}-{word}")
    name = "-".join(parts)
    if len(name) <= MAX_NAME_LENGTH and all(re.fullmatch(r"[A-Za-z0-9._-]+", value) for _, value in values):
        return name
    digest = hashlib.sha256(repr(values).encode()).hexdigest()[:6]
    return f"{name[: MAX_NAME_LENGTH - 7]}-{digest}"
