"""Epochs of a stage in cnncli, one at a time, with the cut, inputs and training step that `cnncli train` uses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnncli.config.modes import stages_of
from cnncli.config.reader import load_config_or_folder
from cnncli.dataset.build import build_manifest
from cnncli.features.store import FeatureStore
from cnncli.networks.classifier import build_classifier
from cnncli.terminal.console import Console
from cnncli.training.context import StageSetup, TrainingContext
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer, learning_rate_factor
from cnncli.training.steps import TrainStep
from scripts.benchmarks.keras_side import mixed_bfloat16, plain
from scripts.benchmarks.measurements import Finding, Target, seconds_in_turns
from scripts.benchmarks.workbench import Workbench


class TailEpochs:
    """The last stage of a config. Each call trains one epoch.

    Args:
        config_file: File in `configs/`.
        overrides: Settings by dotted key.
        work: Folder for the feature cache, converted graphs and the index of images.
    """

    def __init__(self, config_file: Path, overrides: Mapping[str, object], work: Path) -> None:
        config = load_config_or_folder(config_file, overrides)
        manifest = build_manifest(config.data, config.seed)
        context = replace(
            TrainingContext.for_this_machine(config, manifest, Console(quiet=True)),
            store=FeatureStore(work / "features"),
            graphs=work / "graphs",
        )
        self._stage, self._batch_size = stages_of(config)[-1], context.batch_size
        setup = StageSetup.build(build_classifier(config, len(manifest.classes)), self._stage, context)
        self._source, _ = setup.load("train")
        self.images = len(self._source.labels)
        self.precision = setup.precision
        objective = Objective(config.head.activation, len(manifest.classes))
        optimizer = build_optimizer(self._stage.optimizer)
        self._step = TrainStep(setup.cut.tail, optimizer, objective, setup.precision)
        self._epochs = itertools.count(1)

    def __call__(self) -> Any:
        """Train one more epoch without validation."""
        epoch, steps = next(self._epochs), math.ceil(self.images / self._batch_size)
        schedule, epochs = self._stage.schedule, self._stage.epochs
        factors = (
            learning_rate_factor(schedule, step, steps, epochs) for step in range((epoch - 1) * steps, epoch * steps)
        )
        batches = self._source.epoch(self._stage.name, epoch, self._batch_size)
        return self._step.train_epoch(batches, factors, f"epoch {epoch}")


def record_epochs(
    bench: Workbench,
    ours: TailEpochs,
    fit: Callable[[], Callable[[], object]],
    *,
    title: str,
    other: str,
    least: float,
    note: str,
) -> None:
    """Measure epochs of cnncli and of plain Keras in float32 and mixed_bfloat16 in turns, and record them.

    Args:
        bench: Setting of the benchmark.
        ours: Side of cnncli.
        fit: Builds the side of plain Keras in the current dtype policy.
        title: Title of the finding.
        other: Name of the side of plain Keras, to which the precision is appended.
        least: Minimum ratio of the rates of cnncli and of Keras in float32.
        note: Note of the finding.
    """
    fits = {"float32": fit()}
    with mixed_bfloat16():
        fits["mixed_bfloat16"] = fit()
    sides: dict[str, Callable[[], object]] = {"cnncli": ours, **{name: plain(side) for name, side in fits.items()}}
    seconds = seconds_in_turns(sides, bench.rounds)
    rates = {name: samples.per_second(ours.images) for name, samples in seconds.items()}
    for precision in fits:
        target = Target("comparison", least=least) if precision == "float32" else None
        side = f"{other}, {precision}"
        bench.record(Finding(title, "images/s", rates["cnncli"], side, rates[precision], target=target, note=note))
