"""Draw the evaluation of a split as PNGs: confusion matrix, mistakes, reliability, coverage, ROC curves and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnncli.errors import ImageError
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.predictions import PredictedImage, mistakes
from cnncli.images.decode import PixelSpec, decode
from cnncli.metrics.classification import Metrics, bin_interval
from cnncli.metrics.curves import ClassCurves
from cnncli.metrics.reliability import Reliability, ReliabilityBin, calibration_error
from cnncli.report.confusion_matrix import draw_confusion_matrix
from cnncli.report.contact_sheet import draw_tiles
from cnncli.report.curves import TRAIN, VALIDATION_LINE
from cnncli.report.figures import COLORS, GRID, save_figure
from cnncli.terminal.formatting import counted, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MISTAKES, COLUMNS = 24, 6
"""Maximum number of images on a contact sheet of mistakes, and number in a row."""
MOST_CURVES = 8
"""Maximum number of classes whose curves are drawn; of more, those with the smallest areas."""


def draw_evaluation(found: Assessment, pixels: PixelSpec, name: str, folder: Path) -> tuple[Path, ...]:
    """Draw the figures of an evaluation, `confusion-SPLIT.png` and so on, in a folder; return their paths.

    Args:
        found: The evaluation.
        pixels: How its images are decoded.
        name: Name of the run, for titles.
        folder: Folder of the figures.
    """
    title, metrics = f"{name}: {found.split}", found.metrics
    wrong = mistakes(found.images)
    drawings: dict[str, Callable[[Path], None]] = {
        "reliability": lambda path: draw_reliability(metrics, found.corrected, title, path)
    }
    if not metrics.is_multi_label:
        drawings["confusion"] = lambda path: draw_confusion_matrix(
            metrics.confusion_matrix, metrics.classes, title, path
        )
    if wrong:
        drawings["mistakes"] = lambda path: draw_mistakes(wrong, len(found.images), pixels, title, path)
    if found.curves:
        drawings["curves"] = lambda path: draw_class_curves(found.curves, title, path)
    if found.coverage:
        drawings["coverage"] = lambda path: draw_coverage(found, title, path)
    folder.mkdir(exist_ok=True)
    paths = {folder / f"{kind}-{found.split}.png": draw for kind, draw in drawings.items()}
    for path, draw in paths.items():
        draw(path)
    return tuple(path for path in paths if path.exists())


def draw_mistakes(wrong: Sequence[PredictedImage], total: int, pixels: PixelSpec, title: str, path: Path) -> None:
    """Draw the most confident mistakes as a contact sheet, as the network sees the images.

    Images that cannot be read any more are left out; if there are no others, nothing is drawn.
    """
    tiles, names = [], []
    for one in wrong[:MOST_MISTAKES]:
        try:
            tiles.append((describe_mistake(one), decode(Path(one.path), pixels)))
        except ImageError:
            continue
        names.append(Path(one.path).name)
    if tiles:
        lines = f"{counted(len(wrong), 'mistake')} in {total:,} images, the most confident first: true → predicted"
        draw_tiles(tiles, title, lines, path, COLUMNS, names)


def describe_mistake(image: PredictedImage) -> str:
    """Return what is wrong with a prediction, and its confidence.

    >>> describe_mistake(PredictedImage("a.jpg", "test", ("cat",), ("dog",), 0.98))
    'cat → dog 98.0 %'
    >>> describe_mistake(PredictedImage("a.jpg", "test", ("red", "dress"), ("red", "shoe"), 0.6))
    'not dress, but shoe 60.0 %'
    """
    if len(image.labels) == len(image.predictions) == 1:
        return f"{image.labels[0]} → {image.predictions[0]} {percent(image.confidence)}"
    missed = [label for label in image.labels if label not in image.predictions]
    wrong = [label for label in image.predictions if label not in image.labels]
    parts = [f"not {', '.join(missed)}" if missed else "", f"but {', '.join(wrong)}" if wrong else ""]
    return f"{', '.join(filter(None, parts))} {percent(image.confidence)}"


def draw_reliability(metrics: Metrics, calibrated: Reliability | None, title: str, path: Path) -> None:
    """Draw a reliability diagram: accuracy over confidence with 95 % intervals, and the predictions in each bin.

    `calibrated` has the bins of the confidences at the temperature of the run, if that changes them.
    """
    shown = {"probabilities": metrics.reliability} | ({"confidence": calibrated.bins} if calibrated else {})
    least = 0.0 if metrics.is_multi_label else 1 / len(metrics.classes)
    with save_figure(path, (4.8, 5.4)) as figure:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((least, 1), (least, 1), color="#8c8c8c", linewidth=0.9, linestyle=(0, (4, 2)), label="ideal")
        of_run, apart = (TRAIN["color"], "o"), (VALIDATION_LINE["color"], "s")
        styles = [apart, of_run] if calibrated else [of_run]
        for (name, bins), (color, marker) in zip(shown.items(), styles, strict=True):
            _plot_bins(upper, bins, color, marker, name)
        bins = calibrated.bins if calibrated else metrics.reliability
        edges = [*(one.low for one in bins), 1.0]
        lower.stairs([one.n for one in bins], edges, fill=True, color=TRAIN["color"])
        upper.set(title=title, ylabel="accuracy", xlim=(least, 1.01), ylim=(0, 1.03))
        upper.legend(loc="best", framealpha=0.85, edgecolor="none", fontsize=9)
        lower.set(xlabel="confidence", ylabel="labels" if metrics.is_multi_label else "images")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        upper.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        lower.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        for axes in (upper, lower):
            _tidy(axes)


def _plot_bins(axes: Axes, bins: Sequence[ReliabilityBin], color: str, marker: str, name: str) -> None:
    """Draw the accuracy in each bin as a marker with its interval."""
    used = [one for one in bins if one.n]
    accuracies, intervals = np.array([one.accuracy for one in used]), np.array([bin_interval(one) for one in used])
    errors = np.abs(intervals.T - accuracies)
    label, confidences = f"{name}: error {percent(calibration_error(used))}", [one.confidence for one in used]
    axes.errorbar(confidences, accuracies, errors, fmt=marker, markersize=5, linewidth=1.2, color=color, label=label)


def draw_coverage(found: Assessment, title: str, path: Path) -> None:
    """Draw the accuracy of the answers over the fraction of answered images, the least doubtful ones."""
    with save_figure(path, (5.4, 4.2)) as figure:
        from matplotlib.ticker import PercentFormatter

        axes = figure.subplots()
        coverages, accuracies = zip(*((one.coverage, one.accuracy) for one in found.coverage), strict=True)
        axes.plot(coverages, accuracies, color=TRAIN["color"], label="the least doubtful images")
        if (answers := found.answers) is not None and answers.answered:
            fraction = answers.answered / answers.n
            label = f"answered: {percent(fraction)}, {percent(answers.accuracy)} right"
            axes.plot([fraction], [answers.accuracy], "s", color=VALIDATION_LINE["color"], label=label)
        axes.set(title=title, xlabel="coverage: fraction of images answered", ylabel="accuracy of the answers")
        axes.set(xlim=(0, 1.01))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _tidy(axes)
        axes.legend(loc="lower left", framealpha=0.85, edgecolor="none", fontsize=9)


def draw_class_curves(curves: Sequence[ClassCurves], title: str, path: Path) -> None:
    """Draw ROC and precision-recall curves of the classes side by side."""
    shown = sorted(curves, key=lambda one: one.roc_auc)[:MOST_CURVES]
    with save_figure(path, (10.0, 4.8)) as figure:
        left, right = figure.subplots(1, 2)
        left.plot((0, 1), (0, 1), color="#8c8c8c", linewidth=0.9, linestyle=(0, (4, 2)))
        for one, color in zip(shown, COLORS, strict=False):
            left.plot(*zip(*one.roc, strict=True), color=color, label=f"{one.name}: area {one.roc_auc:.4f}")
            label = f"{one.name}: average {one.average_precision:.4f}"
            right.plot(*zip(*one.precision_recall, strict=True), color=color, label=label)
        more = f", {len(shown)} of {len(curves)} classes" if len(shown) < len(curves) else ""
        figure.suptitle(f"{title}{more}")
        left.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate", ylim=(0, 1.03))
        right.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
        for axes, place in ((left, "lower right"), (right, "lower left")):
            _tidy(axes)
            axes.legend(loc=place, framealpha=0.85, edgecolor="none", fontsize=9)


def _tidy(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
