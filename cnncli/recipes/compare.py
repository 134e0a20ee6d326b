"""`cnncli compare`: results of several runs, their predictions for the same images, curves and differing settings."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from cnncli.catalogue.metrics import MetricInfo
from cnncli.config.reader import load_resolved
from cnncli.config.rules import idle_settings
from cnncli.config.schema import Config
from cnncli.config.tree import format_value
from cnncli.config.writer import plain_settings
from cnncli.errors import CnncliError, ConfigError, Message, printable
from cnncli.evaluation.agreement import Agreement, compare_predictions
from cnncli.inference.split_outputs import outputs_of_split
from cnncli.metrics.classification import table_metrics
from cnncli.metrics.table import EVALUATED, TEST, VALIDATION, metric_named
from cnncli.networks.backend import standard_settings
from cnncli.report.comparison import Curve, Point, Published, draw_comparison, draw_final_values, draw_results
from cnncli.report.comparison_page import ComparisonPage, PageRun, SplitResult
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder, state_of
from cnncli.runs.records import HistoryRow, read_history
from cnncli.storage.atomic import output_path
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)

PREFIXES = {"validation": VALIDATION, "test": TEST, "training": ""}
"""Prefix of the metrics of each split."""
MISSING = object()
NOT_COMPARED = ("name", "seed", "cache.max_gb")
"""Settings that do not make two runs different in kind."""


@dataclass(frozen=True)
class ComparedRun:
    """A run with its records; an unfinished run has no final metrics, and a head that a sweep tried has no folder."""

    folder: RunFolder | None
    name: str
    facts: Mapping[str, Any]
    config: Config
    history: tuple[HistoryRow, ...]

    @classmethod
    def load(cls, folder: RunFolder) -> ComparedRun:
        """Load a run, also while it is being trained. Raises RunError if its records are damaged."""
        facts, config = _with_top5(folder), load_resolved(folder.config)
        history = read_history(folder.history) if folder.history.is_file() else ()
        return cls(folder, facts.get("name") or folder.path.name, facts, config, history)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings by dotted key, with the image size that is used."""
        size = self.config.data.image_size or self.config.backbones[0].network.input_size
        return {**plain_settings(self.config), "data.image_size": size}

    def has(self, key: str) -> bool:
        """Return whether a setting has an effect in the run."""
        return not any(f"{key}.".startswith(f"{idle}.") for idle in idle_settings(self.config))

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are the model, from 1; 0 for the initial weights; None if unfinished."""
        return self.facts.get("best_epoch")

    @property
    def is_solved(self) -> bool:
        """Whether the head was solved exactly, without epochs."""
        return bool(self.history) and all(row.learning_rate is None for row in self.history)

    @property
    def has_validation(self) -> bool:
        """Whether the run has metrics of validation images."""
        return any(row.validation for row in self.history)

    def summary(self, split: str) -> dict[str, Any]:
        """Return the final metrics of a split, as in run.json; empty if there are none."""
        return (self.facts.get("metrics") or {}).get(split) or {}

    def untested(self) -> ComparedRun:
        """Return the run without its test metrics."""
        metrics = {split: values for split, values in (self.facts.get("metrics") or {}).items() if split != "test"}
        return replace(self, facts={**self.facts, "metrics": metrics})

    def results(self, split: str) -> dict[str, float]:
        """Return the final metrics of a split by name: of validation, test, or training in the best epoch."""
        if split == "training":
            return self.history[self.best_epoch - 1].training if self.best_epoch else {}
        summary = self.summary(split)
        others = {name: float(summary[name]) for name in EVALUATED if name in summary}
        return {**table_metrics(summary), **others}

    def final(self, metric: str) -> float | None:
        """Return the final value of a metric: `val_…`, `test_…`, or of the training images in the best epoch."""
        split, name = split_of(metric)
        return self.results(split).get(name)

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the 95 % interval of the final accuracy of a split; None for other metrics."""
        split, name = split_of(metric)
        low, high = self.summary(split).get("top1_ci95") or (None, None)
        return (low, high) if name == "accuracy" and low is not None and high is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Return the run as a document for JSON."""
        return {
            "name": self.name,
            "path": self.folder and self.folder.path,
            "state": state_of(self.folder, self.facts) if self.folder else "tried",
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "seconds": self.facts.get("seconds"),
            "metrics": {split: self.summary(split) for split in ("validation", "test") if self.summary(split)},
            "history": [row.to_dict() for row in self.history],
        }


@dataclass(frozen=True)
class Comparison:
    """Several runs.

    Attributes:
        runs: The runs, in the given order, with unique names.
        metric: Name of the compared metric.
        settings: Values of each setting in which the runs differ, by its key, in the order of the runs.
        published: Published values of the metric.
        figure: PNG with the curves or values; None if none was drawn.
        agreement: The predictions of the runs for the images that they share, if they were compared.
    """

    runs: tuple[ComparedRun, ...]
    metric: str
    settings: Mapping[str, tuple[Any, ...]]
    published: tuple[Published, ...] = ()
    figure: Path | None = None
    agreement: Agreement | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `compare --json`."""
        settings = [{key: values[place] for key, values in self.settings.items()} for place in range(len(self.runs))]
        runs = [{**run.to_dict(), "settings": own} for run, own in zip(self.runs, settings, strict=True)]
        document = {"metric": self.metric, "runs": runs, "published": self.published, "figure": self.figure}
        return {**document, **({"images": self.agreement} if self.agreement else {})}


