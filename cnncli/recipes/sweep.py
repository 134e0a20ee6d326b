"""`cnncli sweep`: train a grid of settings and seeds, random ones or those that Optuna proposes, and compare the runs.

Heads that are solved exactly are only tried, on cached features and without runs; those with the best settings are then
trained as runs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from cnncli.config.modes import metrics_of
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.search import Optuna
from cnncli.config.sweep_plan import GRID, Cell, Draw, Search
from cnncli.config.writer import differences
from cnncli.dataset.build import index_images
from cnncli.dataset.labels.source import count_classes
from cnncli.errors import CnncliError, ConfigError, Message, printable
from cnncli.evaluation.lead import ImageResults, Lead, measure_lead
from cnncli.evaluation.predictions import read_predictions
from cnncli.metrics.table import EVALUATED, METRICS, TEST, VALIDATION, metric_of, split_of
from cnncli.recipes.compare import Comparison, compare_runs
from cnncli.recipes.resume import resume, with_batch_size_of
from cnncli.recipes.train import train
from cnncli.report.comparison import Point, Published, draw_best_so_far
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.runs.results import (
    RunResults,
    available_metrics,
    default_metric,
    require_comparable,
    require_metric,
    why_not_comparable,
)
from cnncli.storage.atomic import output_path
from cnncli.terminal.console import Console
from cnncli.training.head_trials import HeadTrials
from cnncli.training.machines import HERE, Machines

TrainRun = Callable[[Config, Path, Machines], None]
TrainElsewhere = Callable[[Mapping[str, Config], Path, str, bool, TrainRun], frozenset[str]]
"""Trains runs by name in a folder, given the metric to compare them by, whether lower is better, and a function that
trains or resumes one of them; returns the names of those that were stopped early."""

TRIALS = "trials"
"""Horizontal axis: the number of settings that have been tried."""

log = logging.getLogger(__name__)


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
        lead: The chosen settings against the others on validation images; None if they cannot be compared.
        n_tied: Number of other settings that are exactly as good; the chosen ones are the first of them.
    """

    comparison: Comparison
    chosen: frozenset[str]
    problems: tuple[Message, ...]
    monitor: str
    document: Comparison
    searches: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    lead: Lead | None = None
    n_tied: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `sweep --json`."""
        best = {name: [point.value for point in points] for name, points in self.searches.items()}
        searches = {"best_so_far": best} if best else {}
        choice = {"chosen": sorted(self.chosen), "n_tied": self.n_tied, "lead": self.lead}
        return {**self.document.to_dict(), **choice, **searches}


def sweep(
    cells: Sequence[Cell],
    runs_dir: Path,
    console: Console,
    out: Path | None = None,
    metric: str | None = None,
    x: str | None = None,
    published: Sequence[Published] = (),
    proposals: tuple[Search, Draw] | None = None,
    train_elsewhere: TrainElsewhere | None = None,
) -> Sweep:
    """Train the runs of a sweep one after another, choose the best settings, and compare the runs.

    A finished run of the same name and settings in `runs_dir` is used, and an unfinished one is resumed. A head that is
    solved exactly is only tried, if there are validation images, and trained as a run if it is chosen. A run that fails
    does not stop the others. Test results of settings that were not chosen are left out. Without validation
    images nothing is chosen, and the comparison has test results only if `metric` is one of them. If it turns out after
    the training that the runs compute the metric in different ways, nothing is chosen or drawn, with a warning.

    Args:
        cells: The runs, from `plan_sweep` or `plan_searches`.
        runs_dir: Folder of the runs.
        console: Console for progress.
        out: PNG to write; None: no figure.
        metric: Metric that is compared; default: see `default_metric`.
        x: Horizontal axis of the figure, see `compare`, or `trials` for the best settings so far; default: `trials` for
            a random search or several searches, else `epoch`.
        published: Published values of the metric.
        proposals: A search whose runs Optuna proposes, before those of `cells`, and the number of its trials.
        train_elsewhere: Trains the runs of `cells` that have epochs on other machines, before this process goes through
            all of them. Runs that it stops early are not trained further.

    Raises:
        ConfigError: Values of `proposals` are wrong, it has no validation images, or Optuna is not installed.
        CnncliError: All runs failed, or `out`, `metric` or `x` cannot be used; see `compare`.
    """
    path = None if out is None else output_path(out, (".png",))
    _require_possible(metric, [*cells, *(proposals[0].require_valid() if proposals else ())])
    trials = Trials(runs_dir, console)
    if proposals:
        cells = (*trials.propose(*proposals, VALIDATION + split_of(metric or "accuracy")[1]), *cells)
    searches = tuple(dict.fromkeys(cell.search for cell in cells))
    x = x or (TRIALS if searches != (GRID,) else "epoch")
    if train_elsewhere:
        trials.train_elsewhere(cells, train_elsewhere, VALIDATION + split_of(metric or "accuracy")[1])
    trials.try_all(cells)
    runs = tuple(trials.runs.values())
    if not runs:
        raise CnncliError(tuple(trials.problems))
    metric = metric or default_metric(runs)
    difference = _check_metric(metric, runs)
    path = None if difference else path
    monitor = (VALIDATION if any(run.has_validation for run in runs) else "") + split_of(metric)[1]
    can_choose = monitor.startswith(VALIDATION) and not difference
    chosen = choose(cells, runs, monitor) if can_choose else frozenset[str]()
    n_tied = count_ties(cells, runs, monitor) if chosen else 0
    lead = trials.measure_lead(cells, chosen)
    trials.train_tried(cell for cell in cells if cell.name in chosen)
    runs = tuple(trials.runs.values())
    show_tests = not chosen and not difference and metric.startswith(TEST)
    shown = tuple(run if show_tests or run.name in chosen else run.untested() for run in runs)
    comparison = compare_runs(shown, None if x == TRIALS else path, metric, "epoch" if x == TRIALS else x, published)
    compared = () if difference else searches
    tried = {name: best_so_far([cell for cell in cells if cell.search == name], runs, monitor) for name in compared}
    if x == TRIALS and path is not None:
        draw_best_so_far(tried, published, metric_of(monitor), monitor, path)
        comparison = replace(comparison, figure=path)
    document = comparison if chosen else replace(comparison, runs=runs)
    is_search = x == TRIALS or searches != (GRID,)
    tried = tried if is_search else {}
    return Sweep(comparison, chosen, tuple(trials.problems), monitor, document, tried, lead, n_tied)


def _check_metric(metric: str, runs: Sequence[RunResults]) -> str:
    """Return how the runs differ in computing a metric, after a warning; empty if they do not.

    Raises:
        CnncliError: The metric is unknown.
    """
    if difference := why_not_comparable(metric, runs):
        text = f"The runs compute {metric} in different ways ({difference}). Nothing is chosen, and no figure is drawn."
        log.warning(Message("usage-metric-not-comparable", text, received=metric, reason=difference))
    else:
        require_metric(metric, available_metrics(runs))
    return difference


def _require_possible(metric: str | None, cells: Sequence[Cell]) -> None:
    """Raise ConfigError before the training if none of the runs will have the metric, or they cannot be compared."""
    if metric is not None:
        runs = [RunResults(None, cell.name, {}, cell.config, ()) for cell in cells]
        require_comparable(metric, runs)
        require_comparable(metric, _with_classes(runs, split_of(metric)[1]))
        names = dict.fromkeys([*METRICS, *(name for cell in cells for name in metrics_of(cell.config)), *EVALUATED])
        if split_of(metric)[1] not in names:
            require_metric(metric, [prefix + name for prefix in (VALIDATION, TEST, "") for name in names])


def _with_classes(runs: Sequence[RunResults], name: str) -> list[RunResults]:
    """Return planned runs with the number of classes of their images, if they compute a metric depending on it."""
    counts: dict[str, int | None] = {}
    found = []
    for run in runs:
        data, n_classes = run.config.data, None
        if len({replace(run, n_classes=n).definition(name) for n in (2, 3)}) > 1:
            key = data.model_dump_json(include={"path", "labels", "groups", "color"})
            if key not in counts:
                counts[key] = None
                with suppress(CnncliError):  # reported when the images are indexed
                    counts[key] = count_classes(data)
            n_classes = counts[key]
        found.append(replace(run, n_classes=n_classes))
    return found


class Trials:
    """Trains or tries the runs of a sweep.

    Attributes:
        runs: Results of the runs that did not fail, or that failed after they were created, by name.
        problems: Problems of those that failed.
    """

    def __init__(self, runs_dir: Path, console: Console, machines: Machines = HERE) -> None:
        """Find the runs in a folder."""
        self._runs_dir, self._console, self._machines = runs_dir, console, machines
        self._stopped = frozenset[str]()
        self._heads = HeadTrials(runs_dir, lambda config: index_images(config, console), console)
        self._known = _runs_by_name(runs_dir)
        self.runs: dict[str, RunResults] = {}
        self.problems: dict[Message, None] = {}
        self._done: set[str] = set()
        self._on_images: dict[str, ImageResults] = {}

    def try_all(self, cells: Sequence[Cell]) -> None:
        """Train or try runs one after another, each name once: two searches can try the same settings."""
        for number, cell in enumerate(cells, start=1):
            if cell.name not in self._done:
                self._console.phase("sweep", f"{number} of {len(cells)}: {cell.name}")
                self._run(cell, self._try)

    def train_elsewhere(self, cells: Sequence[Cell], train_all: TrainElsewhere, monitor: str) -> None:
        """Train the runs that have epochs on other machines."""
        configs = {cell.name: cell.config for cell in cells if cell.config.training.solver == "gradient"}
        if configs:
            self._console.phase("sweep", f"{len(configs)} of {len(cells)} runs are trained on the cluster")
            self._stopped = train_all(
                configs, self._runs_dir, monitor, metric_of(monitor).lower_is_better, train_or_resume
            )
            self._known = _runs_by_name(self._runs_dir)

    def measure_lead(self, cells: Iterable[Cell], chosen: frozenset[str]) -> Lead | None:
        """Compare the chosen settings with the others on validation images; None if nothing is chosen."""
        settings: dict[tuple[tuple[str, str], ...], dict[str, ImageResults]] = {}
        for cell in cells:
            if (found := self._results_of(cell.name)) is not None:
                settings.setdefault(cell.settings, {})[cell.name] = found
        best = [runs for runs in settings.values() if chosen & runs.keys()]
        others = [runs for runs in settings.values() if not chosen & runs.keys()]
        return measure_lead(list(best[0].values()), others) if best else None

    def _results_of(self, name: str) -> ImageResults | None:
        """Return which validation images a run or a tried head gets right; None if there is no readable record."""
        run = self.runs.get(name)
        if name not in self._on_images and run and run.folder and run.folder.predictions.is_file():
            with suppress(CnncliError):  # a damaged file
                images = [one for one in read_predictions(run.folder.predictions) if one.split == "validation"]
                self._on_images[name] = ImageResults.of_predictions(images)
        return self._on_images.get(name)

    def train_tried(self, cells: Iterable[Cell]) -> None:
        """Train runs whose heads were only tried."""
        for cell in cells:
            if (run := self.runs.get(cell.name)) is not None and run.folder is None:
                self._console.phase("sweep", f"chosen: {cell.name}")
                self._run(cell, partial(self._train, is_trial=False))

    def propose(self, search: Search, draw: Draw, monitor: str) -> tuple[Cell, ...]:
        """Train or try the runs that Optuna proposes by the mean of a monitored metric over their seeds.

        Raises:
            ConfigError: Optuna is not installed, or there are no validation images.
        """
        study, cells = Optuna(search.axes, draw.seed, metric_of(monitor).lower_is_better), dict[str, Cell]()
        for number in range(1, draw.n + 1):
            if (values := study.ask()) is None:
                break
            try:
                proposed = search.cells([values])
            except ConfigError as error:
                self.problems |= dict.fromkeys(error.problems)
                study.tell(None)
                continue
            for cell in proposed:
                self._console.phase("sweep", f"trial {number} of {draw.n}: {cell.name}")
                self._run(cell, self._try)
            cells |= {cell.name: cell for cell in proposed}
            found = [run for cell in proposed if (run := self.runs.get(cell.name))]
            if any(run.history and not run.has_validation for run in found):
                text = "Optuna chooses settings by validation images, but there are none. Use --random N, or add some."
                raise ConfigError(Message("usage-optuna-without-validation", text, key="--optuna"))
            results = [result for run in found if (result := run.final(monitor)) is not None]
            study.tell(fmean(results) if len(results) == len(proposed) else None)
        return tuple(cells.values())

    def _run(self, cell: Cell, run: Callable[[Cell], RunResults]) -> None:
        self._done.add(cell.name)
        try:
            self.runs[cell.name] = run(cell)
        except CnncliError as error:
            self.problems |= dict.fromkeys(error.problems)
            self._known = _runs_by_name(self._runs_dir)
            if (failed := self._find(cell)) is not None:
                self.runs[cell.name] = RunResults.load(failed)

    def _try(self, cell: Cell) -> RunResults:
        """Return the result of a cell's head if it is solved exactly, or else its run."""
        if cell.config.training.solver == "exact" and self._find(cell) is None:
            trial = self._heads.measure(cell.config)
            if trial is not None:
                metrics = {"validation": trial.validation}
                facts = {"name": cell.name, "best_epoch": 1, "seconds": trial.seconds, "metrics": metrics}
                self._on_images[cell.name] = ImageResults.of_mistakes(trial.images, trial.wrong)
                return RunResults(None, cell.name, facts, cell.config, (trial.row,), trial.n_classes)
        return self._train(cell)

    def _train(self, cell: Cell, is_trial: bool = True) -> RunResults:
        run = self._find(cell)
        if run is None:
            options: dict[str, Any] = {"is_trial": is_trial, "machines": self._machines}
            return RunResults.load(train(cell.config, self._runs_dir, self._console, **options).folder)
        if cell.name in self._stopped:
            return RunResults.load(run)
        if (state := run.read_facts()["state"]) not in ("finished", "failed"):
            return RunResults.load(resume(run, self._console, machines=self._machines).folder)
        text = f"{printable(run.path.name)} exists ({state}); it is not trained again."
        log.info(Message("run-exists", text, path=run.path, received=state))
        return RunResults.load(run)

    def _find(self, cell: Cell) -> RunFolder | None:
        """Return the newest run of a cell, preferably a finished one, or None."""
        found: dict[str, RunFolder] = {}
        for run, state in self._known.get(cell.name, ()):
            with suppress(CnncliError):
                other = load_resolved(run.config)
                if not differences(other, with_batch_size_of(other, cell.config)):
                    found[state] = run
        return found.pop("finished", None) or next(reversed(found.values()), None)


