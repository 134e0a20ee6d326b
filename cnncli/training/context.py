"""The context of training on this machine, and a classifier cut for one of its stages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cnncli.augmentation.views import number_of_views
from cnncli.config.modes import Stage, stages_of
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import SPLITS
from cnncli.engines.build import build_engine, choose_engine
from cnncli.engines.engine import Engine, EngineChoice, Precision
from cnncli.engines.int8 import has_fast_int8, is_installed
from cnncli.engines.keras import KerasEngine
from cnncli.engines.mirrored import mirror_flags
from cnncli.engines.openvino import OpenVinoEngine
from cnncli.errors import CnncliError, ConfigError, Message
from cnncli.features.decoded_images import DecodedImages
from cnncli.features.extract import Counts, Extraction, FeatureSet, Trunk, extract, fits
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.arithmetic import count_multiply_adds
from cnncli.networks.classifier import Classifier, image_size
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.storage.cache_dir import FEATURES, GRAPHS, cache_dir
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import size
from cnncli.training.inputs import BatchSource, CachedFeatures, StreamedPixels, Views
from cnncli.training.int8 import QuantizedTrunk, quantized_trunk
from cnncli.training.machines import HERE, Machines
from cnncli.training.mixing import Mixing
from cnncli.training.optimizer import build_optimizer
from cnncli.training.replicas import ONE_DEVICE, Replicas, build_replicas
from cnncli.training.stage_report import StagePlan

MIN_MULTIPLY_ADDS = 8e12
"""Multiply-adds of all images from which `precision: auto` quantizes a trunk: bfloat16 takes about 30 s for them on two
cores, int8 half of that, and quantizing about 10 s."""
CAP_MARGIN = 1.2
"""Factor for the suggested cache size, which allows for the index of the features and for rounding to two digits."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingContext:
    """Config, images, engine of trunks, feature cache and directory of converted trunks, for all stages.

    `replicas` are the devices of stages that train convolutions; `machines` compute features and can train the stages.
    """

    config: Config
    manifest: Manifest
    pixels: PixelSpec
    choice: EngineChoice
    store: FeatureStore
    graphs: Path
    console: Console
    replicas: Replicas = ONE_DEVICE
    machines: Machines = HERE

    @classmethod
    def for_this_machine(
        cls, config: Config, manifest: Manifest, console: Console, machines: Machines = HERE
    ) -> TrainingContext:
        """Select the engine and the devices for this machine, and use the cache directory.

        Raises:
            ConfigError: The config names devices that this machine lacks, or that cannot share its batches.
            EngineError: The engine cannot run on this machine.
        """
        return cls(
            config=config,
            manifest=manifest,
            pixels=config.data.pixel_spec(image_size(config)),
            choice=choose_engine(config.engine, config.precision),
            store=FeatureStore(cache_dir() / FEATURES, config.cache.max_bytes),
            graphs=cache_dir() / GRAPHS,
            console=console,
            replicas=build_replicas(config),
            machines=machines,
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages of the config."""
        return stages_of(self.config)

    @property
    def batch_size(self) -> int:
        """Number of images per step. A run's config contains the number that was found for `auto`."""
        return int(self.config.training.batch_size)

    @property
    def may_quantize(self) -> bool:
        """Whether trunks may run in int8: if the config asks for it, or allows it and this machine can."""
        precision = self.config.precision
        return precision == "int8" or (precision == "auto" and has_fast_int8() and is_installed())

    def quantize(
        self, engine: Engine, graph: Path | None, trunk: str, multiply_adds: int, views: Views, epochs: int = 1
    ) -> tuple[Engine, Path | None, QuantizedTrunk | None]:
        """Replace the engine of a trunk by one in int8 if the config asks for it, or allows it and it saves time.

        Args:
            engine: The engine in float32 or bfloat16.
            graph: File of the converted trunk; None if Keras runs it.
            trunk: Fingerprint of the trunk.
            multiply_adds: Multiply-adds of the trunk for one image.
            views: Views of each training image.
            epochs: Number of epochs, in each of which fresh views run through the trunk.

        Returns:
            The engine, the file of its graph, and the quantized trunk, which is not used if it does not agree.
        """
        config = self.config
        n_images = {split: len(self.manifest.split(split)) for split in SPLITS}
        n_images["train"] *= epochs if views == "fresh" else views
        cost = sum(n_images.values()) * len(mirror_flags(config.evaluation.tta)) * multiply_adds
        saves_time = config.precision == "int8" or cost >= MIN_MULTIPLY_ADDS
        if graph is None or not (saves_time and self.may_quantize):
            return engine, graph, None
        quantized = quantized_trunk(trunk, engine, graph, self.manifest, self.pixels, self.graphs, self.console)
        if quantized is None or not quantized.is_used:
            return engine, graph, quantized
        return OpenVinoEngine(quantized.graph, "int8", when_needed=True), quantized.graph, quantized

    def trunks(
        self,
        engines: Sequence[tuple[Engine, Path | None]],
        prints: Sequence[str],
        multiply_adds: Sequence[int],
        ends: Sequence[str],
        views: Views,
        epochs: int = 1,
    ) -> tuple[BuiltTrunk, ...]:
        """Return the trunks of the config's backbones, each in int8 if it may be; see `quantize`.

        Args:
            engines: Engine and file of the converted graph of each trunk.
            prints: Their fingerprints.
            multiply_adds: Their multiply-adds for one image.
            ends: The layers with which they end.
            views: Views of each training image.
            epochs: Number of epochs.
        """
        networks, built = [backbone.network.name for backbone in self.config.backbones], []
        for (engine, graph), name, cost, network, end in zip(
            engines, prints, multiply_adds, networks[: len(engines)], ends[: len(engines)], strict=True
        ):
            engine, graph, quantized = self.quantize(engine, graph, name, cost, views, epochs)
            built.append(BuiltTrunk(Trunk(engine, name, network, end), graph, quantized))
        return tuple(built)

    def extraction(self, trunks: Sequence[BuiltTrunk]) -> Extraction:
        """Return how features of the config's images are computed by trunks."""
        augmentation, tta = self.config.augmentation, self.config.evaluation.tta
        return Extraction(tuple(built.trunk for built in trunks), self.pixels, augmentation, tta)


@dataclass(frozen=True)
class BuiltTrunk:
    """A trunk with its files.

    Attributes:
        graph: File of the converted graph; None if Keras runs it.
        quantized: The trunk in int8, if it was tried.
    """

    trunk: Trunk
    graph: Path | None
    quantized: QuantizedTrunk | None


@dataclass(frozen=True)
class StageSetup:
    """A classifier cut for a stage, the engine of its trunk, and what is cached for the stage's images.

    The cache contains the first of these that fits: the features of all views, decoded pixels, or nothing. Entries that
    would not fit are not computed, because they would evict those of other runs and each other. Existing entries are
    always used.

    Attributes:
        precision: Precision of the tail: bfloat16 if the trunk's is and the tail has convolutions.
        extraction: How features at the cut are computed, with the engines of the trunks.
        trunks: The trunks of the extraction with their files.
        cached: Kind of entries in the cache; for fresh views, at most pixels.
    """

    context: TrainingContext
    stage: Stage
    plan: StagePlan
    cut: Cut
    precision: Precision
    extraction: Extraction
    trunks: tuple[BuiltTrunk, ...]
    views: Views
    cached: Literal["features", "pixels", "nothing"]

    @classmethod
    def build(cls, classifier: Classifier, stage: Stage, context: TrainingContext) -> StageSetup:
        """Cut a classifier for a stage, build the engine of its trunk, and decide what is cached."""
        cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
        plan = StagePlan.of(stage, classifier, cut)
        precision = context.choice.precision if is_convolutional(cut.tail) else "float32"
        views = number_of_views(context.config.augmentation, trunk_is_empty=cut.trunk is None)
        prints, engines = build_engines(cut, context)
        costs = [count_multiply_adds(one) for one in cut.trunks]
        trunks = context.trunks(engines, prints, costs, cut.ends, views, stage.epochs)
        extraction = context.extraction(trunks)
        features = cls(context, stage, plan, cut, precision, extraction, trunks, views, "features")
        setups = (features, replace(features, cached="pixels"), replace(features, cached="nothing"))
        return next(setup for setup in setups if fits(setup.feature_sets(), context.store))

    @property
    def choice(self) -> EngineChoice:
        """Engine and precision of the trunk, or of Keras if the trunk is empty."""
        engine = self.extraction.engine
        return engine.choice if engine else EngineChoice("keras", self.precision)

    @property
    def replicas(self) -> Replicas:
        """Devices of the stage."""
        return self.context.replicas if is_divided(self.cut) else ONE_DEVICE

    def load(self, split: str) -> tuple[BatchSource, Counts]:
        """Return the images of the train or validation split, and how many features were computed for them."""
        context, features = self.context, self._features_of(split)
        stored, counts = extract(features, context.store, context.console, context.machines.compute)
        labels, seed = context.manifest.labels(features.images), context.config.seed
        if features.extraction is self.extraction:
            return CachedFeatures(features.digests, labels, seed, stored), counts
        pixels = stored[0] if stored else DecodedImages(features.images, context.pixels)
        return StreamedPixels(features.digests, labels, seed, pixels, self.extraction, self.views), counts

    def feature_sets(self) -> list[FeatureSet]:
        """Return the features of training and validation images that should be in the cache."""
        return [self._features_of("train"), self._features_of("validation")]

    def announce(self) -> None:
        """Print one line before the stage: trained layers, frozen layers and their engine, cached features."""
        config, plan, trunk = self.context.config, self.plan, self.cut.trunk
        frozen = describe_frozen(plan.frozen_parameters, self.extraction) if trunk else "nothing is frozen"
        trained = f"{plan.trainable_parameters:,} weights from layer {plan.trained_layers[0]} on in {self.precision}"
        parts = [f"training {trained}", frozen]
        if (n := self.context.replicas.n) > 1:
            parts.append(
                f"on {n} devices" if is_divided(self.cut) else "on one device, because it is a head on cached features"
            )
        if mixing := Mixing.from_config(config.augmentation, config.seed):
            parts.append(mixing.describe(on_features=trunk is not None))
        self.context.console.phase(f"stage {plan.name}", " · ".join([*parts, *self._describe_cache()]))
        if self.cached != "features":
            log.info(self._reason())

    def _describe_cache(self) -> list[str]:
        """Describe the computations before the first epoch and in every epoch, with rough times."""
        sets, parts = self.feature_sets(), []
        total, missing = sum(one.total for one in sets), sum(one.missing(self.context.store) for one in sets)
        if streamed := [one for one in sets if self.extraction.engine and not one.extraction.engine]:
            n_runs = sum(len(one.images) for one in streamed) * len(mirror_flags(self.extraction.tta))
            seconds = n_runs * self.extraction.seconds_per_image
            parts.append(f"the frozen layers run again in every epoch, about {_seconds(seconds)}")
        if total:
            has_views = self.cached == "features" and self.views not in (1, "fresh")
            views = f" and augmented views ({self.views} versions of each training image)" if has_views else ""
            parts.append(f"{total:,} images{views}{self.extraction.in_words}: {total - missing:,} cached")
        if missing:
            seconds = sum(one.seconds_missing(self.context.store) for one in sets)
            parts.append(f"computing takes about {_seconds(seconds)}")
        return parts

    def _reason(self) -> Message:
        """Explain why features are not cached, what is cached instead, and what would help."""
        store, sets = self.context.store, replace(self, cached="features").feature_sets()
        needed, capacity = sum(one.size_bytes() for one in sets), store.capacity()
        total = sum(one.total for one in sets)
        n_cached = total - sum(one.missing(store) for one in sets)
        enough_gb = f"{CAP_MARGIN * needed / 1e9:.2g}" if capacity == store.max_bytes else None
        instead = "only decoded pixels are cached" if self.cached == "pixels" else "nothing is cached"
        remedy = f"cache.max_gb={enough_gb} is enough." if enough_gb else "Free disk space, or set CNNCLI_CACHE."
        return Message(
            "cache-features-do-not-fit",
            f"The stage's features would take {size(needed)} ({n_cached:,} of {total:,} are cached), but the cache "
            f"has room for {size(capacity)}: {instead}, and everything else is computed in every epoch. {remedy}",
            needed_bytes=needed,
            capacity_bytes=capacity,
            total=total,
            n_cached=n_cached,
            cached=self.cached,
            enough_gb=enough_gb,
        )

    def _features_of(self, split: str) -> FeatureSet:
        images = self.context.manifest.split(split)
        views = self.views if split == "train" else min(1, len(images))
        if self.cached == "features" and views != "fresh":
            return FeatureSet(self.extraction, images, views)
        return FeatureSet(Extraction((), self.context.pixels), images, 0 if self.cached == "nothing" else 1)


def is_divided(cut: Cut) -> bool:
    """Return whether several devices share the training of a tail.

    A step of a tail without convolutions takes less time than devices need to agree on it.
    """
    return cut.trunk is None or is_convolutional(cut.tail)


def has_divided_stage(classifier: Classifier, config: Config) -> bool:
    """Return whether several devices share the training of a stage."""
    return any(is_divided(cut_classifier(classifier, stage.unfreeze, stage.batch_norm)) for stage in stages_of(config))


def build_engines(cut: Cut, context: TrainingContext) -> tuple[tuple[str, ...], list[tuple[Engine, Path | None]]]:
    """Return the fingerprints of the trunks of a cut, and their engines with the files of the converted graphs, if any.

    If OpenVINO cannot convert one of several trunks, Keras runs all of them, because a run has one kind of engine.
    """
    prints = tuple(map(fingerprint, cut.trunks))
    built = [build_engine(*one, context.choice, context.graphs) for one in zip(cut.trunks, prints, strict=True)]
    if len({graph is None for _, graph in built}) > 1:
        return prints, [(KerasEngine(trunk, "float32"), None) for trunk in cut.trunks]
    return prints, built


def describe_frozen(n_weights: int, extraction: Extraction) -> str:
    """Describe the frozen part of a classifier in the line before a stage."""
    trunks = extraction.trunks
    networks = f" of {' + '.join(str(trunk.network) for trunk in trunks)}" if len(trunks) > 1 else ""
    precisions = " and ".join(dict.fromkeys(trunk.engine.choice.precision for trunk in trunks))
    return f"{n_weights:,} frozen weights{networks} below, run by {trunks[0].engine.choice.engine} in {precisions}"


def check_stages(classifier: Classifier, config: Config) -> None:
    """Check before training that every stage can be cut and has an optimizer that Keras accepts.

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


def _seconds(seconds: float) -> str:
    """Format a rough time in whole seconds, at least one."""
    return f"{max(1, round(seconds)):,} s"
