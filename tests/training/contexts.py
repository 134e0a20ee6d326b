"""Helpers that train on tiny images: a context, and a run directory for the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.engines.engine import EngineChoice, EngineName
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import Classifier
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import RunWriter
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.trainer import Outcome, Trainer


def context_for(
    config: Config,
    store: Path,
    max_bytes: int | None = None,
    engine: EngineName = "openvino",
    console: Console | None = None,
) -> TrainingContext:
    """Build a context for images of 32 pixels, with a feature cache in `store`."""
    return TrainingContext(
        config=config,
        manifest=build_manifest(config.data, config.seed),
        pixels=PixelSpec(32, 32, config.data.color, "stretch", 10**6),
        choice=EngineChoice(engine, "bfloat16" if config.precision == "bfloat16" else "float32"),
        store=FeatureStore(store / "features", max_bytes),
        graphs=store / "graphs",
        console=console or Console(quiet=True),
    )


def train_in(
    context: TrainingContext,
    classifier: Classifier,
    folder: Path,
    parent_metrics: Mapping[str, float] | None = None,
) -> Outcome:
    """Train, with records and checkpoints in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with RunWriter(RunFolder(folder)) as writer:
        return Trainer(classifier, context, writer, parent_metrics).train()
