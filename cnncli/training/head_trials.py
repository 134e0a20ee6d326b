"""Heads that a sweep tries: solved exactly on cached features and measured on validation images, without a run.

Heads that differ only in their own settings share the images, the frozen network and its features in memory. Each
result is recorded as soon as it is known, so that a sweep that was killed continues with the next head.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import NamedImages
from cnncli.engines.build import graphs_in_use
from cnncli.errors import Message, RunError, printable
from cnncli.metrics.classification import are_correct
from cnncli.metrics.table import as_validation
from cnncli.networks.backend import import_keras_meanwhile
from cnncli.networks.template import has_templates, state_of, template_folder
from cnncli.runs.records import HistoryRow
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.exact_head import FrozenNetwork, evaluate_head, evaluate_scores, scores_of, solve_on
from cnncli.training.inputs import CachedFeatures
from cnncli.training.solvers import exact

FOLDER = ".trials"
"""Folder of the records in the folder of the runs."""


@dataclass(frozen=True)
class HeadTrial:
    """The result of a head.

    Attributes:
        row: Metrics of training and validation images.
        validation: Summary of the metrics of validation images, as in the run.json of a run.
        seconds: Duration of the trial.
        wrong: Places of the validation images whose labels are not predicted.
        images: File and labels of the validation images; not recorded.
        n_classes: Number of classes; not recorded.
    """

    row: HistoryRow
    validation: dict[str, Any]
    seconds: float
    wrong: tuple[int, ...]
    images: NamedImages
    n_classes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record of the trial for JSON."""
        facts = {"validation": self.validation, "seconds": self.seconds, "wrong": list(self.wrong)}
        return {"row": self.row.to_dict(), **facts}

    @classmethod
    def from_dict(cls, record: dict[str, Any], images: NamedImages, n_classes: int) -> HeadTrial:
        """Return the trial of a record. Raises KeyError, TypeError or ValueError for a damaged one."""
        wrong = tuple(map(int, record["wrong"]))
        if not all(0 <= place < len(images) for place in wrong):
            raise ValueError("has mistakes on images that are not there")
        row, validation = HistoryRow.from_dict(record["row"]), dict(record["validation"])
        return cls(row, validation, float(record["seconds"]), wrong, images, n_classes)


class HeadTrials:
    """Tries heads, and remembers what the last one can share with the next one."""

    def __init__(self, runs_dir: Path, index: Callable[[Config], Manifest], console: Console) -> None:
        """Prepare trials, which are recorded in the folder of the runs. `index` builds the manifest of a config."""
        self._folder, self._index, self._console = runs_dir / FOLDER, index, console
        self._solver = str(state_of(*sorted(Path(exact.__file__).parent.glob("*.py"))))
        self._manifest: tuple[str, Manifest, NamedImages] | None = None
        self._features: tuple[str, CachedFeatures, CachedFeatures] | None = None

    def measure(self, config: Config) -> HeadTrial | None:
        """Return the recorded result of a config's head, or solve and record it; None without validation images.

        Raises:
            DataError, WeightsError, TrainingError: As in training.
            RunError: The result cannot be recorded.
        """
        manifest, images = self._manifest_of(config)
        if not images:
            return None
        context = TrainingContext.for_this_machine(config, manifest, self._console)
        path = self._folder / f"{self._key(context)}.json"
        with suppress(OSError, KeyError, TypeError, ValueError):
            return HeadTrial.from_dict(read_json(path), images, len(manifest.classes))
        trial = self._solve(context, images)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(trial.to_dict()) + "\n")
        except OSError as error:
            text = f"{printable(self._folder)}: cannot be written ({error.strerror}). Choose a folder with --runs-dir."
            message = Message("run-folder-not-writable", text, path=self._folder, reason=error.strerror)
            raise RunError(message) from error
        return trial

    def _key(self, context: TrainingContext) -> str:
        """Return the hash of a config without its name, of its images, and of its network and solver."""
        config, manifest = context.config, context.manifest
        template = template_folder(context.graphs, config, len(manifest.classes)).name
        parts = (dump_config(config.model_copy(update={"name": None})), manifest.csv_text(), template, self._solver)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _manifest_of(self, config: Config) -> tuple[Manifest, NamedImages]:
        """Return the manifest of a config, with file and labels of its validation images."""
        data = config.data.model_copy(update={"class_weights": "none"})
        key = json.dumps([data.model_dump(mode="json"), config.seed])
        if self._manifest is None or self._manifest[0] != key:
            manifest = self._index(config)
            self._manifest = key, manifest, tuple((one.file, one.labels) for one in manifest.split("validation"))
        return self._manifest[1:]

    def _solve(self, context: TrainingContext, images: NamedImages) -> HeadTrial:
        started, config, manifest = time.monotonic(), context.config, context.manifest
        train, validation = self._load_features(context)
        began = time.monotonic()
        head = solve_on(context, train)
        seconds = time.monotonic() - began
        scores = scores_of(head, validation)
        found = evaluate_scores(scores, config, manifest, validation)
        wrong = np.flatnonzero(~are_correct(scores, validation.labels, config.head.activation))
        metrics = {**evaluate_head(head, config, manifest, train).values, **as_validation(found.values)}
        row = HistoryRow("head", 1, None, metrics, seconds, len(train.labels) / seconds, head.solution.penalty)
        seconds = round(time.monotonic() - started, 3)
        return HeadTrial(row, found.summary(), seconds, tuple(wrong.tolist()), images, len(manifest.classes))

    def _load_features(self, context: TrainingContext) -> tuple[CachedFeatures, CachedFeatures]:
        """Return the features of the training and validation images of a config."""
        key = _features_key(context.config)
        if self._features is None or self._features[0] != key:
            self._features = None  # frees the memory of the last network
            if not has_templates(context.graphs, context.config):
                import_keras_meanwhile()
            with graphs_in_use(context.graphs), context.store:
                frozen = FrozenNetwork.of(context)
                frozen.announce()
                train, validation, _ = frozen.load()
            self._features = key, train, validation
        return self._features[1:]


def _features_key(config: Config) -> str:
    """Return everything that determines the features of a config, and their labels."""
    data = config.data.model_copy(update={"class_weights": "none"})
    head = config.head.model_copy(update={"l2": None})
    document = config.model_copy(update={"data": data, "head": head, "name": None}).model_dump(mode="json")
    return json.dumps({key: value for key, value in document.items() if key != "training"}, default=str)
