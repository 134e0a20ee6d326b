"""The first lines of a run's report: how accurate it is, against what, and what to look at next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cnncli.evaluation.assessment import Assessment
from cnncli.metrics.classification import Metrics
from cnncli.metrics.table import VALIDATION
from cnncli.report.page import Dot, dot_plot, escape, paragraph
from cnncli.report.run_report import RunReport
from cnncli.shards.shard import is_there
from cnncli.terminal.formatting import counted, percent, percent_range, signed_points

FEW = 10
"""Number of training images that must be there for a review of the labels to be suggested."""


def verdict(report: RunReport) -> str:
    """Return the accuracy beside that of the parent and of a trivial answer, and remarks, as HTML."""
    if report.found is None:
        state = report.facts["state"]
        text = f"This run is {state}: {counted(len(report.history), 'epoch')} so far."
        last = report.history[-1].scores() if report.history else ""
        return paragraph(text, "lead") + paragraph(last)
    metrics, split = report.found.metrics, report.found.split
    what = "have all labels right" if metrics.is_multi_label else "are classified correctly"
    parts = [
        f'<p class="verdict"><b>{escape(percent(metrics.top1))}</b> of {metrics.n:,} {escape(split)} images '
        f"{what} <span class=soft>{escape(f'(95 % interval {percent_range(*metrics.top1_ci95)})')}</span></p>\n"
    ]
    rows: list[tuple[str, Sequence[Dot]]] = [("this run", [_dot(metrics)])]
    if report.parent and split in report.parent.metrics:
        before = report.parent.metrics[split]
        others = "" if _is_comparable(metrics, before) else f", {counted(before.n, 'image')}"
        rows.append((f"parent: {report.parent.name}{others}", [_dot(before)]))
    if report.baseline:
        name, accuracy = report.baseline
        rows.append((f"always “{name}”", [Dot(accuracy, accuracy, accuracy, percent(accuracy))]))
    parts.append(dot_plot(rows, [(f"accuracy on {split}", False)]))
    return "".join([*parts, *map(paragraph, _remarks(report, report.found))])


def _remarks(report: RunReport, found: Assessment) -> list[str]:
    """Return what a reader must know besides the accuracy."""
    metrics, remarks = found.metrics, []
    if report.parent and found.split in report.parent.metrics:
        before = report.parent.metrics[found.split]
        if report.has_parent_weights and _is_comparable(metrics, before):
            text = f"No epoch was better than the parent run {report.parent.name} on the validation images"
            remarks.append(f"{text}, so its weights were kept.")
        else:
            remarks.append(_against_parent(metrics, report.parent.name, before))
    if found.split == "test" and report.validation:
        change = signed_points(metrics.top1 - report.validation.top1)
        chosen = ", by which the best epoch was chosen," if _is_epoch_chosen(report) else ""
        text = f"On the {report.validation.n:,} validation images{chosen} it is"
        remarks.append(f"{text} {percent(report.validation.top1)} ({change} points on test).")
    elif found.split == "validation":
        text = "There are no test images. If settings were chosen by the validation images, new images are probably"
        remarks.append(f"{text} classified less accurately.")
    if remark := _weakest_class(metrics):
        remarks.append(remark)
    if similar := len(report.near_duplicates):
        text = f"Similar images in different splits ({counted(similar, 'pair')}) make results look better than they"
        remarks.append(f"{text} are; see Images.")
    return [*remarks, *_next_steps(report, metrics)]


def _next_steps(report: RunReport, metrics: Metrics) -> list[str]:
    """Return which classes are confused most, how many labels are suspicious, and how to find out more."""
    steps, name = [], report.run.path.name
    if metrics.confused_pairs:
        pair = metrics.confused_pairs[0]
        text = f"Most frequent confusion: “{pair.label}” as “{pair.prediction}”, {counted(pair.n, 'image')}"
        steps.append(f"{text} ({percent(pair.fraction)} of the class); see Confusion and Mistakes.")
    labels, doubtful = report.reviewed_labels, report.doubtful_labels
    if labels:
        images = f" {report.reviewed_splits} images" if report.reviewed_splits else ""
        steps.append(f"Suspicious labels: {len(doubtful):,} of {len(labels):,}{images}; see Suspicious labels.")
    elif all(is_there(row.path) for row in report.manifest.split("train")[:FEW]):
        steps.append(f"`cnncli data review {shlex.quote(name)}` finds labels that are probably wrong.")
    if any(stage.get("solution") for stage in report.stages) and not metrics.is_multi_label:
        config = shlex.quote(f"{report.run.path.parent.name}/{name}/{report.run.config.name}")
        steps.append(f"`cnncli learning-curve {config}` predicts how much more images would help.")
    return steps


def _is_epoch_chosen(report: RunReport) -> bool:
    """Return whether validation images chose among epochs; a head that is solved exactly has none."""
    n_epochs = sum(row.learning_rate is not None for row in report.history)
    return n_epochs > 1 and report.config.training.best.monitor.startswith(VALIDATION)


def _is_comparable(metrics: Metrics, before: Metrics) -> bool:
    """Return whether two results are those of the same number of images of the same classes."""
    return metrics.n == before.n and metrics.classes == before.classes


def _against_parent(metrics: Metrics, name: str, before: Metrics) -> str:
    change = signed_points(metrics.top1 - before.top1)
    if _is_comparable(metrics, before):
        return (
            f"{change} points against the parent run {name}; `cnncli compare` tests whether that is more than chance."
        )
    text = (
        f"The parent run {name} was evaluated on {before.n:,} images of {len(before.classes)} classes, so its accuracy"
    )
    return f"{text} cannot be subtracted; `cnncli compare` compares both runs on the images that they share."


def _weakest_class(metrics: Metrics) -> str:
    """Return which class has the lowest recall, or how many have it; nothing for two classes or equal recalls."""
    recalls = {name: one for name, one in zip(metrics.classes, metrics.per_class, strict=True) if one.n}
    worst = min((one.recall for one in recalls.values()), default=1.0)
    names = [name for name, one in recalls.items() if one.recall == worst]
    if len(recalls) <= 2 or len(names) == len(recalls):
        return ""
    if len(names) > 1:
        return f"{len(names):,} of {len(recalls):,} classes have the lowest recall, {percent(worst)}."
    n = recalls[names[0]].n
    return f"The class with the lowest recall is “{names[0]}”: {percent(worst)} of {counted(n, 'image')}."


def _dot(metrics: Metrics) -> Dot:
    return Dot(metrics.top1, *metrics.top1_ci95, f"{percent(metrics.top1)} ({percent_range(*metrics.top1_ci95)})")