def train_or_resume(config: Config, runs_dir: Path, machines: Machines) -> None:
    """Train the run of a sweep with a config, resume it if it is unfinished, or leave it if it is finished."""
    Trials(runs_dir, Console(quiet=True), machines)._train(Cell(config, ()))


def _runs_by_name(runs_dir: Path) -> dict[str, list[tuple[RunFolder, str]]]:
    """Return the runs without parents, the oldest first, with their states, by name."""
    found: dict[str, list[tuple[RunFolder, str]]] = {}
    for run in run_folders(runs_dir):
        with suppress(CnncliError):
            facts = run.read_facts()
            if not facts.get("parent"):
                found.setdefault(facts.get("name") or "", []).append((run, facts["state"]))
    return found


def choose(cells: Iterable[Cell], runs: Iterable[RunResults], metric: str) -> frozenset[str]:
    """Return the names of the runs, one per seed, whose settings have the best mean of a metric.

    Returns an empty set if no run has that metric.
    """
    groups = _values(cells, runs, metric)
    best = _best([one for one in groups.values() if one], metric)
    return frozenset(best or ())


def count_ties(cells: Iterable[Cell], runs: Iterable[RunResults], metric: str) -> int:
    """Return the number of settings whose mean of a metric equals that of the chosen ones."""
    ranks = _ranks([one for one in _values(cells, runs, metric).values() if one], metric)
    return ranks.count(max(ranks)) - 1 if ranks else 0


