"""The context of a training on this machine, and a classifier cut for one of its stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import Stage, stages_of
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.build import build_engine, choose_engine
from cnncli.engines.engine import EngineChoice, Precision
from cnncli.errors import CnncliError, ConfigError, Message
from cnncli.features.extract import Extraction
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import Classifier, image_size
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.storage.cache_dir import FEATURES, GRAPHS, cache_dir
from cnncli.terminal.console import Console
from cnncli.training.optimizer import build_optimizer
from cnncli.training.stage_report import StagePlan


@dataclass(frozen=True)
class TrainingContext:
    """Config, images, engine of trunks, feature cache and directory of converted trunks, for all stages."""

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
        """Stages of the config."""
        return stages_of(self.config)

    @property
    def batch_size(self) -> int:
        """Number of images in a step. A run's config has the number that was found for `auto`."""
        return int(self.config.training.batch_size)


@dataclass(frozen=True)
class StageGraph:
    """A classifier cut for a stage, with the engine that runs its trunk.

    Attributes:
        precision: Precision of the tail: bfloat16 if the trunk's is and the tail has convolutions.
        extraction: How features at the cut are computed, with the engine of the trunk.
        converted: File of the converted trunk, if there is one.
    """

    stage: Stage
    plan: StagePlan
    cut: Cut
    precision: Precision
    extraction: Extraction
    converted: Path | None

    @classmethod
    def build(cls, classifier: Classifier, stage: Stage, context: TrainingContext) -> StageGraph:
        """Cut a classifier for a stage, and build the engine of its trunk."""
        cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
        plan = StagePlan.of(stage, classifier, cut)
        precision = context.choice.precision if is_convolutional(cut.tail) else "float32"
        name = engine = converted = None
        if cut.trunk is not None:
            name = fingerprint(cut.trunk)
            engine, converted = build_engine(cut.trunk, name, context.choice, context.graphs)
        augmentation, network = context.config.augmentation, context.config.backbone.name
        extraction = Extraction(engine, name, context.pixels, augmentation, network, cut.after)
        return cls(stage, plan, cut, precision, extraction, converted)

    @property
    def choice(self) -> EngineChoice:
        """Engine and precision of the trunk, or of Keras if the trunk is empty."""
        engine = self.extraction.engine
        return engine.choice if engine else EngineChoice("keras", self.precision)


def check_stages(classifier: Classifier, config: Config) -> None:
    """Check before training whether every stage can be cut and has an optimizer that Keras accepts.

    Raises:
        ConfigError: All problems of all stages.
    """
    problems: list[Message] = []
    for stage in stages_of(config):
        try:
            cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
            build_optimizer(stage.optimizer)
            if config.augmentation.cutmix and cut.trunk is not None:
                key = "augmentation.cutmix"
                text = f"{key}: needs pixels, but the layers below {cut.at} are frozen. Use augmentation.mixup instead."
                raise ConfigError(Message("config-contradiction-cutmix", text, key=key, layer=cut.at))
        except CnncliError as error:
            for problem in error.problems:
                text = f"stage {stage.name}: {problem}"
                problems.append(Message(problem.code, text, **{**problem.facts, "stage": stage.name}))
    if problems:
        raise ConfigError(problems)
