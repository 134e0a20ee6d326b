"""The report of a run as one HTML file: the verdict first, then where it is wrong, and what it was made of."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cnncli.augmentation.views import number_of_views, render_view
from cnncli.errors import ImageError
from cnncli.evaluation.parity import held
from cnncli.evaluation.predictions import PredictedImage
from cnncli.images.decode import decode
from cnncli.metrics.classification import Metrics, accuracy_interval, bin_interval, wilson_interval
from cnncli.metrics.reliability import ReliabilityBin
from cnncli.metrics.table import VALIDATION, metric_named
from cnncli.report.evaluation_figures import describe_mistake
from cnncli.report.page import (
    Line,
    data_uri,
    escape,
    fraction_histogram,
    html_page,
    html_table,
    image_grid,
    image_uri,
    line_chart,
    paragraph,
    pixels_uri,
    section,
)
from cnncli.report.run_report import ExportedFile, RunReport
from cnncli.report.verdict import verdict
from cnncli.terminal.formatting import counted, decimal, duration, measured, percent, percent_range, size
from cnncli.training.diagnosis import diagnose
from cnncli.version import __version__

MOST_MISTAKES, MOST_SUSPECTS, MOST_PAIRS, MOST_ROWS, MOST_FILES = 24, 12, 12, 40, 20
"""Maximum numbers of images of mistakes and of suspicious labels, of confused pairs, of classes in a table, and of
files in a list."""
MOST_CLASSES_IN_MATRIX = 12
"""Number of classes above which the confusion matrix is an image."""
MOST_CLASSES_IN_FIGURE = 40
"""Number of classes above which the labels of that image cannot be read."""
STRONGEST_TINT = 45
"""Percentage of color in the cell of a confusion matrix with all images of a class; the text stays readable."""
HIGH, LEAST_TO_JUDGE = 0.9, 30
"""Confidence that is called high, and number of predictions below which their accuracy is not stated."""
EXAMPLES, VIEWS = 3, 4
"""Number of training images whose augmented views are shown, and of views of each at most."""


def run_page(report: RunReport, refresh_s: int | None = None) -> str:
    """Return the report of a run as HTML, which reloads itself after some seconds, if given."""
    parts = [
        paragraph(report.subtitle, "soft"),
        verdict(report),
        section("Training", _training(report)),
        section("Results by class", _classes(report)),
        section("Confusion", _confusion(report)),
        section("Mistakes", _mistakes(report)),
        section("Suspicious labels", _suspects(report)),
        section("Can its confidence be trusted?", _calibration(report)),
        section("When it does not know", _coverage(report)),
        section("Images", _images(report)),
        section("Augmented views", _views(report)),
        section("Exported files", _exports(report)),
        section("Config", _config(report.config_text)),
        section("Run and machine", _machine(report)),
    ]
    footer = f"Written by cnncli {__version__}. Everything on this page is in the file; it loads nothing."
    return html_page(report.title, "".join(parts), footer, refresh_s)


def _training(report: RunReport) -> str:
    solutions = [stage["solution"] for stage in report.stages if stage.get("solution")]
    if solutions:
        return "".join(_solution(one) for one in solutions)
    parts = []
    if len(report.history) >= 2:
        for name in ("loss", "accuracy"):
            metric, x = metric_named(name), [row.epoch for row in report.history]
            lines = [
                Line(label, color, x, [row.metrics.get(key, math.nan) for row in report.history], is_dashed)
                for label, key, color, is_dashed in (
                    ("train", name, 0, True),
                    ("validation", VALIDATION + name, 1, False),
                )
            ]
            is_fraction, marks = bool(metric and metric.is_fraction), _stage_starts(report)
            parts.append(line_chart(name, "epoch", lines, is_fraction=is_fraction, marks=marks))
    if report.history:
        parts.append(paragraph(f"Diagnosis: {diagnose(report.history).text}."))
        parts.append(
            html_table("stages", ("stage", "epochs", "time", "images/s", "trained weights"), _stage_rows(report))
        )
    return "".join(parts)


def _stage_starts(report: RunReport) -> list[tuple[float, str]]:
    """Return where each of several stages starts on the axis of epochs, between two of them, and its name."""
    starts = [(next(group).epoch - 0.5, name) for name, group in groupby(report.history, key=lambda row: row.stage)]
    return starts if len(starts) > 1 else []


def _stage_rows(report: RunReport) -> list[tuple[str, ...]]:
    weights = {stage["name"]: f"{stage['trainable_parameters']:,}" for stage in report.stages}
    rows: list[tuple[str, ...]] = []
    for name, group in groupby(report.history, key=lambda row: row.stage):
        epochs = list(group)
        speed = statistics.median(row.images_per_s for row in epochs)
        seconds = duration(sum(row.seconds for row in epochs))
        rows.append((name, str(len(epochs)), seconds, f"{speed:,.0f}", weights.get(name, "–")))
    return rows


def _classes(report: RunReport) -> str:
    if report.found is None:
        return ""
    metrics = report.found.metrics
    results = sorted(
        zip(metrics.classes, metrics.per_class, strict=True), key=lambda one: (one[1].f1, -one[1].n, one[0])
    )
    shown = results[:MOST_ROWS]
    rows = [
        (
            name,
            f"{one.n:,}",
            percent(one.precision),
            percent(one.recall),
            percent(one.f1),
            _percent(one.average_precision),
        )
        for name, one in shown
    ]
    more = (
        f"The {len(shown)} classes with the lowest F1 of {len(results)}; metrics.json has all."
        if len(shown) < len(results)
        else ""
    )
    columns = ("class", "images", "precision", "recall", "F1", "average precision")
    return html_table("results by class", columns, rows) + (paragraph(more, "soft") if more else "")


def _confusion(report: RunReport) -> str:
    if report.found is None or report.found.metrics.is_multi_label:
        return ""
    metrics, parts = report.found.metrics, []
    if len(metrics.classes) <= MOST_CLASSES_IN_MATRIX:
        parts.append(_matrix(metrics))
    elif len(metrics.classes) > MOST_CLASSES_IN_FIGURE:
        parts.append(paragraph(f"The matrix of {len(metrics.classes)} classes is in metrics.json.", "soft"))
    elif (figure := report.run.figures / f"confusion-{report.found.split}.png").is_file():
        text = "confusion matrix: rows are true classes, columns predicted ones"
        parts.append(f'<img class="wide" alt="{escape(text)}" src="{data_uri(figure.read_bytes(), "png")}">\n')
    pairs = metrics.confused_pairs[:MOST_PAIRS]
    if pairs and len(metrics.classes) > 2:
        rows = [(pair.label, pair.prediction, f"{pair.n:,}", percent(pair.fraction)) for pair in pairs]
        parts.append(html_table("most confused pairs", ("true class", "predicted", "images", "of the class"), rows, 2))
    return "".join(parts)


def _mistakes(report: RunReport) -> str:
    if report.found is None:
        return ""
    wrong, shown = report.mistakes, report.mistakes[:MOST_MISTAKES]
    if not wrong:
        return paragraph("There are none.")
    lines = f"{counted(len(wrong), 'mistake')} in {counted(len(report.found.images), 'image')}"
    lines += f"; the {len(shown)} most confident are shown" if len(shown) < len(wrong) else ", the most confident first"
    command = f"cnncli data review {shlex.quote(report.run.path.name)} --split {report.found.split}"
    text = f"{lines}. Some may be wrong labels: `{command}` ranks them."
    seen = " Warm colors show what speaks for the predicted class (Grad-CAM)" if report.explanations else ""
    seen += "; where there are none, nothing does." if seen else ""
    images = [_mistake(report, one) for one in shown]
    return paragraph(text + seen) + image_grid(images, _drawn_mistakes(report, report.found.split))


def _mistake(report: RunReport, one: PredictedImage) -> tuple[Path, Sequence[str | None], str, str]:
    path = Path(one.path)
    return path, _pictures(report, path), path.name, _caption(one)


def _drawn_mistakes(report: RunReport, split: str) -> str:
    """Return the figure of the mistakes that was drawn when the split was evaluated; empty if there is none."""
    figure = report.run.figures / f"mistakes-{split}.png"
    if not figure.is_file():
        return ""
    image = f'<img class="wide" alt="mistakes" src="{data_uri(figure.read_bytes(), "png")}">\n'
    return paragraph("This figure was drawn when the run was evaluated:", "soft") + image


def _suspects(report: RunReport) -> str:
    """Show the labels that `cnncli data review` counts as wrong, if it was run."""
    rows, doubtful = report.reviewed_labels, report.doubtful_labels
    splits = f"{report.reviewed_splits} " if report.reviewed_splits else ""
    n = report.n_spared_labels
    confirmed = f" Not listed: {counted(n, 'label')} confirmed before." if n else ""
    if not doubtful:
        return paragraph(f"None of {len(rows):,} {splits}labels.{confirmed}") if rows else ""
    shown = doubtful[:MOST_SUSPECTS]
    flagged = sum(row.is_flagged for row in doubtful)
    text = f"For {len(doubtful):,} of {len(rows):,} {splits}images, classifiers that were trained without them find"
    text += f" another label more probable; confident learning flags {flagged:,} of them."
    text += f" The {len(shown)} most suspicious are shown." if len(shown) < len(doubtful) else ""
    text += f" Labels that are right can be among them.{confirmed}"
    if report.is_all_trained:
        text += " The network was trained with these labels, so that wrong ones are found less reliably."
    words = ["cnncli", "data", "review", report.run.path.name, *_split_option(report), "--open"]
    command = f" `{shlex.join(words)}` shows them all, to confirm or correct them."
    images = [
        (
            row.path,
            [image_uri(row.path, report.pixels) if report.pixels else None],
            row.path.name,
            f"<b>{escape(row.label)} → {escape(row.suggested)}?</b><br>{escape(row.path.name)}",
        )
        for row in shown
    ]
    return paragraph(text + command) + image_grid(images)


def _split_option(report: RunReport) -> list[str]:
    """Return the option of `cnncli data review` for the splits that were reviewed."""
    splits = {row.split for row in report.reviewed_labels}
    if splits == {"train"}:
        return []
    return ["--split", *splits] if len(splits) == 1 else ["--split", "all"]


def _pictures(report: RunReport, path: Path) -> list[str | None]:
    """Return an image and, if it was explained, the same with where the network looked."""
    if report.pixels is None:
        return [None]
    if path not in report.explanations:
        return [image_uri(path, report.pixels)]
    return [image_uri(path, report.pixels, report.pixels.fit), pixels_uri(report.explanations[path])]


def _calibration(report: RunReport) -> str:
    if report.found is None:
        return ""
    found, metrics = report.found, report.found.metrics
    least = 0.0 if metrics.is_multi_label else 1 / len(metrics.classes)
    bins = found.corrected.bins if found.corrected else metrics.reliability
    lines = [_reliability_line("by uncorrected probability", 1, metrics.reliability)] if found.corrected else []
    lines.append(_reliability_line("by confidence", 0, bins))
    lines.append(Line("ideal", 6, [least, 1.0], [least, 1.0], is_dashed=True))
    text = "" if metrics.is_multi_label else _right_by_confidence(found.images)
    if (error := metrics.evaluated.get("calibration_error")) is not None:
        text += f" The expected calibration error is {percent(error)}"
        if found.corrected:
            text += f", and {percent(found.corrected.calibration_error)} at the temperature {found.temperature:.2f}"
            text += ", which was fitted on validation images and gives the confidence"
        text += "."
    counted_as = "labels" if metrics.is_multi_label else "images"
    rows = [
        (percent_range(one.low, one.high), f"{one.n:,}", percent(one.confidence), percent(one.accuracy), interval)
        for one in bins
        if one.n and (interval := percent_range(*bin_interval(one)))
    ]
    scores = [(name, decimal(metrics.evaluated[key])) for key, name in _SCORES.items() if key in metrics.evaluated]
    columns = ("confidence", counted_as, "mean confidence", "right", "95 % interval")
    return "".join(
        (
            paragraph(text.strip()),
            line_chart(
                "fraction right, with 95 % intervals",
                "confidence",
                lines,
                is_fraction=True,
                x_is_fraction=True,
                x_range=(least, 1.0),
                y_range=(0.0, 1.0),
            ),
            fraction_histogram(counted_as, "confidence", [(one.low, one.high, one.n) for one in bins], least),
            html_table("predictions by confidence", columns, rows),
            html_table("scores of the probabilities", ("score", "value"), scores) if scores else "",
        )
    )


def _reliability_line(name: str, color: int, bins: Sequence[ReliabilityBin]) -> Line:
    used = [one for one in bins if one.n]
    confidences, accuracies = [one.confidence for one in used], [one.accuracy for one in used]
    return Line(name, color, confidences, accuracies, intervals=[bin_interval(one) for one in used])


def _right_by_confidence(images: Sequence[PredictedImage]) -> str:
    """Return how many of the images of high and of low confidence are classified correctly, where there are enough."""
    parts = []
    for where, group in (
        (f"with a confidence of {100 * HIGH:.0f} % or more", [one for one in images if one.confidence >= HIGH]),
        (f"with less than {100 * HIGH:.0f} %", [one for one in images if one.confidence < HIGH]),
    ):
        n, right = len(group), sum(one.is_correct for one in group)
        if n >= LEAST_TO_JUDGE:
            interval = percent_range(*wilson_interval(right, n))
            parts.append(f"Of {n:,} predictions {where}, {percent(right / n)} are right (95 % interval {interval}).")
        else:
            verdict = "is" if n == 1 else "are"
            parts.append(f"{counted(n, 'prediction')} {where} {verdict} too few to judge.")
    return " ".join(parts)


def _coverage(report: RunReport) -> str:
    if report.found is None or not report.found.coverage:
        return ""
    curve = report.found.coverage
    lines = [Line("accuracy of the answers", 2, [one.coverage for one in curve], [one.accuracy for one in curve])]
    text = "Images that are unlike the training images, or uncertain, are answered with “unknown”."
    if (answers := report.found.answers) and answers.answered:
        share = percent(answers.answered / answers.n)
        text += f" {share} of these images are answered, {percent(answers.accuracy)} of them correctly"
        text += f" (95 % interval {percent_range(*answers.accuracy_ci95)})."
    return paragraph(text) + line_chart(
        "accuracy of the answers", "fraction answered", lines, is_fraction=True, x_is_fraction=True
    )


def _images(report: RunReport) -> str:
    counts, classes = report.manifest.counts(), report.manifest.classes
    splits = list(counts)
    shown = classes[:MOST_ROWS]
    rows = [(name, *(f"{counts[split].get(name, 0):,}" for split in splits)) for name in shown]
    rows.append(("all images", *(f"{len(report.manifest.split(split)):,}" for split in splits)))
    parts = [html_table("images", ("class", *splits), rows)]
    if len(shown) < len(classes):
        parts.append(paragraph(f"The first {len(shown)} of {len(classes)} classes.", "soft"))
    sizes = [(row.facts.width, row.facts.height) for row in report.manifest.rows if row.facts.width]
    if sizes:
        width, height = (statistics.median(side) for side in zip(*sizes, strict=True))
        text = f"The median image has {width:.0f} × {height:.0f} pixels"
        used = f"; the network sees {report.pixels.width} × {report.pixels.height}" if report.pixels else ""
        parts.append(paragraph(f"{text}{used}."))
    for found, title in (
        (report.skipped, "left out, because they cannot be used"),
        (report.near_duplicates, "similar, but in different splits"),
    ):
        if found:
            files = found[:MOST_FILES]
            parts.append(paragraph(f"{len(found):,} {title}:") + html_table(title, ("", ""), files, 2, wraps=True))
    return "".join(parts)


def _views(report: RunReport) -> str:
    settings = report.config.augmentation
    if report.pixels is None or not settings.is_active:
        return ""
    images = []
    views = number_of_views(settings, trunk_is_empty=False)
    count = VIEWS if views == "fresh" else min(views - 1, VIEWS)
    rows = report.manifest.split("train")
    for row in rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]:
        try:
            pixels = decode(row.path, report.pixels)
        except ImageError:
            continue
        for k in range(count + 1):
            view = render_view(pixels, settings, row.digest, k)
            images.append(
                (
                    row.path,
                    [pixels_uri(view)],
                    f"view {k} of {row.path.name}",
                    escape("as it is" if k == 0 else f"view {k}"),
                )
            )
    return image_grid(images)


def _exports(report: RunReport) -> str:
    """Return the table of the exports of a run with their parity, as `cnncli export` recorded it."""
    if not report.exports:
        return ""

    def interval(one: ExportedFile) -> str:
        return measured(one.top1, lambda top1: percent_range(*accuracy_interval(top1, one.n)))

    rows = [
        (
            *(one.format, one.precision, f"{one.n:,}", measured(one.top1, percent), interval(one)),
            *(measured(one.max_difference, decimal), size(one.size_bytes)),
            *(measured(one.ms_per_image, "{:.2f}".format), held(one.precision) if one.holds else "no"),
        )
        for one in report.exports
    ]
    columns = (
        *("format", "precision", "images", "accuracy", "95 % interval", "largest difference", "size", "ms per image"),
        "agrees",
    )
    text = "Each file was run in its own runtime on images of this run. The difference is that of a probability to what"
    return paragraph(f"{text} `cnncli predict` gives.") + html_table("exported files", columns, rows, 2)


def _machine(report: RunReport) -> str:
    facts, environment = report.facts, report.environment
    cpu = environment.get("cpu") or {}
    packages = environment.get("packages") or {}
    rows = [
        ("command", facts.get("command")),
        ("created", facts.get("created")),
        ("time", duration(facts["seconds"]) if facts.get("seconds") else None),
        ("network", facts.get("backbone")),
        ("mode", facts.get("mode")),
        ("engine", " ".join(filter(None, (facts.get("engine"), facts.get("precision"))))),
        ("processor", f"{cpu.get('model')}, {counted(cpu.get('cores') or 0, 'core')}" if cpu else None),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages.items() if version)),
        ("platform", environment.get("platform")),
        ("folder", report.run.path),
    ]
    cells = [(name, str(value)) for name, value in rows if value]
    return html_table("run and machine", ("", ""), cells, 2, wraps=True)


_SCORES = {"loss": "loss", "log_loss": "log loss", "brier_score": "Brier score", "roc_auc": "area under the ROC curve"}


def _caption(image: PredictedImage) -> str:
    return f"<b>{escape(describe_mistake(image))}</b><br>{escape(Path(image.path).name)}"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else percent(fraction)


def _solution(solution: Mapping[str, Any]) -> str:
    """Return how a head was solved, with the strengths from which one was chosen."""
    strengths = solution.get("strengths") or []
    of_what = " for standardized features" if strengths else ""
    text = f"The head was solved exactly: {solution['method']}, L2 strength {solution['l2']:.2g}{of_what}"
    if not strengths:
        return paragraph(f"{text}.")
    x = [math.log10(one["l2"]) for one in strengths]
    lines = [Line("cross-validated loss", 0, x, [one["loss"] for one in strengths])]
    marks = [(math.log10(solution["l2"]), f"chosen: {solution['l2']:.2g}")]
    chart = line_chart("cross-validated loss", "L2 strength", lines, is_fraction=False, x_is_log=True, marks=marks)
    return paragraph(f"{text}, the one with the lowest cross-validated loss.") + chart


def _matrix(metrics: Metrics) -> str:
    """Return a confusion matrix as a table, tinted by the fraction of the images of each class."""
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in metrics.classes)
    lines = []
    for name, counts in zip(metrics.classes, metrics.confusion_matrix, strict=True):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td class="number" style="background:color-mix(in srgb,var(--{"c2" if label == name else "c1"}) '
            f'{STRONGEST_TINT * n / total:.0f}%,transparent)">{n:,}</td>'
            for label, n in zip(metrics.classes, counts, strict=True)
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>\n')
    title = "confusion matrix: rows are true classes, columns predicted ones"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{title}"><table class="matrix"><thead><tr>'
        f'<th scope="col">true \\ predicted</th>{head}</tr></thead><tbody>\n{"".join(lines)}</tbody></table></div>\n'
    )


def _config(text: str) -> str:
    lines = "\n".join(escape(line) for line in text.splitlines())
    return f'<pre role="region" tabindex="0" aria-label="config.yaml, with every setting">{lines}</pre>\n'
