"""Values of runs in the figures of a comparison: curves during the training, and final values over a quantity."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from cnncli.config.tree import format_value
from cnncli.errors import ConfigError, Message, printable
from cnncli.metrics.table import PREFIXES, TEST, VALIDATION
from cnncli.report.comparison import Curve, Point
from cnncli.runs.records import HistoryRow
from cnncli.runs.results import RunResults

NOT_COMPARED = ("name", "seed", "cache.max_gb")
"""Settings that do not make two runs different in kind."""
MISSING = object()

# Curves


def _batches(run: RunResults, images: float) -> float:
    batch_size = run.config.training.batch_size
    return math.ceil(images / batch_size) if isinstance(batch_size, int) else math.nan


DURING_TRAINING: dict[str, Callable[[RunResults, HistoryRow], float]] = {
    "epoch": lambda *_: 1,
    "seconds": lambda _, row: row.seconds,
    "images": lambda _, row: round(row.images_per_s * row.seconds),
    "steps": lambda run, row: _batches(run, round(row.images_per_s * row.seconds)),
}
"""Width of each epoch on the horizontal axis of curves, by the name of the axis."""


def curve_of(run: RunResults, metric: str, x: str) -> Curve:
    """Return the values of a metric, without prefix, over a word of `DURING_TRAINING`."""
    names, added = (metric, VALIDATION + metric), DURING_TRAINING[x]
    train, validation = ([row.metrics.get(name, math.nan) for row in run.history] for name in names)
    places = list(accumulate(added(run, row) for row in run.history))
    return Curve(run.name, places, train, validation, run.final(TEST + metric))


# Final values


def final_values(runs: Sequence[RunResults], metric: str) -> dict[str, list[Point]]:
    """Return the values of finished runs for each split that has some, with the 95 % interval of an accuracy."""
    found: dict[str, list[Point]] = {}
    for split in ("validation", "test"):
        for run in runs:
            if (value := run.final(PREFIXES[split] + metric)) is not None:
                low, high = run.interval(PREFIXES[split] + metric) or (value, value)
                found.setdefault(split, []).append(Point(run.name, value, low, high))
    return found


# Final values over a setting or quantity


def _imagenet(run: RunResults) -> float | None:
    backbone, *others = run.config.backbones
    top1 = None if others or not backbone.is_pretrained else backbone.network.top1
    return None if top1 is None else top1 / 100


def _depth(run: RunResults) -> float | None:
    backbone, *others = run.config.backbones
    return None if others else backbone.network.depth


def _train_images(run: RunResults) -> float | None:
    return round(run.history[0].images_per_s * run.history[0].seconds) if run.history else None


QUANTITIES: dict[str, Callable[[RunResults], float | None]] = {
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


def _quantity(run: RunResults, x: str) -> float | str | None:
    """Return the position of a run on the horizontal axis, or None if it has none."""
    if x in QUANTITIES:
        return QUANTITIES[x](run)
    value = run.settings.get(x, MISSING)
    return None if value is MISSING else value if type(value) in (int, float) else format_value(value).strip("'")


def require_quantity(runs: Sequence[RunResults], x: str) -> None:
    """Raise ConfigError if one of the runs has no position on the horizontal axis."""
    if missing := [printable(run.name) for run in runs if _quantity(run, x) is None]:
        known = (*DURING_TRAINING, *QUANTITIES)
        text = f"--x {printable(x)}: unknown for {', '.join(missing)}."
        remedy = f"Expected a setting such as data.image_size, or one of {', '.join(known)}."
        raise ConfigError(Message("usage-compare-x-unknown", f"{text} {remedy}", received=x, expected=known))


def final_series(
    runs: Sequence[RunResults], settings: Mapping[str, Sequence[Any]], metric: str, x: str
) -> dict[str, list[Point]]:
    """Return the points of each line: runs whose other settings are equal, averaged over those at the same x.

    Args:
        runs: The runs.
        settings: Values of each setting in which they differ, in the order of the runs.
        metric: Metric with the prefix of its split.
        x: A setting or a word of `QUANTITIES`.
    """
    lines: dict[str, list[RunResults]] = {}
    for place, run in enumerate(runs):
        if run.final(metric) is not None:
            own = {key: values[place] for key, values in settings.items()}
            lines.setdefault(_line_name(run, own, x), []).append(run)
    return {name: _points(line, metric, x) for name, line in lines.items()}


def _line_name(run: RunResults, settings: Mapping[str, Any], x: str) -> str:
    behind = (x, *_SETTINGS_BEHIND.get(x, ()), *NOT_COMPARED)
    own = {
        key: value for key, value in settings.items() if not any(f"{key}.".startswith(f"{other}.") for other in behind)
    }
    if x == "depth":  # PlainNet20 and PlainNet56 are one line
        own["backbone.name"] = re.sub(r"\d+", "", run.config.networks)
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in own.items())


def _points(runs: Sequence[RunResults], metric: str, x: str) -> list[Point]:
    """Return a point for each x: a single run with its 95 % interval, several with their mean and extremes."""
    by_place: dict[float | str, list[RunResults]] = {}
    for run in runs:
        by_place.setdefault(_quantity(run, x) or 0, []).append(run)
    is_numeric = not any(isinstance(place, str) for place in by_place)
    order: Sequence[Any] = sorted(by_place) if is_numeric else list(by_place)
    return [_point(place, by_place[place], metric) for place in order]


def _point(place: float | str, runs: Sequence[RunResults], metric: str) -> Point:
    values = [value for run in runs if (value := run.final(metric)) is not None]
    low, high = min(values), max(values)
    if len(runs) == 1:
        low, high = runs[0].interval(metric) or (low, high)
    return Point(place, sum(values) / len(values), low, high)
