"""Contents of a run's report: the files of the run, read once."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.labels.corrections import load_corrections
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import SPLITS
from cnncli.errors import DataError, Message, RunError, reason_of
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.predictions import PredictedImage, mistakes
from cnncli.images.decode import PixelSpec
from cnncli.inference.evaluate_rows import load_assessment, load_metrics
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics, accuracy_interval
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import HistoryRow, read_history
from cnncli.storage.safe_io import read_bytes, read_json
from cnncli.terminal.console import ONCE

MOST_BYTES = 2**30
"""Maximum size of a table of a run."""

Row = TypeVar("Row")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """The run from which this one continues, with its metrics by split."""

    name: str
    metrics: Mapping[str, Metrics]


@dataclass(frozen=True)
class ReportedLabel:
    """Result of `cnncli data review` for an image; with a score above 0.5, `suggested` is more probable."""

    path: Path
    label: str
    suggested: str
    score: float
    is_flagged: bool
    split: str

    @classmethod
    def from_cells(cls, path: str, label: str, suggested: str, score: str, flagged: str, split: str) -> Self:
        """Return a row of labels.csv."""
        return cls(Path(path), label, suggested, float(score), flagged.lower() == "true", split)


@dataclass(frozen=True)
class ExportedFile:
    """An export as `cnncli export` recorded it; `top1`, `max_difference` and `ms_per_image` can be NaN."""

    format: str
    precision: str
    n: int
    top1: float
    max_difference: float
    size_bytes: int
    ms_per_image: float
    holds: bool

    @property
    def top1_ci95(self) -> tuple[float, float]:
        """95 % interval of the accuracy."""
        return accuracy_interval(self.top1, self.n)

    @classmethod
    def from_cells(cls, kind: str, precision: str, n: str, top1: str, max_difference: str, *cells: str) -> Self:
        """Return a row of exports.csv."""
        n_bytes, ms_per_image, holds = cells
        measured = (float(top1), float(max_difference), int(n_bytes), float(ms_per_image))
        return cls(kind, precision, int(n), *measured, holds == "True")


@dataclass(frozen=True)
class RunReport:
    """Everything that a report says about a run.

    Attributes:
        run: The run.
        facts: run.json.
        config: The resolved config, and `config_text` its file.
        manifest: The images.
        history: The epochs.
        stages: stages.json.
        spec: How images are decoded and classified; None for a run that is not finished.
        found: The evaluation of the test images, or of the validation images if there are no others; None if the run is
            not finished.
        validation: Metrics of the validation images, if there are any.
        parent: The parent run, if there is one and it can be read.
        explanations: Drawings of where the network looked, uint8 RGB, by the path of the image.
    """

    run: RunFolder
    facts: Mapping[str, Any]
    config: Config
    config_text: str
    environment: Mapping[str, Any]
    manifest: Manifest
    history: Sequence[HistoryRow]
    stages: Sequence[Mapping[str, Any]]
    spec: PredictorSpec | None
    found: Assessment | None
    validation: Metrics | None
    parent: Parent | None = None
    explanations: Mapping[Path, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, run: RunFolder) -> Self:
        """Read a run, which may still be training.

        Raises:
            RunError: A file is damaged or missing.
        """
        facts = run.read_facts()
        is_finished = facts["state"] == "finished"
        found = (load_assessment(run, "test") or load_assessment(run, "validation")) if is_finished else None
        metrics = load_metrics(run)
        return cls(
            run=run,
            facts=facts,
            config=load_resolved(run.config),
            config_text=run.config.read_text(encoding="utf-8"),
            environment=_read(run.environment, {}),
            manifest=Manifest.from_csv(run.manifest),
            history=read_history(run.history) if run.history.is_file() else (),
            stages=_read(run.stages, ()),
            spec=PredictorSpec.load(run.engine) if is_finished else None,
            found=found,
            validation=metrics.get("validation"),
            parent=_parent_of(facts),
        )

    @property
    def pixels(self) -> PixelSpec | None:
        """How images are decoded; None for a run that is not finished."""
        return self.spec.pixels if self.spec else None

    @property
    def is_all_trained(self) -> bool:
        """Whether nothing of the network was frozen."""
        return self.spec is not None and not self.spec.trunks

    @property
    def title(self) -> str:
        """Name of the run."""
        return str(self.facts.get("name") or self.run.path.name)

    @property
    def baseline(self) -> tuple[str, float] | None:
        """The most frequent class of the training images, and the accuracy of always answering it."""
        if self.found is None or self.found.metrics.is_multi_label:
            return None
        counts = Counter(row.label for row in self.manifest.split("train"))
        if not counts:
            return None
        name = min(counts, key=lambda one: (-counts[one], one))
        images = self.found.images
        return name, sum(one.labels == (name,) for one in images) / len(images)

    @cached_property
    def mistakes(self) -> list[PredictedImage]:
        """The images that are classified wrongly, the most confident mistakes first; the first ones are shown."""
        return mistakes(self.found.images) if self.found else []

    @cached_property
    def skipped(self) -> list[tuple[str, str]]:
        """The images that were left out, with the reasons."""
        return _rows_of(self.run.skipped, ("path", "reason"), lambda *cells: cells)

    @cached_property
    def near_duplicates(self) -> list[tuple[str, str]]:
        """The pairs of similar images in different splits."""
        return _rows_of(self.run.near_duplicates, ("path", "path_2"), lambda *cells: cells)

    @cached_property
    def reviewed_labels(self) -> list[ReportedLabel]:
        """The labels that `cnncli data review` examined; none if it was not run."""
        return read_reviewed_labels(self.run)

    @property
    def reviewed_splits(self) -> str:
        """The splits of these labels in words, unless they are only those of training."""
        reviewed = {one.split for one in self.reviewed_labels}
        *others, last = [split for split in SPLITS if split in reviewed] or [""]
        words = f"{', '.join(others)} and {last}" if others else last
        return "" if words == "train" else words

    @property
    def doubtful_labels(self) -> list[ReportedLabel]:
        """Those for which another label is more probable, and which nobody has confirmed."""
        return [one for one in self.reviewed_labels if one.score > 0.5 and one not in self.confirmed_labels]

    @cached_property
    def confirmed_labels(self) -> set[ReportedLabel]:
        """Those that a person has confirmed, in a review of this run or of an earlier one whose corrections it has."""
        if not self.reviewed_labels:
            return set()
        try:
            decided = load_corrections(self.run.review, self.manifest, self.config.data)
        except DataError as error:  # only the review itself has to stop
            text = f"{error.problems[0]} Labels that were confirmed in it count as not confirmed."
            log.warning(Message("data-review-table-unreadable", text, path=self.run.review), extra=ONCE)
            return set()
        paths = {Path(file) for file in decided.confirmed_files()}
        return {one for one in self.reviewed_labels if one.path in paths}

    @property
    def n_spared_labels(self) -> int:
        """Number of labels that are only left out of the doubtful ones because a person has confirmed them."""
        return sum(one.score > 0.5 for one in self.confirmed_labels)

    @cached_property
    def exports(self) -> list[ExportedFile]:
        """The exports of the run."""
        columns = ("format", "precision", "n", "top1", "max_difference", "size_bytes", "ms_per_image", "holds")
        return _rows_of(self.run.export_table, columns, ExportedFile.from_cells)

    @property
    def has_parent_weights(self) -> bool:
        """Whether no epoch was better than the parent, so that its weights were kept."""
        return self.parent is not None and bool(self.stages) and self.stages[-1].get("best_epoch") == 0

    @property
    def subtitle(self) -> str:
        """Network, mode and date."""
        created = str(self.facts["created"]).partition("T")[0]
        return " · ".join(filter(None, (self.facts.get("backbone"), self.facts.get("mode"), created)))


def read_reviewed_labels(run: RunFolder) -> list[ReportedLabel]:
    """Return the labels of a run that `cnncli data review` examined; none if it was not run.

    Raises:
        RunError: Their table is damaged.
    """
    columns = ("path", "label", "suggested", "score", "flagged", "split")
    return _rows_of(run.review / "labels.csv", columns, ReportedLabel.from_cells)


def _parent_of(facts: Mapping[str, Any]) -> Parent | None:
    """Return the parent of a run; None if it has none, or if its metrics cannot be read."""
    if not facts.get("parent"):
        return None
    parent = RunFolder(Path(facts["parent"]))
    try:
        metrics = load_metrics(parent)
    except RunError as error:
        log.warning(error.problems[0])
        return None
    return Parent(parent.path.name, metrics) if metrics else None


def _read(path: Path, default: Any) -> Any:
    """Return the contents of a JSON file of a run, or a default if there is none. Raises RunError if it is damaged."""
    if not path.is_file():
        return default
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({reason_of(error)})") from error


def _rows_of(path: Path, columns: Sequence[str], parse: Callable[..., Row]) -> list[Row]:
    """Return what `parse` makes of the cells of each row of a CSV in some columns; no rows if there is no such file.

    Raises:
        RunError: The file is damaged, or a column is missing.
    """
    if not path.is_file():
        return []
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8", "surrogateescape")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
        if missing := [name for name in columns if name not in header]:
            raise ValueError(f"has no column {', '.join(missing)}")
        if any(len(line) != len(header) for line in lines if line):
            raise ValueError("a row has more or fewer cells than there are columns")
        places = [header.index(name) for name in columns]
        return [parse(*(line[place] for place in places)) for line in lines if line]
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path, reason_of(error)) from None