def compare(
    folders: Sequence[RunFolder],
    out: Path | None,
    metric: str | None = None,
    x: str = "epoch",
    published: Sequence[Published] = (),
) -> Comparison:
    """Compare runs and, with `out`, draw them.

    Args:
        folders: Two or more runs, also unfinished ones.
        out: PNG to write; None: no figure.
        metric: `accuracy`, `val_accuracy`, `test_accuracy` or another metric that the runs have; default: see
            `default_metric`.
        x: A word of `DURING_TRAINING` for curves; else a setting or a word of `QUANTITIES`, over which the final values
            of the metric are drawn, as a line for each combination of the other settings.
        published: Published values of the metric.

    Raises:
        RunError: The records of a run are damaged.
        ConfigError: A run has no setting or quantity `x`, or no run has the metric.
        CnncliError: `out` is not the name of a PNG, or its folder does not exist.
    """
    path = None if out is None else output_path(out, (".png",))
    runs = load_runs(folders)
    metric = metric or default_metric(runs)
    require_metric(metric, available_metrics(runs))
    return compare_runs(runs, path, metric, x, published)


def compare_runs(
    runs: tuple[ComparedRun, ...], path: Path | None, metric: str, x: str, published: Sequence[Published]
) -> Comparison:
    """Compare loaded runs, and draw them in the PNG `path` if it is not None; see `compare`."""
    comparison = Comparison(runs, metric, differing_settings(runs), tuple(published), path)
    split, name = split_of(metric)
    if x not in DURING_TRAINING:
        _require_quantity(runs, x)
        if path is not None:
            series = _series(comparison, x)
            draw_final_values(series, published, metric_of(metric), f"{name}, {split}", x, path)
    elif path is not None and not any(len(run.history) > 1 for run in runs):
        draw_results(_final_values(runs, name), published, metric_of(metric), path)
    elif path is not None:
        draw_comparison([_curve(run, name, x) for run in runs], published, metric_of(metric), x, path)
    return comparison


def load_runs(folders: Sequence[RunFolder]) -> tuple[ComparedRun, ...]:
    """Load runs; those that share their name are named by the end of their path. Raises RunError if one is damaged."""
    runs = [ComparedRun.load(folder) for folder in folders]
    names, parts = [run.name for run in runs], [folder.path.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=0) + 1):
        count = Counter(names)
        if max(count.values()) == 1:
            break
        names = [
            name if count[name] == 1 else Path(*part[-length:]).as_posix()
            for name, part in zip(names, parts, strict=True)
        ]
    repeated = [name if name not in names[:place] else f"{name} ({place + 1})" for place, name in enumerate(names)]
    return tuple(replace(run, name=name) for run, name in zip(runs, repeated, strict=True))


def default_metric(runs: Sequence[ComparedRun]) -> str:
    """Return `val_accuracy`, or `accuracy`, that of the training images, if runs have epochs but no validation."""
    has_epochs, has_validation = any(run.history for run in runs), any(run.has_validation for run in runs)
    return "accuracy" if has_epochs and not has_validation else f"{VALIDATION}accuracy"


