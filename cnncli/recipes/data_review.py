"""`cnncli data review`: find labels that are probably wrong, and images of bad quality."""

from __future__ import annotations

import csv
import io
import logging
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import cache_settings, load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.labels.corrections import Corrections, load_corrections
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.quality import PROBLEMS, QUALITY_COLUMNS, QualityIssue, find_quality_issues, quality_rows
from cnncli.dataset.records import LABEL_SEPARATOR, SPLITS, ImageRecord
from cnncli.dataset.verification import require_unchanged
from cnncli.errors import DataError, ImageError, Message, RunError, printable, reason_of
from cnncli.evaluation.label_errors import LEAST_IMAGES, review_labels
from cnncli.images.bands import preview
from cnncli.images.decode import decode
from cnncli.inference.embeddings import embedding_of
from cnncli.report.contact_sheet import draw_tiles
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.serving.label_review import Card, LabelReviewServer
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console

REMEDY = "restore the images, or train again"
Split = Literal["train", "validation", "test", "all"]
COLUMNS = ("path", "label", "suggested", "score", "flagged", "split")
TABLE, QUALITY, SHEET = "labels.csv", "quality.csv", "suspects.png"
TILES, TILE_COLUMNS, TILE_PX = 48, 8, 160
"""Number of images of the contact sheet, its columns, and the side of each in pixels."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReviewedLabel:
    """An image with its label.

    Attributes:
        suggested: Most probable labels.
        score: 0-1, the higher the more probable is a wrong label; above 0.5 another one is more probable.
        flagged: Whether confident learning counts the label as wrong.
    """

    row: ImageRecord
    suggested: tuple[str, ...]
    score: float
    flagged: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `data review --json`."""
        values = (self.row.file, _joined(self.row.labels), _joined(self.suggested), self.score, self.flagged)
        return dict(zip(COLUMNS, (*values, self.row.split), strict=True))


def _joined(labels: Sequence[str]) -> str:
    return LABEL_SEPARATOR.join(labels)


@dataclass(frozen=True)
class Review:
    """A review of the labels and images of a run.

    Attributes:
        manifest: All images of the run.
        labels: The reviewed images whose labels nobody has confirmed, the most suspicious first.
        confirmed: The others, in the same order.
        issues: Problems of image quality; none if it was not measured.
        folder: Where the tables and the sheet are.
        corrections: The decisions of earlier reviews and of this one.
    """

    run: RunFolder
    config: Config
    manifest: Manifest
    labels: tuple[ReviewedLabel, ...]
    confirmed: tuple[ReviewedLabel, ...]
    issues: tuple[QualityIssue, ...]
    folder: Path
    corrections: Corrections

    @cached_property
    def suspects(self) -> tuple[ReviewedLabel, ...]:
        """The images for which another label is more probable, flagged ones among them, the most suspicious first.

        Those whose label was confirmed are not among them.
        """
        return tuple(one for one in self.labels if one.score > 0.5)

    @property
    def n_reviewed(self) -> int:
        """Number of reviewed images."""
        return len(self.labels) + len(self.confirmed)

    @property
    def n_flagged(self) -> int:
        """Number of labels that confident learning counts as wrong and nobody has confirmed."""
        return sum(one.flagged for one in self.labels)

    @property
    def problems(self) -> dict[str, int]:
        """Number of images by problem of quality."""
        counts = Counter(one.problem for one in self.issues)
        return {problem: counts[problem] for problem in PROBLEMS if counts[problem]}


def review(run: RunFolder, console: Console, split: Split = "train", out: Path | None = None) -> Review:
    """Rank the labels of a finished run, measure the quality of its images, and write tables and a sheet."""
    found = rank_labels(run, console, split, out)
    rows = [one.row for one in (*found.labels, *found.confirmed)]
    issues = find_quality_issues(rows, found.config.data, console)
    with _writing_to(found.folder):
        write_atomically(found.folder / QUALITY, _csv(QUALITY_COLUMNS, quality_rows(issues)))
        _draw(found)
    return replace(found, issues=tuple(issues))


def rank_labels(run: RunFolder, console: Console, split: Split = "train", out: Path | None = None) -> Review:
    """Review the labels of a finished run, and write their table. With cached features, no image is decoded.

    Every image is scored by linear classifiers on the run's features that were solved without it. Those of validation
    and test images are reviewed together with the training images. Labels that a person has confirmed, in a review of
    this run or of an earlier one whose corrections it was trained with, are listed apart.

    Args:
        run: The run.
        console: Console for progress.
        split: Split to review.
        out: Folder of the results; default: `review` in the run.

    Raises:
        DataError: Images are missing or have changed, or are too few; or the table of earlier decisions is damaged.
        RunError: The run is unfinished or damaged, has no such split, or the folder cannot be written to.
    """
    require_finished(run)
    config, manifest = load_resolved(run.config), Manifest.from_csv(run.manifest)
    config = config.model_copy(update={"cache": cache_settings(config.cache)})
    wanted = {"train", split} if split != "all" else set(SPLITS)
    rows = [row for row in manifest.rows if row.split in wanted]
    if not any(split in ("all", row.split) for row in rows):
        text = f"{printable(run.path)}: the dataset has no {split} split, only {', '.join(manifest.counts())}."
        raise RunError(Message("run-split-missing", text, path=run.path, received=split))
    folder = out or run.review
    corrections = load_corrections(folder, manifest, config.data)
    require_unchanged(rows, config.data, REMEDY, console)
    ranked = [one for one in _rank(run, config, manifest, rows, console) if split in ("all", one.row.split)]
    files = corrections.confirmed_files()
    labels = tuple(one for one in ranked if one.row.file not in files)
    confirmed = tuple(one for one in ranked if one.row.file in files)
    with _writing_to(folder):
        lines = [(*one.to_dict().values(), False) for one in labels]
        lines += [(*one.to_dict().values(), True) for one in confirmed]
        write_atomically(folder / TABLE, _csv((*COLUMNS, "confirmed"), lines))
    return Review(run, config, manifest, labels, confirmed, (), folder, corrections)


