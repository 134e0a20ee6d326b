"""Contents of a run's report: the files of the run, read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.predictions import PredictedImage, mistakes
from cnncli.images.decode import PixelSpec
from cnncli.inference.evaluate_rows import load_assessment
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import HistoryRow, read_history
from cnncli.storage.safe_io import read_json


@dataclass(frozen=True)
class Parent:
    """The run from which this one continues, with its metrics by split."""

    name: str
    metrics: Mapping[str, Metrics]


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
        pixels: How images are decoded; None for a run that is not finished.
        is_all_trained: Whether nothing of the network was frozen.
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
    pixels: PixelSpec | None
    found: Assessment | None
    validation: Metrics | None
    is_all_trained: bool = False
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
        spec = PredictorSpec.load(run.engine) if is_finished else None
        metrics = _metrics_of(run)
        return cls(
            run=run,
            facts=facts,
            config=load_resolved(run.config),
            config_text=run.config.read_text(encoding="utf-8"),
            environment=read_json(run.environment) if run.environment.is_file() else {},
            manifest=Manifest.from_csv(run.manifest),
            history=read_history(run.history) if run.history.is_file() else (),
            stages=read_json(run.stages) if run.stages.is_file() else (),
            pixels=spec.pixels if spec else None,
            is_all_trained=spec is not None and not spec.trunks,
            found=found,
            validation=metrics.get("validation"),
            parent=_parent_of(facts),
        )

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

    @property
    def subtitle(self) -> str:
        """Network, mode and date."""
        created = str(self.facts["created"]).partition("T")[0]
        return " · ".join(filter(None, (self.facts.get("backbone"), self.facts.get("mode"), created)))


def _metrics_of(run: RunFolder) -> dict[str, Metrics]:
    """Return the metrics of the splits of a run; none if it has not finished."""
    return (
        {split: Metrics.from_dict(one) for split, one in read_json(run.metrics).items()}
        if run.metrics.is_file()
        else {}
    )


def _parent_of(facts: Mapping[str, Any]) -> Parent | None:
    if not facts.get("parent"):
        return None
    parent = RunFolder(Path(facts["parent"]))
    metrics = _metrics_of(parent)
    return Parent(parent.path.name, metrics) if metrics else None