def best_so_far(cells: Iterable[Cell], runs: Iterable[RunResults], metric: str) -> tuple[Point, ...]:
    """Return the best mean of a metric over the seeds after each trial, with the extremes of those seeds.

    Trials that failed count; the first points are missing if they have no value. Settings with which some seeds failed
    have one only if there are no others, so that the best value never gets worse.
    """
    groups = _values(cells, runs, metric).values()
    has_complete = any(_is_complete(values) for values in groups)
    tried: list[Mapping[str, float]] = []
    points = []
    for number, values in enumerate(groups, start=1):
        tried += [values] if values and (_is_complete(values) or not has_complete) else []
        if best := _best(tried, metric):
            points.append(Point(number, fmean(best.values()), min(best.values()), max(best.values())))
    return tuple(points)


def _values(
    cells: Iterable[Cell], runs: Iterable[RunResults], metric: str
) -> dict[tuple[tuple[str, str], ...], dict[str, float]]:
    """Return the values of a metric by settings and name of the run, NaN for a run that failed or was stopped.

    They are empty if all runs of the settings failed.
    """
    by_name = {run.name: run for run in runs}
    groups: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for cell in cells:
        value = by_name[cell.name].final(metric) if cell.name in by_name else None
        groups.setdefault(cell.settings, {})[cell.name] = math.nan if value is None else value
    return {settings: {} if all(map(math.isnan, one.values())) else one for settings, one in groups.items()}


def _best(groups: Sequence[Mapping[str, float]], metric: str) -> Mapping[str, float] | None:
    """Return the values of the first of the groups with the best mean, or None if there is none.

    Settings with which a run failed are not as good as its other seeds: they are chosen only if all settings are such.
    """
    ranks = _ranks(groups, metric)
    return _finished(groups[ranks.index(max(ranks))]) if ranks else None


def _ranks(groups: Sequence[Mapping[str, float]], metric: str) -> list[tuple[bool, float]]:
    """Return what grows with the quality of some settings: whether no run failed, and their mean or its negative."""
    sign = -1 if metric_of(metric).lower_is_better else 1
    return [(_is_complete(values), sign * fmean(_finished(values).values())) for values in groups]


def _finished(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _is_complete(values: Mapping[str, float]) -> bool:
    """Return whether no run of some settings failed."""
    return bool(values) and not any(map(math.isnan, values.values()))
