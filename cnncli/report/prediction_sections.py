"""The sections of a report about the predictions of a split: by class, the mistakes, and the confidence."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from cnncli.evaluation.predictions import PredictedImage
from cnncli.metrics.classification import Metrics, bin_interval, wilson_interval
from cnncli.metrics.reliability import ReliabilityBin
from cnncli.report.evaluation_figures import describe_mistake
from cnncli.report.page import (
    Line,
    data_uri,
    escape,
    fraction_histogram,
    html_table,
    image_grid,
    image_uri,
    line_chart,
    paragraph,
    pixels_uri,
    section,
)
from cnncli.report.run_report import RunReport
from cnncli.terminal.formatting import counted, decimal, percent, percent_range

MOST_CLASSES = 40
"""Number of classes with the lowest F1 in a table, at most."""
MOST_MISTAKES, MOST_SUSPECTS, MOST_PAIRS = 24, 12, 12
"""Maximum numbers of images of mistakes and of suspicious labels, and of confused pairs."""
MOST_CLASSES_IN_MATRIX = 12
"""Number of classes above which the confusion matrix is an image."""
MOST_CLASSES_IN_FIGURE = 40
"""Number of classes above which the labels of that image cannot be read."""
STRONGEST_TINT = 45
"""Percentage of color in the cell of a confusion matrix with all images of a class; the text stays readable."""
HIGH, LEAST_TO_JUDGE = 0.9, 30
"""Confidence that is called high, and number of predictions below which their accuracy is not stated."""
_SCORES = {"loss": "loss", "log_loss": "log loss", "brier_score": "Brier score", "roc_auc": "area under the ROC curve"}


def prediction_sections(report: RunReport) -> str:
    """Return the sections as HTML; one that has nothing to show is left out."""
    return "".join(
        (
            section("Results by class", _classes(report)),
            section("Confusion", _confusion(report)),
            section("Mistakes", _mistakes(report)),
            section("Suspicious labels", _suspects(report)),
            section("Can its confidence be trusted?", _calibration(report)),
            section("When it does not know", _coverage(report)),
        )
    )


def _classes(report: RunReport) -> str:
    if report.found is None:
        return ""
    metrics = report.found.metrics
    results = sorted(
        zip(metrics.classes, metrics.per_class, strict=True), key=lambda one: (one[1].f1, -one[1].n, one[0])
    )
    shown = results[:MOST_CLASSES]
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


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else percent(fraction)


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


def _pictures(report: RunReport, path: Path) -> list[str | None]:
    """Return an image and, if it was explained, the same with where the network looked."""
    if report.pixels is None:
        return [None]
    if path not in report.explanations:
        return [image_uri(path, report.pixels)]
    return [image_uri(path, report.pixels, report.pixels.fit), pixels_uri(report.explanations[path])]


def _caption(image: PredictedImage) -> str:
    return f"<b>{escape(describe_mistake(image))}</b><br>{escape(Path(image.path).name)}"


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
