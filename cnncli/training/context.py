"""The context of a training on this machine, and a classifier cut for one of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import Stage, stages_of
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.build import build_engine, choose_engine
from cnncli.engines.engine import Engine, EngineChoice, Precision
from cnncli.errors import CnncliError, ConfigError, Message
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import Classifier, image_size
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.storage.cache_dir import FEATURES, GRAPHS, cache_dir
from cnncli.terminal.console import Console
from cnncli.training.optimizer import build_optimizer


@dataclass(frozen=True)
class TrainingContext:
    """Config, images, engine and cache, which every stage of a training uses.

    Attributes:
        config: Config of the run.
        manifest: Its images.
        pixels: How a file becomes pixels.
        choice: Engine and precision of trunks.
        store: Feature cache.
        graphs: Directory of converted trunks.
        console: Shows progress.
    """

    config: Config
    manifest: Manifest
    pixels: PixelSpec
    choice: EngineChoice
    store: FeatureStore
    graphs: Path
    console: Console

    @classmethod
    def for_this_machine(cls, config: Config, manifest: Manifest, console: Console) -> TrainingContext:
        """Choose the engine that this machine has, and use the cache directory."""
        return cls(
            config=config,
            manifest=manifest,
            pixels=config.data.pixel_spec(image_size(config)),
            choice=choose_engine(config.engine, config.precision),
            store=FeatureStore(cache_dir() / FEATURES, config.cache.max_bytes),
            graphs=cache_dir() / GRAPHS,
            console=console,
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the config, in order."""
        return stages_of(self.config)

    @property
    def batch_size(self) -> int:
        """Number of images in a step. A run's config has the number that was found for `auto`."""
        size = self.config.training.batch_size
        if size == "auto":
            raise ValueError("training.batch_size must be resolved before a training begins")
        return size

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.manifest.classes)


@dataclass(frozen=True)
class StageGraph:
    """A classifier cut for a stage, with the engine that runs its trunk.

    Attributes:
        stage: The stage.
        cut: Trunk and tail.
        fingerprint: Fingerprint of the trunk; None if it is empty.
        engine: Engine of the trunk; None if it is empty.
        converted: The converted trunk; None if there is none.
        precision: Precision of the tail: bfloat16 if the trunk's is and the tail has convolutions.
    """

    stage: Stage
    cut: Cut
    fingerprint: str | None
    engine: Engine | None
    converted: Path | None
    precision: Precision

    @classmethod
    def build(cls, classifier: Classifier, stage: Stage, context: TrainingContext) -> StageGraph:
        """Cut a classifier for a stage, and build the engine of its trunk."""
        cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
        precision = context.choice.precision if is_convolutional(cut.tail) else "float32"
        if cut.trunk is None:
            return cls(stage, cut, None, None, None, precision)
        name = fingerprint(cut.trunk)
        engine, converted = build_engine(cut.trunk, name, context.choice, context.graphs)
        return cls(stage, cut, name, engine, converted, precision)

    @property
    def choice(self) -> EngineChoice:
        """Engine and precision of the trunk, or of Keras if the trunk is empty."""
        return self.engine.choice if self.engine else EngineChoice("keras", self.precision)


def check_stages(classifier: Classifier, stages: Sequence[Stage], needs_pixels: bool = False) -> None:
    """Check before training whether every stage can be cut and has an optimizer that Keras accepts.

    Args:
        classifier: The whole graph.
        stages: Stages in order.
        needs_pixels: Whether no stage may freeze anything, since CutMix pastes pixels.

    Raises:
        ConfigError: All problems of all stages.
    """
    problems: list[str] = []
    for stage in stages:
        try:
            cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
            build_optimizer(stage.optimizer)
            if needs_pixels and cut.trunk is not None:
                raise ConfigError(
                    Message(
                        "config-contradiction-cutmix",
                        f"augmentation.cutmix: needs pixels, but the layers below {cut.at} are frozen. Use "
                        "unfreeze: all, or augmentation.mixup instead.",
                        key="augmentation.cutmix",
                        layer=cut.at,
                    )
                )
        except CnncliError as error:
            problems += [
                Message(problem.code, f"stage {stage.name}: {problem}", **{**problem.facts, "stage": stage.name})
                for problem in error.problems
            ]
    if problems:
        raise ConfigError(problems)
