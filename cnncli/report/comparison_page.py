"""A comparison of runs as one HTML file: results with intervals, tests, curves, settings and disputed images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.catalogue.metrics import MetricInfo
from cnncli.config.tree import setting_text
from cnncli.evaluation.agreement import SIGNIFICANT, Agreement, Disagreement, PairedTest
from cnncli.images.decode import PixelSpec
from cnncli.report.comparison import Curve
from cnncli.report.page import (
    Dot,
    Line,
    dot_plot,
    escape,
    html_page,
    html_table,
    image_grid,
    image_uri,
    line_chart,
    paragraph,
    section,
)
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.formatting import count_text, duration, percent, percent_range, signed_points
from cnncli.version import __version__

MAX_IMAGES = 60


@dataclass(frozen=True)
class SplitResult:
    """Accuracy of a run on the `n` images of a split, with its 95 % interval."""

    accuracy: float
    ci95: tuple[float, float]
    n: int
    loss: float | None

    @property
    def text(self) -> str:
        """The accuracy with its interval."""
        return f"{percent(self.accuracy)} ({percent_range(*self.ci95)})"


@dataclass(frozen=True)
class PageRun:
    """A run on the page: its results by split, its curves, its duration, and its number of classes if it is known."""

    name: str
    results: Mapping[str, SplitResult]
    curve: Curve
    seconds: float | None
    n_classes: int | None = None


@dataclass(frozen=True)
class ComparisonPage:
    """Everything on the page.

    Attributes:
        runs: The runs.
        metric: The metric of the curves.
        x: Title of the horizontal axis of the curves.
        settings: Values of each differing setting, in the order of the runs.
        agreement: The runs on the images that they share, if they were compared.
        pixels: How images are decoded.
        shows_classes: Whether the numbers of classes are a column.
    """

    runs: Sequence[PageRun]
    metric: MetricInfo
    x: str
    settings: Mapping[str, Sequence[Any]]
    agreement: Agreement | None
    pixels: PixelSpec
    shows_classes: bool = False

    def write(self, path: Path) -> None:
        """Write the page."""
        names = [run.name for run in self.runs]
        title = " · ".join(names) if len(names) <= 3 else f"{len(names)} runs"
        body = "".join((self._verdict(), self._results(), self._tests(), self._curves(), self._settings()))
        footer = (
            f"cnncli {__version__} · accuracies with 95 % Wilson intervals · test images are for confirming a choice"
        )
        write_atomically(
            path, html_page(f"Comparison: {title}", f"{body}{self._images()}", f"{footer}, not for making it")
        )

    def _verdict(self) -> str:
        if self.agreement is None or not self.agreement.tests:
            return paragraph("The runs share no images on which their predictions can be compared.", "lead")
        return "".join(paragraph(describe_test(test), "lead") for test in self.agreement.tests[:3])

    def _results(self) -> str:
        splits = [split for split in ("validation", "test") if any(split in run.results for run in self.runs)]
        rows = []
        for run in self.runs:
            classes = [count_text(run.n_classes)] if self.shows_classes else []
            cells = [run.results[split].text if split in run.results else "–" for split in splits]
            counts = [count_text(run.results[split].n if split in run.results else None) for split in splits]
            time = "–" if run.seconds is None else duration(run.seconds)
            rows.append(
                (run.name, *classes, *(text for pair in zip(cells, counts, strict=True) for text in pair), time)
            )
        columns = (
            "run",
            *(["classes"] if self.shows_classes else []),
            *(name for split in splits for name in (f"{split} accuracy", "images")),
            "time",
        )
        dots = [
            (
                run.name,
                [
                    Dot(found.accuracy, *found.ci95, f"{split} {found.text}", is_hollow=split == "validation")
                    for split, found in run.results.items()
                ],
            )
            for run in self.runs
        ]
        kinds = [(split, split == "validation") for split in splits]
        return section("Results", dot_plot(dots, kinds), html_table("Results", columns, rows))

    def _tests(self) -> str:
        if self.agreement is None or not self.agreement.tests:
            return ""
        several = len(self.agreement.tests) > 1
        columns = ["runs", "difference", "only the first right", "only the second right", "p (McNemar)"]
        rows = [
            (
                *(f"{test.first} → {test.second}", points(test), f"{test.only_first:,}", f"{test.only_second:,}"),
                *(p_text(test.p), *((p_text(test.p_holm),) if several else ())),
            )
            for test in self.agreement.tests
        ]
        left_out = f" {self.agreement.n_left_out:,} others are not shared." if self.agreement.n_left_out else ""
        text = f"{self.agreement.n:,} {self.agreement.split} images are evaluated by all runs.{left_out}"
        columns += ["p (Holm)"] if several else []
        return section("The same images", paragraph(text), html_table("Tests", columns, rows))

    def _curves(self) -> str:
        lines = []
        for number, run in enumerate(self.runs):
            curve = run.curve
            if len(curve.x) > 1:
                lines.append(Line(f"{run.name}, training", number, curve.x, curve.train, is_dashed=True))
            lines.append(Line(f"{run.name}, validation", number, curve.x, curve.validation))
        if not any(len(run.curve.x) > 1 for run in self.runs):
            return section("Curves", paragraph("All heads were solved exactly, so there are no epochs.", "soft"))
        chart = line_chart(self.metric.name, self.x, lines, is_fraction=self.metric.is_fraction)
        return section("Curves", chart)

    def _settings(self) -> str:
        rows = [(key, *map(setting_text, values)) for key, values in self.settings.items()]
        columns = ("setting", *(run.name for run in self.runs))
        if not rows:
            return section("Settings", paragraph("All settings are equal."))
        return section("Differing settings", html_table("Settings", columns, rows, texts=len(columns)))

    def _images(self) -> str:
        if self.agreement is None or not self.agreement.disagreements:
            return ""
        disputed = self.agreement.disagreements
        shown = f", the {MAX_IMAGES} most confident" if len(disputed) > MAX_IMAGES else ""
        text = f"{len(disputed):,} of {self.agreement.n:,} images{shown}: the true class, then what each run predicts."
        grid = image_grid(self._image(one) for one in disputed[:MAX_IMAGES])
        return section("Images on which the runs disagree", paragraph(text), grid)

    def _image(self, one: Disagreement) -> tuple[Path, Sequence[str | None], str, str]:
        truth, lines, texts = one.image.label or "no label", [], []
        for place, (name, labels, confidence) in enumerate(
            zip(self.agreement.names if self.agreement else (), one.predictions, one.confidences, strict=True)
        ):
            is_right = one.is_correct(place)
            said = f"{name}: {', '.join(labels) or 'no label'} {percent(confidence)}"
            style, mark = ("good", "✓") if is_right else ("bad", "✗")
            lines.append(f'<br><span class="{style}">{mark} {escape(said)}</span>')
            texts.append(said)
        file = "/".join(one.image.path.parts[-2:])
        caption = f"<b>{escape(truth)}</b>{''.join(lines)}<br>{escape(file)}"
        return one.image.path, [image_uri(one.image.path, self.pixels)], f"{truth}. {'; '.join(texts)}", caption


def describe_test(test: PairedTest) -> str:
    """Return one sentence on a pair of runs."""
    (low, high), difference = test.ci95, test.difference
    chance = f"McNemar p {p_text(test.p_holm)} on {test.n:,} images"
    if test.p_holm >= SIGNIFICANT:
        facts = f"{signed_points(difference)} points from {test.first} to {test.second}"
        interval = f"95 % interval {signed_points(low)} to {signed_points(high)}"
        text = f"The results do not show which of {test.first} and {test.second} is better"
        return f"{text}: {facts} ({interval}; {chance})."
    better, other = test.second, test.first
    if difference < 0:
        better, other, difference, low, high = other, better, -difference, -high, -low
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
    return f"{better} is better than {other} by {100 * difference:.1f} points ({interval}; {chance})."


def points(test: PairedTest) -> str:
    """Return the difference of a pair in points, with its interval."""
    low, high = test.ci95
    return f"{signed_points(test.difference)} ({signed_points(low)} to {signed_points(high)})"


def p_text(p: float) -> str:
    """Return a p-value with two significant digits, or a bound.

    >>> p_text(0.0654), p_text(1.0), p_text(0.00002)
    ('0.065', '1.0', '< 0.0001')
    """
    return "< 0.0001" if p < 1e-4 else f"{p:#.2g}"
