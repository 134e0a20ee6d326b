"""The report of a run as one HTML file: the verdict first, then where it is wrong, and what it was made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from cnncli.augmentation.views import number_of_views, render_view
from cnncli.errors import ImageError
from cnncli.evaluation.parity import held
from cnncli.images.decode import decode
from cnncli.metrics.table import VALIDATION, metric_named
from cnncli.report.page import (
    Line,
    escape,
    html_page,
    html_table,
    image_grid,
    line_chart,
    paragraph,
    pixels_uri,
    section,
)
from cnncli.report.prediction_sections import prediction_sections
from cnncli.report.run_report import RunReport
from cnncli.report.verdict import verdict
from cnncli.terminal.formatting import counted, decimal, duration, measured, percent, percent_range, size
from cnncli.training.diagnosis import diagnose
from cnncli.version import __version__

MOST_CLASSES, MOST_FILES = 40, 20
"""Maximum numbers of classes in the table of images, and of files in a list."""
EXAMPLES, VIEWS = 3, 4
"""Number of training images whose augmented views are shown, and of views of each at most."""


def run_page(report: RunReport, refresh_s: int | None = None) -> str:
    """Return the report of a run as HTML, which reloads itself after some seconds, if given."""
    parts = [
        paragraph(report.subtitle, "soft"),
        verdict(report),
        section("Training", _training(report)),
        prediction_sections(report),
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


def _images(report: RunReport) -> str:
    counts, classes = report.manifest.counts(), report.manifest.classes
    splits = list(counts)
    shown = classes[:MOST_CLASSES]
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

    rows = [
        (
            *(one.format, one.precision, f"{one.n:,}", measured(one.top1, percent)),
            "–" if math.isnan(one.top1) else percent_range(*one.top1_ci95),
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


def _solution(solution: Mapping[str, Any]) -> str:
    """Return how a head was solved, with the strengths from which one was chosen."""
    strengths = solution.get("strengths") or []
    of_what = " for Pareto-scaled features" if strengths else ""
    text = f"The head was solved exactly: {solution['method']}, L2 strength {solution['l2']:.2g}{of_what}"
    if not strengths:
        return paragraph(f"{text}.")
    x = [math.log10(one["l2"]) for one in strengths]
    lines = [Line("cross-validated loss", 0, x, [one["loss"] for one in strengths])]
    marks = [(math.log10(solution["l2"]), f"chosen: {solution['l2']:.2g}")]
    chart = line_chart("cross-validated loss", "L2 strength", lines, is_fraction=False, x_is_log=True, marks=marks)
    return paragraph(f"{text}, the one with the lowest cross-validated loss.") + chart


def _config(text: str) -> str:
    lines = "\n".join(escape(line) for line in text.splitlines())
    return f'<pre role="region" tabindex="0" aria-label="config.yaml, with every setting">{lines}</pre>\n'
