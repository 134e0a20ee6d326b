"""`cnncli sweep`: train a grid of settings and seeds, or random ones, and compare the runs."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from cnncli.config.modes import metrics_of, run_name
from cnncli.config.reader import load_resolved
from cnncli.config.schema import MAX_NAME_LENGTH, Config
from cnncli.config.search import all_combinations, draw_combinations, read_axis
from cnncli.config.writer import differences
from cnncli.errors import CnncliError, ConfigError, Message, printable
from cnncli.metrics.table import EVALUATED, METRICS, TEST, VALIDATION
from cnncli.recipes.compare import (
    ComparedRun,
    Comparison,
    available_metrics,
    compare_runs,
    default_metric,
    load_runs,
    metric_of,
    require_metric,
    split_of,
)
from cnncli.recipes.resume import resume, with_batch_size_of
from cnncli.recipes.train import train
from cnncli.report.comparison import Point, Published, draw_best_so_far
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.storage.atomic import output_path
from cnncli.terminal.console import Console

GRID, RANDOM = "grid", "random search"
TRIALS = "trials"
"""Horizontal axis: the number of settings that have been tried."""

log = logging.getLogger(__name__)


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
    """Draws of a random search: their number, and the seed of the draws."""

    n: int
    seed: int = 0


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
    axes = [read_axis(text) for text in settings]
    combinations = draw_combinations(axes, draw.n, draw.seed) if draw else all_combinations(axes)
    base = run_name(read([f"{axis.key}={axis.values[0]}" for axis in axes]))
    keys = [axis.key for axis in axes] + ["seed"] * bool(seeds)
    varied = {axis.key for axis in axes if axis.is_varied} | ({"seed"} if len(seeds) > 1 else set())
    cells, problems = [], dict[Message, None]()
    for values in ((*one, *last) for one in combinations for last in (zip(map(str, seeds)) if seeds else [()])):
        pairs = tuple((key, value) for key, value in zip(keys, values, strict=True) if key in varied)
        overrides = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
        try:
            cells.append(Cell(read([*overrides, f"name={_cell_name(base, pairs)}"]), pairs, search))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(cells)


def plan_searches(
    read: Callable[[Sequence[str]], Config],
    settings: Sequence[str],
    against: Sequence[str] = (),
    seeds: Sequence[int] = (),
    draw: Draw | None = None,
) -> tuple[Cell, ...]:
    """Return the runs of a search and of the one to which it is compared, if there is one; see `plan_sweep`.

    The settings of the first one that have a single value hold for both. The second one is a random search with as many
    draws if it has a range, else a grid.
    """
    cells = plan_sweep(read, settings, seeds, draw, RANDOM if draw else GRID)
    if not against:
        return cells
    axes = {text: read_axis(text) for text in settings}
    fixed = [text for text, axis in axes.items() if not axis.is_varied]
    is_random = any(read_axis(text).range for text in against)
    names = (f"{RANDOM} 2" if draw else RANDOM) if is_random else (GRID if draw else f"{GRID} 2")
    return (*cells, *plan_sweep(read, [*fixed, *against], seeds, draw if is_random else None, names))


@dataclass(frozen=True)
class Sweep:
    """The compared runs of a sweep.

    Attributes:
        comparison: The comparison that is shown.
        chosen: Names of the runs with the best settings; empty without validation images.
        problems: Problems of failed runs.
        monitor: Metric by which settings are compared: of validation or, without validation images, of training.
        searches: For each search, if there are several or random ones, the best settings after each trial.
        document: The comparison in the document for JSON.
    """

    comparison: Comparison
    chosen: frozenset[str]
    problems: tuple[Message, ...]
    monitor: str
    document: Comparison
    searches: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `sweep --json`."""
        best = {name: [point.value for point in points] for name, points in self.searches.items()}
        searches = {"best_so_far": best} if best else {}
        return {**self.document.to_dict(), "chosen": sorted(self.chosen), **searches}


def sweep(
    cells: Sequence[Cell],
    runs_dir: Path,
    console: Console,
    out: Path | None = None,
    metric: str | None = None,
    x: str | None = None,
    published: Sequence[Published] = (),
) -> Sweep:
    """Train the runs of a sweep one after another, choose the best settings, and compare the runs.

    A finished run of the same name and settings in `runs_dir` is used, and an unfinished one is resumed. A run that
    fails does not stop the others. Test results of settings that were not chosen are left out. Without validation
    images nothing is chosen, and the comparison has test results only if `metric` is one of them.

    Args:
        cells: The runs, from `plan_sweep` or `plan_searches`.
        runs_dir: Folder of the runs.
        console: Console for progress.
        out: PNG to write; None: no figure.
        metric: Metric that is compared; default: see `default_metric`.
        x: Horizontal axis of the figure, see `compare`, or `trials` for the best settings so far; default: `trials` for
            a random search or several searches, else `epoch`.
        published: Published values of the metric.

    Raises:
        CnncliError: All runs failed, or `out`, `metric` or `x` cannot be used; see `compare`.
    """
    path = None if out is None else output_path(out, (".png",))
    _require_possible(metric, cells)
    searches = tuple(dict.fromkeys(cell.search for cell in cells))
    x = x or (TRIALS if searches != (GRID,) else "epoch")
    folders, problems = _train_all(cells, runs_dir, console)
    if not folders:
        raise CnncliError(problems)
    runs = load_runs(folders)
    metric = metric or default_metric(runs)
    require_metric(metric, available_metrics(runs))
    monitor = (VALIDATION if any(run.has_validation for run in runs) else "") + split_of(metric)[1]
    chosen = choose(cells, runs, monitor) if monitor.startswith(VALIDATION) else frozenset[str]()
    show_tests = not chosen and metric.startswith(TEST)
    shown = tuple(run if show_tests or run.name in chosen else run.untested() for run in runs)
    comparison = compare_runs(shown, None if x == TRIALS else path, metric, "epoch" if x == TRIALS else x, published)
    tried = {name: best_so_far([cell for cell in cells if cell.search == name], runs, monitor) for name in searches}
    if x == TRIALS and path is not None:
        draw_best_so_far(tried, published, metric_of(monitor), monitor, path)
        comparison = replace(comparison, figure=path)
    document = comparison if chosen else replace(comparison, runs=runs)
    is_search = x == TRIALS or searches != (GRID,)
    return Sweep(comparison, chosen, problems, monitor, document, tried if is_search else {})


