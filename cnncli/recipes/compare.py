"""`cnncli compare`: results of several runs, their predictions for the same images, curves and differing settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnncli.errors import CnncliError, Message, printable
from cnncli.evaluation.agreement import Agreement, compare_predictions
from cnncli.inference.split_outputs import outputs_of_split
from cnncli.metrics.table import PREFIXES, metric_of, split_of
from cnncli.networks.backend import standard_settings
from cnncli.report.comparison import Published, draw_comparison, draw_final_values, draw_results
from cnncli.report.comparison_axes import DURING_TRAINING, curve_of, final_series, final_values, require_quantity
from cnncli.report.comparison_page import ComparisonPage, PageRun, SplitResult
from cnncli.runs.folder import RunFolder
from cnncli.runs.results import (
    RunResults,
    available_metrics,
    default_metric,
    differing_settings,
    load_runs,
    require_comparable,
    require_metric,
)
from cnncli.storage.atomic import output_path
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)


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

    runs: tuple[RunResults, ...]
    metric: str
    settings: Mapping[str, tuple[Any, ...]]
    published: tuple[Published, ...] = ()
    figure: Path | None = None
    agreement: Agreement | None = None

    @property
    def shows_classes(self) -> bool:
        """Whether the numbers of classes are shown: only if they differ."""
        return len({run.n_classes for run in self.runs} - {None}) > 1

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
        ConfigError: A run has no setting or quantity `x`, or no run has the metric, or they compute it in
            different ways.
        CnncliError: `out` is not the name of a PNG, or its folder does not exist.
    """
    path = None if out is None else output_path(out, (".png",))
    runs = load_runs(folders)
    metric = metric or default_metric(runs)
    require_comparable(metric, runs)
    require_metric(metric, available_metrics(runs))
    return compare_runs(runs, path, metric, x, published)


def compare_runs(
    runs: tuple[RunResults, ...], path: Path | None, metric: str, x: str, published: Sequence[Published]
) -> Comparison:
    """Compare loaded runs, and draw them in the PNG `path` if it is not None; see `compare`."""
    comparison = Comparison(runs, metric, differing_settings(runs), tuple(published), path)
    split, name = split_of(metric)
    if x not in DURING_TRAINING:
        require_quantity(runs, x)
        if path is not None:
            series = final_series(runs, comparison.settings, metric, x)
            draw_final_values(series, published, metric_of(metric), f"{name}, {split}", x, path)
    elif path is not None and not any(len(run.history) > 1 for run in runs):
        draw_results(final_values(runs, name), published, metric_of(metric), path)
    elif path is not None:
        draw_comparison([curve_of(run, name, x) for run in runs], published, metric_of(metric), x, path)
    return comparison


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
        PageRun(run.name, _split_results(run), curve_of(run, name, axis), run.facts.get("seconds"), run.n_classes)
        for run in comparison.runs
    ]
    pixels = comparison.runs[0].config.data.pixel_spec((1, 1))
    found = comparison
    page = ComparisonPage(
        runs, metric_of(found.metric), axis, found.settings, found.agreement, pixels, found.shows_classes
    )
    page.write(path)


def _split_results(run: RunResults) -> dict[str, SplitResult]:
    found = {}
    for split in ("validation", "test"):
        summary, interval = run.summary(split), run.interval(f"{PREFIXES[split]}accuracy")
        if interval and "top1" in summary:
            found[split] = SplitResult(summary["top1"], interval, summary["n"], summary.get("loss"))
    return found