def _rank(
    run: RunFolder, config: Config, manifest: Manifest, rows: Sequence[ImageRecord], console: Console
) -> list[ReviewedLabel]:
    groups = [row.group for row in rows] if any(row.group for row in rows) else []
    if (n := len({row.group or row.digest for row in rows})) < LEAST_IMAGES:
        what = "groups" if groups else "different images"
        text = f"{printable(run.path)}: {n} {what} are too few to review labels; at least {LEAST_IMAGES} are needed."
        raise DataError(Message("data-review-too-few", text, path=run.path, received=n, expected=LEAST_IMAGES))
    with embedding_of(run, config) as embedding:
        vectors = embedding.of_rows(rows, console)
        if embedding.is_trained:
            text = "The features were trained with these labels, so wrong ones are found less reliably."
            log.warning(Message("data-review-trained-features", f"{text} Review a run with a frozen backbone."))
    labels, classes = manifest.labels(rows), manifest.classes
    found = review_labels(vectors, labels, [row.digest for row in rows], groups, len(classes), config.seed)
    return [
        ReviewedLabel(
            rows[n], _names(found.suggested[n], classes), round(float(found.scores[n]), 6), bool(found.flagged[n])
        )
        for n in found.ranking
    ]


def _names(suggested: NDArray[Any], classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a class index, or of the labels that are 1."""
    places = [int(suggested)] if suggested.ndim == 0 else np.flatnonzero(suggested).tolist()
    return tuple(classes[place] for place in places)


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Create the folder of a review, and turn errors of writing into RunError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        text = f"{printable(folder)}: cannot be written ({reason_of(error)}). Choose a folder with --out."
        raise RunError(Message("run-folder-not-writable", text, path=folder, reason=reason_of(error))) from error


def _csv(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows([str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows)
    return text.getvalue()


def _draw(review: Review) -> None:
    """Draw the most suspicious images, with the given and the suggested label above each; without any, no sheet."""
    tiles = []
    for one in review.suspects[:TILES]:
        title = f"{_joined(one.row.labels)} → {_joined(one.suggested)}  {one.score:.2f}"
        try:
            tiles.append((printable(title), _tile(one.row, review.config.data)))
        except ImageError:  # it was deleted in the meantime
            continue
    if not tiles:
        (review.folder / SHEET).unlink(missing_ok=True)
        return
    counts = f"images reviewed: {review.n_reviewed:,}, another label more probable: {len(review.suspects):,}"
    small_print = f"{counts}, flagged: {review.n_flagged:,} · given → suggested, score"
    title = f"{printable(review.run.path.name)}: most suspicious labels"
    draw_tiles(tiles, title, small_print, review.folder / SHEET, TILE_COLUMNS)


def _tile(row: ImageRecord, data: DataConfig) -> NDArray[np.uint8]:
    """Return the whole image on a white square."""
    sides = row.facts.height or TILE_PX, row.facts.width or TILE_PX
    height, width = (max(1, round(TILE_PX * side / max(sides))) for side in sides)
    tile = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    top, left = (TILE_PX - height) // 2, (TILE_PX - width) // 2
    tile[top : top + height, left : left + width] = preview(
        decode(row.path, data.pixel_spec_of(height, width, "stretch"))
    )
    return tile


def cards_of(review: Review) -> list[Card]:
    """Return what the page shows: suspicious labels, images with problems of quality, and labels confirmed before.

    Of the latter, those for which another label is more probable are shown, so that a person can think again.
    """
    return [
        *(Card(one.row, "Labels", _describe(one), one.suggested) for one in review.suspects),
        *(Card(one.row, one.problem.capitalize(), one.describe(), other=one.other) for one in review.issues),
        *(Card(one.row, "Confirmed", _describe(one), one.suggested) for one in review.confirmed if one.score > 0.5),
    ]


def _describe(one: ReviewedLabel) -> str:
    flagged = ", flagged" if one.flagged else ""
    return f"Suggested: {_joined(one.suggested) or 'no label'} · score {one.score:.2f}{flagged}"


def serve_review(review: Review, port: int = 0) -> LabelReviewServer:
    """Return a server of the page for a review, which must be run by the caller.

    Raises:
        RunError: The port is in use.
    """
    name = review.run.path.name
    facts = {"title": f"Label review: {name}", "command": _training_command(review)}
    classes, data = review.manifest.classes, review.config.data
    try:
        return LabelReviewServer(cards_of(review), review.corrections, classes, data, facts, port)
    except OSError as error:
        text = f"port {port}: cannot be used ({reason_of(error)}). Choose another one, or none."
        raise RunError(Message("run-port-in-use", text, received=port)) from error


def command_with(review: Review) -> str | None:
    """Return the command that trains with the corrected labels; None without a table, or if it has no images."""
    return _training_command(review) if review.corrections.is_label_source else None


def _training_command(review: Review) -> str:
    return shlex.join(["cnncli", "train", str(review.run.config), review.corrections.setting])
