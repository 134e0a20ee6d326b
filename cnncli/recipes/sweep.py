"""`cnncli sweep`: train a grid of settings and seeds, and compare the runs."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from cnncli.config.modes import run_name
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.writer import differences
from cnncli.errors import CnncliError, ConfigError, Message, printable
from cnncli.metrics.table import METRICS, VALIDATION
from cnncli.recipes.compare import ComparedRun, Comparison, compare, split_of
from cnncli.recipes.resume import resume, with_batch_size_of
from cnncli.recipes.train import train
from cnncli.report.comparison import Published
from cnncli.report.figures import png_path
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.terminal.console import Console

MAX_NAME_LENGTH = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """A run of a sweep: its config, whose name is unique in the sweep, and the values that are varied, as text."""

    config: Config
    values: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Name of the run."""
        return run_name(self.config)


def plan_sweep(
    read: Callable[[Sequence[str]], Config], settings: Sequence[str], seeds: Sequence[int] = ()
) -> tuple[Cell, ...]:
    """Return the runs of a grid, the last setting varying fastest, each of them with all seeds.

    Args:
        read: Function that returns the config with overrides, `KEY=VALUE` texts.
        settings: `KEY=VALUE` texts; several values are separated by commas, e.g. `head.pooling=avg,max`.
        seeds: Seeds; none: that of the config.

    Raises:
        ConfigError: All problems of all configs.
    """
    axes = [read_axis(text) for text in settings]
    axes += [("seed", tuple(map(str, seeds)))] if seeds else []
    base = run_name(read([f"{key}={values[0]}" for key, values in axes]))
    varied = [key for key, values in axes if len(values) > 1]
    cells, problems = [], dict[Message, None]()
    for values in product(*(values for _, values in axes)):
        pairs = tuple((key, value) for (key, _), value in zip(axes, values, strict=True) if key in varied)
        overrides = [f"{key}={value}" for (key, _), value in zip(axes, values, strict=True)]
        try:
            cells.append(Cell(read([*overrides, f"name={_cell_name(base, pairs)}"]), pairs))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(cells)


@dataclass(frozen=True)
class Sweep:
    """The compared runs of a sweep, the names of those with the best settings, and the problems of failed runs."""

    comparison: Comparison
    chosen: frozenset[str]
    problems: tuple[Message, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `sweep --json`."""
        return {**self.comparison.to_dict(), "chosen": sorted(self.chosen)}


def sweep(
    cells: Sequence[Cell],
    runs_dir: Path,
    console: Console,
    out: Path | None = None,
    metric: str = "val_accuracy",
    x: str = "epoch",
    published: Sequence[Published] = (),
) -> Sweep:
    """Train the runs of a grid one after another, choose the best settings, and compare the runs.

    A finished run of the same name and settings in `runs_dir` is used, and an unfinished one is resumed. A run that
    fails does not stop the others. Test results of settings that were not chosen are left out.

    Raises:
        CnncliError: All runs failed, or `out` or `x` cannot be used; see `compare`.
    """
    path = None if out is None else png_path(out)
    folders, problems = list[RunFolder](), list[Message]()
    for number, cell in enumerate(cells, start=1):
        console.phase("sweep", f"{number} of {len(cells)}: {cell.name}")
        try:
            folders.append(_train(cell, runs_dir, console))
        except CnncliError as error:
            problems += error.problems
            folders += filter(None, [_find(cell, runs_dir)])
    if not folders:
        raise CnncliError(tuple(dict.fromkeys(problems)))
    chosen = choose(cells, folders, VALIDATION + split_of(metric)[1])
    comparison = compare(folders, path, metric, x, published, tested=chosen or None)
    return Sweep(comparison, chosen, tuple(dict.fromkeys(problems)))


def choose(cells: Iterable[Cell], folders: Iterable[RunFolder], metric: str) -> frozenset[str]:
    """Return the names of the runs, one per seed, whose settings have the best mean of a validation metric.

    Returns an empty set if no run has that metric.
    """
    runs = {run.name: run for run in map(ComparedRun.load, folders)}
    groups: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for cell in cells:
        value = runs[cell.name].final(metric) if cell.name in runs else None
        if value is not None:
            settings = tuple(pair for pair in cell.values if pair[0] != "seed")
            groups.setdefault(settings, {})[cell.name] = value
    if not groups:
        return frozenset()
    sign = -1 if METRICS[split_of(metric)[1]].lower_is_better else 1
    best = max(groups, key=lambda settings: sign * fmean(groups[settings].values()))
    return frozenset(groups[best])


def _train(cell: Cell, runs_dir: Path, console: Console) -> RunFolder:
    run = _find(cell, runs_dir)
    if run is None:
        return train(cell.config, runs_dir, console).folder
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


def read_axis(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the key and the values of `KEY=VALUE,VALUE`; commas inside brackets and quotes do not separate."""
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
    return key.strip(), tuple(dict.fromkeys(part.strip() for part in parts))


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
