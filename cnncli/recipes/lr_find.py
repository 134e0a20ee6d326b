"""`cnncli lr-find`: find a learning rate by a range test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cnncli.config.modes import Stage, stages_of
from cnncli.config.schema import Config
from cnncli.config.solver import describe_solver
from cnncli.config.training_settings import StageConfig
from cnncli.dataset.build import index_images
from cnncli.engines.build import graphs_in_use
from cnncli.errors import ConfigError, Message, printable
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.report.rate_range_plot import draw_rate_range
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import RunWriter
from cnncli.storage.atomic import output_path
from cnncli.storage.cache_dir import make_cache_dir
from cnncli.terminal.console import Console
from cnncli.terminal.suggestions import did_you_mean
from cnncli.training.batch_size import require_memory, resolve_batch_size
from cnncli.training.context import StageSetup, TrainingContext, check_stages
from cnncli.training.mixing import Mixing
from cnncli.training.rate_range import RateRange, measure_rate_range
from cnncli.training.stage import build_step
from cnncli.training.trainer import Trainer

LOW, HIGH, STEPS = 1e-6, 10.0, 150
"""Default rates, which suit every optimizer, and number of steps between them."""


@dataclass(frozen=True)
class FoundRate:
    """The range test of a stage.

    Attributes:
        stage: The stage, whose optimizer has the learning rate of the config.
        key, value: Setting that gives the stage the suggested rate; None if there is none.
        batch_size: Number of images of a batch, on which good rates depend.
    """

    stage: Stage
    result: RateRange
    key: str
    value: float | None
    batch_size: int

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `lr-find --json`."""
        return {
            "stage": self.stage.name,
            "optimizer": self.stage.optimizer.name,
            "batch_size": self.batch_size,
            "learning_rate": self.stage.optimizer.learning_rate,
            **{name: getattr(self.result, name) for name in ("suggested", "low", "high", "diverged", "points")},
            "setting": {"key": self.key, "value": self.value},
        }


@standard_settings()
def lr_find(
    config: Config,
    console: Console,
    stage: str | None = None,
    rates: tuple[float, float] = (LOW, HIGH),
    steps: int = STEPS,
    out: Path | None = None,
    show: Callable[[FoundRate], None] | None = None,
) -> FoundRate:
    """Train a stage with a learning rate that grows from step to step, and suggest one. No run is written.

    Args:
        config: A config that is trained by gradients.
        console: Console for progress.
        stage: Name of the stage, before which those before it are trained; None: the last one.
        rates: The first and the last learning rate.
        steps: Number of steps, at least 2.
        out: PNG or SVG to draw; None: none is drawn.
        show: Called with the result before `out` is drawn, so that a full disk does not lose it.

    Raises:
        ConfigError: The head is solved exactly, there is no such stage, or the first rate is not below the last one.
        DataError: Problems of the images.
        TrainingError: A batch does not fit into memory.
        CnncliError: `out` is not the name of a PNG or SVG, or its folder does not exist.
    """
    path = None if out is None else output_path(out, (".png", ".svg"))
    number = _require_stage(config, stage)
    low, high = rates
    if low >= high:
        text = f"--from {low:g}: must be below --to {high:g}."
        raise ConfigError(Message("usage-value-invalid", text, key="--from", received=low, expected=high))
    make_cache_dir()
    import_keras_meanwhile()
    manifest = index_images(config, console)
    config = resolve_batch_size(config, len(manifest.classes), len(manifest.split("train")), console)
    context = TrainingContext.for_this_machine(config, manifest, console)
    classifier = build_classifier(config, len(manifest.classes))
    check_stages(classifier, config)
    tested = context.stages[number]
    with graphs_in_use(context.graphs), context.store:
        _train_before(classifier, context, number)
        setup = StageSetup.build(classifier, tested, context)
        setup.announce()
        train, _ = setup.load("train")
        step = build_step(classifier, setup, train.labels)
        step.seed(config.seed, tested.name)
        mixing = Mixing.from_config(config.augmentation, config.seed)
        console.phase("lr-find", f"{steps} steps of {context.batch_size} images, learning rate {low:g} to {high:g}")
        series = np.geomspace(low, high, steps)
        with require_memory(step, min(context.batch_size, len(train.labels)), tested.name):
            result = measure_rate_range(step, train, mixing, tested.name, context.batch_size, series)
    found = FoundRate(tested, result, *_setting(config, number, result.suggested), context.batch_size)
    if show:
        show(found)
    if path is not None:
        draw_rate_range(result, tested.optimizer.learning_rate, path)
    return found


def _require_stage(config: Config, name: str | None) -> int:
    """Return the number of a stage from 0. Raises ConfigError if there is none, or nothing is trained by gradients."""
    if config.training.solver == "exact":
        key = "training.solver"
        text = f"{key}: the head is {describe_solver(config)}, and has no learning rate."
        remedy = "Set training.solver=gradient, or mode=fine-tuning."
        raise ConfigError(Message("config-no-learning-rate", f"{text} {remedy}", key=key))
    names = [stage.name for stage in stages_of(config)]
    if name is None:
        return len(names) - 1
    if name not in names:
        hint = did_you_mean(name, names) or f"Stages: {', '.join(map(printable, names))}."
        text = f"--stage {printable(name)}: the config has no such stage. {hint}"
        raise ConfigError(Message("usage-stage-unknown", text, received=name, expected=tuple(names)))
    return names.index(name)


def _train_before(classifier: Classifier, context: TrainingContext, number: int) -> None:
    """Train the stages before one, whose learning rate depends on their result, in a temporary folder."""
    if not number:
        return
    stages = tuple(StageConfig.model_validate(vars(stage)) for stage in context.stages[:number])
    config = context.config.model_copy(
        update={"training": context.config.training.model_copy(update={"stages": stages})}
    )
    before = TrainingContext.for_this_machine(config, context.manifest, context.console)
    with TemporaryDirectory(prefix="cnncli-lr-find-") as folder:
        run = RunFolder(Path(folder))
        run.state.mkdir()
        with RunWriter(run) as writer:
            Trainer(classifier, before, writer).train()


def _setting(config: Config, number: int, rate: float | None) -> tuple[str, float | None]:
    """Return the setting, with its value, that gives a stage a learning rate.

    The stage that mode fine-tuning adds has a tenth of the rate of `training.optimizer`.
    """
    if (stages := config.training.stages) is not None and stages[number].optimizer is not None:
        return f"training.stages.{number}.optimizer.learning_rate", rate
    factor = config.training.optimizer.learning_rate / stages_of(config)[number].optimizer.learning_rate
    return "training.optimizer.learning_rate", None if rate is None else float(f"{rate * factor:.2g}")
