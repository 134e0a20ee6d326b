"""Image quality: dark, bright and blurry images, odd sizes and shapes, near-duplicates with the same or other labels.

The limits of darkness, brightness, size and shape are those of CleanVision (Apache 2.0). Sharpness is measured on the
image at a fixed size, so a large image that is only sharp when it is reduced is not blurry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.duplicates import identical, similar, within_splits
from cnncli.dataset.perceptual_hash import LEAST_CORRELATION
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.verification import add_facts
from cnncli.errors import ImageError
from cnncli.images.bands import preview
from cnncli.images.decode import PixelSpec, decode
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.console import Console

Problem = Literal["dark", "bright", "blurry", "odd size", "odd shape", "duplicate", "two labels"]
PROBLEMS: tuple[Problem, ...] = get_args(Problem)

SIDE = 256
"""Longer side in pixels at which images are measured."""
MAX_DARK, MIN_BRIGHT = 0.32, 0.95
"""Brightness (0-1) below which the 99th percentile of a dark image is, and above which the 5th of a bright one is."""
MIN_SHARPNESS = 0.075
"""Strength of the finest details, relative to the contrast, below which an image is blurry. Of 280 photographs of cats
and dogs, none is below it, nor is any blurred by 1 pixel; 78 % are after a blur of 2 pixels, and all after 3."""
MAX_AREA_RATIO = 10.0
"""Largest ratio of the pixels of an image to the median of all images, or of the median to them."""
MAX_SHAPE_RATIO = 1 / 0.35
"""Largest ratio of the sides of an image, unless that is usual among the images."""
BATCH = 16
_DESCRIPTIONS: dict[Problem, str] = {
    "dark": "99 % of the pixels are darker than {0.percent} %",
    "bright": "95 % of the pixels are brighter than {0.percent} %",
    "blurry": "Sharpness {0.value:.3f}, below {0.limit:g}",
    "odd size": "{0.row.facts.width} × {0.row.facts.height} pixels, {0.factor} the median area",
    "odd shape": "{0.row.facts.width} × {0.row.facts.height} pixels, one side {0.value:.1f} times the other",
    "duplicate": "Resembles another image with its label, {0.percent} %",
    "two labels": "Resembles an image labeled {0.other.label}, {0.percent} %",
}
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class QualityIssue:
    """A problem of an image.

    Attributes:
        value: The measured value; for duplicates the correlation of the brightness (0-1), 1 for identical files; for
            odd sizes the ratio of the number of pixels to the median, or of the median to it.
        limit: The value beyond which it is a problem.
        other: The image that a duplicate resembles, else None.
        is_smaller: Whether an image of odd size is smaller than the others.
    """

    row: ImageRecord
    problem: Problem
    value: float
    limit: float
    other: ImageRecord | None = None
    is_smaller: bool = False

    @property
    def factor(self) -> str:
        """The ratio of an odd size to the median in words."""
        return f"1/{self.value:.0f} of" if self.is_smaller else f"{self.value:.0f} times"

    @property
    def percent(self) -> int:
        """The value in percent."""
        return round(100 * self.value)

    def describe(self) -> str:
        """Return the measured value in words."""
        return _DESCRIPTIONS[self.problem].format(self)


def find_quality_issues(rows: Sequence[ImageRecord], data: DataConfig, console: Console) -> list[QualityIssue]:
    """Measure images of a manifest, and return their problems by kind, the worst first.

    Images that can no longer be decoded are left out.
    """
    rows = [row for row in add_facts(rows, data, console) if row.facts.width]
    if not rows:
        return []
    shapes = _odd_sizes(rows), _odd_shapes(rows)
    pixels = list(_pixel_issues(rows, data, console))
    found = [*pixels, *(issue for issues in shapes for issue in issues), *_duplicates(rows, console)]
    return sorted(found, key=lambda issue: (PROBLEMS.index(issue.problem), -_severity(issue)))


def _severity(issue: QualityIssue) -> float:
    return -issue.value if issue.problem in ("dark", "blurry") else issue.value


def _pixel_issues(rows: Sequence[ImageRecord], data: DataConfig, console: Console) -> Iterator[QualityIssue]:
    measure = partial(_measure_all, data=data)
    with console.progress(len(rows), "measuring images") as progress:
        for batch, measured in zip(
            batched(rows, BATCH), map_ordered(measure, batched(rows, BATCH), 2 * workers()), strict=True
        ):
            progress.advance(len(batch))
            for row, values in zip(batch, measured, strict=True):
                if values is None:
                    continue
                dark, bright, sharpness = values
                if dark < MAX_DARK:
                    yield QualityIssue(row, "dark", dark, MAX_DARK)
                if bright > MIN_BRIGHT:
                    yield QualityIssue(row, "bright", bright, MIN_BRIGHT)
                if sharpness < MIN_SHARPNESS:
                    yield QualityIssue(row, "blurry", sharpness, MIN_SHARPNESS)


def _measure_all(rows: Sequence[ImageRecord], data: DataConfig) -> list[tuple[float, float, float] | None]:
    return [_measure(row, data) for row in rows]


def _measure(row: ImageRecord, data: DataConfig) -> tuple[float, float, float] | None:
    try:
        pixels = decode(row.path, preview_spec(row, data, SIDE))
    except ImageError:
        return None
    gray = preview(pixels) @ np.array(LUMA, np.float32) / 255
    dark, bright = np.percentile(gray, (99, 5))
    return float(dark), float(bright), measure_sharpness(gray)


def preview_spec(row: ImageRecord, data: DataConfig, side: int) -> PixelSpec:
    """Return how an image is decoded with its own aspect ratio, so that its longer side has at most `side` pixels."""
    scale = min(1.0, side / max(row.facts.width, row.facts.height))
    height, width = (max(1, round(length * scale)) for length in (row.facts.height, row.facts.width))
    return data.pixel_spec_of(height, width, "stretch")


def measure_sharpness(gray: NDArray[np.floating]) -> float:
    """Return the strength of the finest details of brightness (height, width), relative to its contrast.

    It is the ratio of the standard deviations of the Laplacian and of the image itself, and infinite for an image of
    one color, which is not blurry.
    """
    if min(gray.shape) < 3:
        return float("inf")
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
    contrast = float(gray.std())
    return float(laplacian.std()) / contrast if contrast > 1e-3 else float("inf")


def _odd_sizes(rows: Sequence[ImageRecord]) -> Iterator[QualityIssue]:
    areas = [row.facts.width * row.facts.height for row in rows]
    middle = median(areas)
    for row, area in zip(rows, areas, strict=True):
        if (ratio := max(area / middle, middle / area)) > MAX_AREA_RATIO:
            yield QualityIssue(row, "odd size", ratio, MAX_AREA_RATIO, is_smaller=area < middle)


def _odd_shapes(rows: Sequence[ImageRecord]) -> Iterator[QualityIssue]:
    shapes = [max(row.facts.width / row.facts.height, row.facts.height / row.facts.width) for row in rows]
    limit = max(MAX_SHAPE_RATIO, 2 * median(shapes))
    yield from (
        QualityIssue(row, "odd shape", shape, limit) for row, shape in zip(rows, shapes, strict=True) if shape > limit
    )


def _duplicates(rows: Sequence[ImageRecord], console: Console) -> Iterator[QualityIssue]:
    """Yield images that are identical or similar to an earlier one of their split, each once."""
    pairs = [(group[0], other, 1.0) for group in within_splits(identical(rows)) for other in group[1:]]
    found = similar(rows, {row.split for row in rows}, console).pairs
    pairs += [(rows[one], rows[other], correlation) for one, other, correlation in found]
    seen: set[str] = set()
    for first, second, correlation in pairs:
        if first.split == second.split and second.file not in seen:
            seen.add(second.file)
            problem: Problem = "duplicate" if first.labels == second.labels else "two labels"
            yield QualityIssue(second, problem, correlation, LEAST_CORRELATION, first)


def quality_rows(issues: Sequence[QualityIssue]) -> Iterator[tuple[Path | str | float, ...]]:
    """Yield the cells of a table of issues with the columns `QUALITY_COLUMNS`."""
    for one in issues:
        other = "" if one.other is None else one.other.file
        yield one.row.file, one.row.label, one.row.split, one.problem, round(one.value, 4), round(one.limit, 4), other


QUALITY_COLUMNS = ("path", "label", "split", "problem", "value", "limit", "similar_to")