def available_metrics(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Return the names of the metrics that at least one run has: of validation, test and training, sorted by name."""
    names = {name for run in runs for row in run.history for name in row.metrics}
    names |= {prefix + name for run in runs for split, prefix in PREFIXES.items() for name in run.results(split)}
    return tuple(sorted(names, key=lambda name: (list(PREFIXES).index(split_of(name)[0]), name)))


def require_metric(metric: str, available: Sequence[str]) -> None:
    """Raise ConfigError if a metric is not available. Runs without epochs have none; then all known metrics are."""
    if metric in available or (not available and _info(metric)):
        return
    text = f"--metric {printable(metric)}: the runs do not have this metric. They have {', '.join(available)}."
    raise ConfigError(Message("usage-metric-unknown", text, received=metric, expected=tuple(available)))


def metric_of(name: str) -> MetricInfo:
    """Return a metric that runs have by its name with the prefix of a split."""
    metric = _info(name)
    if metric is None:  # excluded by `require_metric`
        raise ValueError(name)
    return metric


def _info(metric: str) -> MetricInfo | None:
    _, name = split_of(metric)
    return EVALUATED.get(name) or metric_named(name)


def split_of(metric: str) -> tuple[str, str]:
    """Return the split of a metric and its name in the table.

    >>> split_of("test_accuracy"), split_of("loss")
    (('test', 'accuracy'), ('training', 'loss'))
    """
    split, prefix = next(pair for pair in PREFIXES.items() if metric.startswith(pair[1]))
    return split, metric.removeprefix(prefix)


def _with_top5(folder: RunFolder) -> dict[str, Any]:
    """Return the facts of a run, whose metrics include the top-5 accuracies of metrics.json."""
    facts = folder.read_facts()
    if not facts.get("metrics") or not folder.metrics.is_file():
        return facts
    try:
        top5 = {split: values["top5"] for split, values in read_json(folder.metrics).items() if "top5" in values}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise damaged(folder.metrics, f"cannot be read ({error})") from error
    metrics = facts["metrics"]
    return {
        **facts,
        "metrics": {**metrics, **{split: {**metrics.get(split, {}), "top5": top5[split]} for split in top5}},
    }


def differing_settings(runs: Sequence[ComparedRun]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each setting in which runs differ, by its key, in the order of the runs.

    Settings with their default value in all runs, and those that only differ where they have no effect, are left out.
    """
    changed = {key for run in runs for key in plain_settings(run.config, is_short=True)}
    keys = dict.fromkeys(key for run in runs for key in run.settings if key in changed | {"data.image_size"})
    found = {key: [run.settings.get(key) for run in runs if run.has(key)] for key in keys if key != "name"}
    differing = [key for key, values in found.items() if any(value != values[0] for value in values)]
    return {key: tuple(run.settings.get(key) if run.has(key) else None for run in runs) for key in differing}


# The same images


@standard_settings()
def compare_images(comparison: Comparison, console: Console) -> Comparison:
    """Add the predictions of finished runs for the images that they share.

    These are those of the test split or, if not all have one, of validation. Runs whose predictions cannot be computed
    are left out, with a warning.
    """
    finished = [run for run in comparison.runs if run.summary("validation") or run.summary("test")]
    folders = [(run, run.folder) for run in finished if run.folder]
    folders = [(run, folder) for run, folder in folders if folder.engine.is_dir() and folder.manifest.is_file()]
    split = "test" if all(run.summary("test") for run, _ in folders) else "validation"
    found = []
    for run, folder in folders if len(folders) > 1 else ():
        try:
            found.append(outputs_of_split(folder, split, console).predictions(run.name))
        except CnncliError as error:
            text = f"{printable(run.name)}: its predictions cannot be compared: {error.problems[0]}"
            log.warning(Message("run-not-compared", text, path=folder.path, reason=error.problems[0]))
    return replace(comparison, agreement=compare_predictions(split, found)) if len(found) > 1 else comparison


def write_page(comparison: Comparison, path: Path, x: str = "epoch") -> None:
    """Write a comparison as one HTML file.

    Raises:
        CnncliError: `path` is not the name of an HTML file, or its folder does not exist.
    """
    path = output_path(path, (".html",))
    _, name = split_of(comparison.metric)
    axis = x if x in DURING_TRAINING else "epoch"
    runs = [
        PageRun(run.name, _split_results(run), _curve(run, name, axis), run.facts.get("seconds"))
        for run in comparison.runs
    ]
    settings = {key: [setting_text(value) for value in values] for key, values in comparison.settings.items()}
    pixels = comparison.runs[0].config.data.pixel_spec((1, 1))
    ComparisonPage(runs, metric_of(comparison.metric), axis, settings, comparison.agreement, pixels).write(path)


def _split_results(run: ComparedRun) -> dict[str, SplitResult]:
    found = {}
    for split in ("validation", "test"):
        summary, interval = run.summary(split), run.interval(f"{PREFIXES[split]}accuracy")
        if interval and "top1" in summary:
            found[split] = SplitResult(summary["top1"], interval, summary["n"], summary.get("loss"))
    return found


def setting_text(value: Any) -> str:
    """Return the value of a setting as it is shown in a table."""
    return "–" if value is None else value if isinstance(value, str) else format_value(value)


# Curves


def _batches(run: ComparedRun, images: float) -> float:
    batch_size = run.config.training.batch_size
    return math.ceil(images / batch_size) if isinstance(batch_size, int) else math.nan


DURING_TRAINING: dict[str, Callable[[ComparedRun, HistoryRow], float]] = {
    "epoch": lambda *_: 1,
    "seconds": lambda _, row: row.seconds,
    "images": lambda _, row: round(row.images_per_s * row.seconds),
    "steps": lambda run, row: _batches(run, round(row.images_per_s * row.seconds)),
}
"""Width of each epoch on the horizontal axis of curves, by the name of the axis."""


def _curve(run: ComparedRun, metric: str, x: str) -> Curve:
    names, added = (metric, VALIDATION + metric), DURING_TRAINING[x]
    train, validation = ([row.metrics.get(name, math.nan) for row in run.history] for name in names)
    places = list(accumulate(added(run, row) for row in run.history))
    return Curve(run.name, places, train, validation, run.final(TEST + metric))


# Final values


def _final_values(runs: Sequence[ComparedRun], metric: str) -> dict[str, list[Point]]:
    """Return the values of finished runs for each split that has some, with the 95 % interval of an accuracy."""
    found: dict[str, list[Point]] = {}
    for split in ("validation", "test"):
        for run in runs:
            if (value := run.final(PREFIXES[split] + metric)) is not None:
                low, high = run.interval(PREFIXES[split] + metric) or (value, value)
                found.setdefault(split, []).append(Point(run.name, value, low, high))
    return found


# Final values over a setting or quantity


def _imagenet(run: ComparedRun) -> float | None:
    backbone, *others = run.config.backbones
    top1 = None if others or not backbone.is_pretrained else backbone.network.top1
    return None if top1 is None else top1 / 100


def _depth(run: ComparedRun) -> float | None:
    backbone, *others = run.config.backbones
    return None if others else backbone.network.depth


def _train_images(run: ComparedRun) -> float | None:
    return round(run.history[0].images_per_s * run.history[0].seconds) if run.history else None


QUANTITIES: dict[str, Callable[[ComparedRun], float | None]] = {
    "depth": _depth,
    "imagenet": _imagenet,
    "train_images": _train_images,
}
"""Quantities of a run that are not settings: layers of the backbone, its ImageNet accuracy (0-1), training images."""

_SETTINGS_BEHIND = {
    "depth": ("backbone.name", "backbone.options"),
    "imagenet": ("backbone.name", "backbone.options", "data.image_size", "training.batch_size"),
    "train_images": ("data.train_images",),
}
"""Settings, or groups of them, that change with a quantity, so that they do not divide a line."""


def _quantity(run: ComparedRun, x: str) -> float | str | None:
    """Return the position of a run on the horizontal axis, or None if it has none."""
    if x in QUANTITIES:
        return QUANTITIES[x](run)
    value = run.settings.get(x, MISSING)
    return None if value is MISSING else value if type(value) in (int, float) else format_value(value).strip("'")


def _require_quantity(runs: Sequence[ComparedRun], x: str) -> None:
    """Raise ConfigError if one of the runs has no position on the horizontal axis."""
    if missing := [printable(run.name) for run in runs if _quantity(run, x) is None]:
        known = (*DURING_TRAINING, *QUANTITIES)
        text = f"--x {printable(x)}: unknown for {', '.join(missing)}."
        remedy = f"Expected a setting such as data.image_size, or one of {', '.join(known)}."
        raise ConfigError(Message("usage-compare-x-unknown", f"{text} {remedy}", received=x, expected=known))


def _series(comparison: Comparison, x: str) -> dict[str, list[Point]]:
    """Return the points of each line: runs whose other settings are equal, averaged over those at the same x."""
    lines: dict[str, list[ComparedRun]] = {}
    for place, run in enumerate(comparison.runs):
        if run.final(comparison.metric) is not None:
            lines.setdefault(_line_name(comparison, place, x), []).append(run)
    return {name: _points(runs, comparison.metric, x) for name, runs in lines.items()}


def _line_name(comparison: Comparison, place: int, x: str) -> str:
    behind = (x, *_SETTINGS_BEHIND.get(x, ()), *NOT_COMPARED)
    own = {
        key: values[place]
        for key, values in comparison.settings.items()
        if not any(f"{key}.".startswith(f"{other}.") for other in behind)
    }
    if x == "depth":  # PlainNet20 and PlainNet56 are one line
        own["backbone.name"] = re.sub(r"\d+", "", comparison.runs[place].config.networks)
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in own.items())


def _points(runs: Sequence[ComparedRun], metric: str, x: str) -> list[Point]:
    """Return a point for each x: a single run with its 95 % interval, several with their mean and extremes."""
    by_place: dict[float | str, list[ComparedRun]] = {}
    for run in runs:
        by_place.setdefault(_quantity(run, x) or 0, []).append(run)
    is_numeric = not any(isinstance(place, str) for place in by_place)
    order: Sequence[Any] = sorted(by_place) if is_numeric else list(by_place)
    return [_point(place, by_place[place], metric) for place in order]


def _point(place: float | str, runs: Sequence[ComparedRun], metric: str) -> Point:
    values = [value for run in runs if (value := run.final(metric)) is not None]
    low, high = min(values), max(values)
    if len(runs) == 1:
        low, high = runs[0].interval(metric) or (low, high)
    return Point(place, sum(values) / len(values), low, high)