def _require_possible(metric: str | None, cells: Iterable[Cell]) -> None:
    """Raise ConfigError before the training if none of the runs will have the metric."""
    if metric is not None:
        names = dict.fromkeys([*METRICS, *(name for cell in cells for name in metrics_of(cell.config)), *EVALUATED])
        if split_of(metric)[1] not in names:
            require_metric(metric, [prefix + name for prefix in (VALIDATION, TEST, "") for name in names])


def _train_all(cells: Sequence[Cell], runs_dir: Path, console: Console) -> tuple[list[RunFolder], tuple[Message, ...]]:
    """Return the folders of the trained, found and failed runs, and the problems of those that failed."""
    folders, problems = dict[Path, RunFolder](), dict[Message, None]()
    for number, cell in enumerate(cells, start=1):
        console.phase("sweep", f"{number} of {len(cells)}: {cell.name}")
        try:
            found = [_train(cell, runs_dir, console)]
        except CnncliError as error:
            problems |= dict.fromkeys(error.problems)
            found = list(filter(None, [_find(cell, runs_dir)]))
        folders |= {folder.path: folder for folder in found}  # two searches can try the same settings
    return list(folders.values()), tuple(problems)


def choose(cells: Iterable[Cell], runs: Iterable[ComparedRun], metric: str) -> frozenset[str]:
    """Return the names of the runs, one per seed, whose settings have the best mean of a metric.

    Returns an empty set if no run has that metric.
    """
    groups = _values(cells, runs, metric)
    best = _best([one for one in groups.values() if one], metric)
    return frozenset(best or ())


def best_so_far(cells: Iterable[Cell], runs: Iterable[ComparedRun], metric: str) -> tuple[Point, ...]:
    """Return the best mean of a metric over the seeds after each trial, with the extremes of those seeds.

    Trials that failed count; the first points are missing if they have no value.
    """
    tried: list[Mapping[str, float]] = []
    points = []
    for number, values in enumerate(_values(cells, runs, metric).values(), start=1):
        tried += [values] if values else []
        if best := _best(tried, metric):
            points.append(Point(number, fmean(best.values()), min(best.values()), max(best.values())))
    return tuple(points)


def _values(
    cells: Iterable[Cell], runs: Iterable[ComparedRun], metric: str
) -> dict[tuple[tuple[str, str], ...], dict[str, float]]:
    """Return the values of a metric by settings and name of the run; empty for settings whose runs failed."""
    by_name = {run.name: run for run in runs}
    groups: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for cell in cells:
        group = groups.setdefault(cell.settings, {})
        value = by_name[cell.name].final(metric) if cell.name in by_name else None
        if value is not None:
            group[cell.name] = value
    return groups


def _best(groups: Sequence[Mapping[str, float]], metric: str) -> Mapping[str, float] | None:
    """Return the first of the groups with the best mean, or None if there is none."""
    sign = -1 if metric_of(metric).lower_is_better else 1
    return max(groups, key=lambda values: sign * fmean(values.values()), default=None)


def _train(cell: Cell, runs_dir: Path, console: Console) -> RunFolder:
    run = _find(cell, runs_dir)
    if run is None:
        return train(cell.config, runs_dir, console, is_trial=True).folder
    if (state := run.read_facts()["state"]) in ("finished", "failed"):
        text = f"{printable(run.path.name)} exists ({state}); it is not trained again."
        log.info(Message("run-exists", text, path=run.path, received=state))
        return run
    return resume(run, console).folder


def _find(cell: Cell, runs_dir: Path) -> RunFolder | None:
    """Return the newest run of a cell, preferably a finished one, or None."""
    found: dict[str, RunFolder] = {}
    for run in run_folders(runs_dir):
        try:
            facts = run.read_facts()
            if facts.get("name") != cell.name or facts.get("parent"):
                continue
            other = load_resolved(run.config)
        except CnncliError:
            continue
        if not differences(other, with_batch_size_of(other, cell.config)):
            found[facts["state"]] = run
    return found.pop("finished", None) or next(reversed(found.values()), None)


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
