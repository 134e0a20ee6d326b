"""What a training works with, and a classifier divided for one of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import Stage
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.build import build_engine
from cnncli.engines.engine import Engine, EngineChoice, Precision
from cnncli.errors import CnncliError, ConfigError
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.terminal.console import Console
from cnncli.training.optimizer import build_optimizer


@dataclass(frozen=True)
class Workshop:
    """What every stage of a training works with.

    Attributes:
        config: of the run.
        manifest: its images.
        pixels: how a file becomes pixels.
        choice: engine and precision of trunks.
        store: where features are kept.
        graphs: folder of converted trunks.
        console: shows what happens.
    """

    config: Config
    manifest: Manifest
    pixels: PixelSpec
    choice: EngineChoice
    store: FeatureStore
    graphs: Path
    console: Console

    @property
    def batch_size(self) -> int:
        """Images in a step: what a run records, which is a number."""
        size = self.config.training.batch_size
        if size == "auto":
            raise ValueError("training.batch_size is found out before a training begins")
        return size


@dataclass(frozen=True)
class Division:
    """A classifier cut for a stage, with what runs its trunk.

    Attributes:
        stage: whose cut it is.
        cut: trunk and tail.
        fingerprint: of the trunk, None where it is empty.
        engine: runs the trunk, None where it is empty.
        graph: the converted trunk, None where there is none.
        precision: in which the tail computes: bfloat16 where the trunk was to and the tail convolves.
    """

    stage: Stage
    cut: Cut
    fingerprint: str | None
    engine: Engine | None
    graph: Path | None
    precision: Precision


def divide(classifier: Classifier, stage: Stage, shop: Workshop) -> Division:
    """Cut a classifier for a stage and give its trunk an engine."""
    cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
    precision = shop.choice.precision if is_convolutional(cut.tail) else "float32"
    if cut.trunk is None:
        return Division(stage, cut, None, None, None, precision)
    name = fingerprint(cut.trunk)
    engine, graph = build_engine(cut.trunk, name, shop.choice, shop.graphs, shop.console)
    return Division(stage, cut, name, engine, graph, precision)


def check_stages(classifier: Classifier, stages: Sequence[Stage], needs_pixels: bool = False) -> None:
    """Find out before anything is trained whether every stage can be cut and has an optimizer that Keras takes.

    Args:
        classifier: the whole graph.
        stages: in order.
        needs_pixels: whether no stage may freeze anything, as CutMix pastes pixels.

    Raises:
        ConfigError: what is wrong with any of them, a line each.
    """
    problems: list[str] = []
    for stage in stages:
        try:
            cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
            build_optimizer(stage.optimizer)
            if needs_pixels and cut.trunk is not None:
                raise ConfigError(
                    f"augmentation.cutmix: pastes pixels, and what is below {cut.at} is frozen; "
                    "unfreeze: all, or augmentation.mixup in its place."
                )
        except CnncliError as error:
            problems += [f"stage {stage.name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
