"""Compare features, logits and losses of cnncli and plain Keras for the same weights and pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnncli.augmentation.views import order_of_epoch
from cnncli.config.modes import Stage, fine_tuning_stage, head_stage
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.dataset.manifest import Manifest
from cnncli.engines.engine import EngineChoice, EngineName
from cnncli.engines.keras import KerasEngine
from cnncli.features.extract import FeatureSet, extract
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec, decode
from cnncli.networks.classifier import Classifier, build_classifier, image_size
from cnncli.networks.head import LOGITS
from cnncli.terminal.console import Console
from cnncli.training.context import StageSetup, TrainingContext
from cnncli.training.inputs import CachedFeatures
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep
from tests.support import plain_keras

STEPS = 10
BATCH = 8
IMAGES = 20
"""Number of training images, not a multiple of the batch size: every third batch is smaller."""


@dataclass(frozen=True)
class Case:
    """A network to compare.

    Attributes:
        name: Name in keras.applications.
        side: Width and height of the images in pixels, small enough to take seconds.
        unfreeze: Number of layers to fine-tune, not counting normalization.
        learning_rate: Learning rate of SGD, for which ten steps change the loss without instability.
        options: Further arguments of the network.
    """

    name: str
    side: int
    unfreeze: int
    learning_rate: float
    options: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    case.name: case
    for case in (
        Case("MobileNet", 32, 4, 1e-3, {"alpha": 0.25}),
        Case("MobileNetV2", 64, 4, 1e-3, {"alpha": 0.35}),
        Case("VGG16", 64, 3, 3e-3),
        Case("DenseNet121", 64, 4, 1e-3),
        Case("Xception", 71, 4, 1e-3),
        Case("ResNet50", 64, 4, 1e-3),
    )
}


@dataclass(frozen=True)
class Steps:
    """Losses of the same steps.

    Attributes:
        ours: Losses in cnncli.
        theirs: Losses in plain Keras.
        still: Losses in plain Keras with a learning rate of 0.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    still: tuple[float, ...]

    @property
    def difference(self) -> float:
        """Largest relative difference of a step."""
        return float(np.max(np.abs(np.subtract(self.ours, self.theirs)) / np.abs(self.theirs)))

    @property
    def moved(self) -> float:
        """Largest relative change of a loss during training. Without a change, the comparison would prove nothing."""
        return float(np.max(np.abs(np.subtract(self.theirs, self.still)) / np.abs(self.still)))


def relative(found: Any, expected: Any) -> float:
    """Return the largest difference relative to the largest expected value."""
    there = np.asarray(expected, np.float64)
    return float(np.abs(np.asarray(found, np.float64) - there).max() / np.abs(there).max())


def draw_images(folder: Path, side: int, classes: Sequence[str] = ("a", "b", "c")) -> Path:
    """Write split folders of colored noise of several scales, as PNGs of the network's input size."""
    random = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("validation", len(classes))):
        for number in range(count):
            coarse = random.integers(0, 256, (2 + number % 5, 3, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
            noisy = np.asarray(image, np.float64) + random.normal(0, 15, (side, side, 3))
            path = folder / split / classes[number % len(classes)] / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def write_case(case: Case, folder: Path, seed: int = 1) -> Mapping[str, Path]:
    """Draw images into `folder/data`, and write settled random weights in every format next to it."""
    from cnncli.networks.backend import import_keras

    data = draw_images(folder / "data", case.side)
    import_keras().utils.set_random_seed(seed)
    base = plain_keras.build_base(case.name, case.side, **case.options)
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted((data / "train").rglob("*.png"))])
    plain_keras.settle(base, seed, plain_keras.preprocess(case.name, pixels))
    return plain_keras.write_weights(base, folder)


@dataclass(frozen=True)
class Bench:
    """A classifier and its images, prepared as for training.

    Attributes:
        classifier: Classifier with its weights.
        context: Config, manifest, engine and cache.
        pixels: Training images in the order of the manifest, uint8 of shape (n, side, side, 3).
        labels: Class indices of shape (n,).
    """

    classifier: Classifier
    context: TrainingContext
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def head_weights(self) -> list[NDArray[np.float32]]:
        """Kernel and bias of the output layer."""
        weights: list[NDArray[np.float32]] = self.classifier.model.get_layer(LOGITS).get_weights()
        return weights

    def epoch(self, stage: str, number: int) -> list[NDArray[np.int64]]:
        """Return the row indices of each step of an epoch (from 1) in cnncli's order, which both sides use."""
        digests = [row.digest for row in self.context.manifest.split("train")]
        order = order_of_epoch(digests, self.context.config.seed, stage, number - 1)
        return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    def steps(self, stage: str) -> list[NDArray[np.int64]]:
        """Return the row indices of the first `STEPS` steps of a stage."""
        return [rows for number in range(1, STEPS + 1) for rows in self.epoch(stage, number)][:STEPS]


def set_up(case: Case, weights: Path, data: Path, cache: Path, engine: EngineName) -> Bench:
    """Build a bench from a weights file, in float32, with SGD and batches of `BATCH` images."""
    optimizer = {"name": "sgd", "learning_rate": case.learning_rate}
    config = Config.model_validate(
        {
            "data": {"path": data, "image_size": case.side},
            "backbone": {"name": case.name, "weights": str(weights), "options": dict(case.options)},
            "training": {"batch_size": BATCH, "optimizer": optimizer},
        }
    )
    manifest = build_manifest(config.data, config.seed)
    height, width = image_size(config)
    pixels = PixelSpec(height, width)
    context = TrainingContext(
        config=config,
        manifest=manifest,
        pixels=pixels,
        choice=EngineChoice(engine, "float32"),
        store=FeatureStore(cache / "features"),
        graphs=cache / "graphs",
        console=Console(quiet=True),
    )
    rows = manifest.split("train")
    decoded = np.stack([decode(row.path, pixels) for row in rows])
    return Bench(build_classifier(config, len(manifest.classes)), context, decoded, manifest.labels(rows))


def head_of(bench: Bench) -> Stage:
    """Return the stage that trains the head."""
    return head_stage(bench.context.config)


def top_of(bench: Bench, unfreeze: int | str) -> Stage:
    """Return a fine-tuning stage with the learning rate of the config."""
    config = bench.context.config
    training = config.training.model_copy(update={"unfreeze": unfreeze})
    stage = fine_tuning_stage(config.model_copy(update={"training": training}))
    return Stage(**{**vars(stage), "optimizer": config.training.optimizer})


def features_and_logits(bench: Bench, setup: StageSetup) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the cached features of the training images, and the logits of the tail for them."""
    stored = _stored(bench, setup)
    features = stored.rows(np.arange(len(bench.labels)))
    return features, KerasEngine(setup.cut.tail, "float32").run(features)[0]


def step_losses(bench: Bench, stage: Stage, setup: StageSetup | None = None) -> list[float]:
    """Return the losses of the first steps of a stage in cnncli."""
    setup = setup or StageSetup.build(bench.classifier, stage, bench.context)
    manifest: Manifest = bench.context.manifest
    digests = [row.digest for row in manifest.split("train")]
    source = CachedFeatures(digests, bench.labels, bench.context.config.seed, [_stored(bench, setup)])
    step = TrainStep(
        setup.cut.tail,
        build_optimizer(stage.optimizer),
        Objective(bench.context.config.head.activation, len(manifest.classes)),
    )
    batches = (batch for epoch in range(1, STEPS + 1) for batch in source.epoch(stage.name, epoch, BATCH))
    totals = (step.train_epoch([batch], iter([1.0]), "a step") for batch in islice(batches, STEPS))
    return [total.loss / total.images for total in totals]


def _stored(bench: Bench, setup: StageSetup) -> Any:
    context = bench.context
    (features,), _ = extract(
        FeatureSet(setup.extraction, context.manifest.split("train")), context.store, context.console
    )
    return features


def compare_features(bench: Bench, base: Any, case: Case) -> tuple[float, float]:
    """Return the relative differences of pooled features and of logits for the same head weights."""
    setup = StageSetup.build(bench.classifier, head_of(bench), bench.context)
    (features,), logits = features_and_logits(bench, setup)
    expected = plain_keras.pooled_features(case.name, base, bench.pixels)
    kernel, bias = bench.head_weights
    return relative(features, expected), relative(logits, expected @ kernel + bias)


def compare_frozen(bench: Bench, base: Any, case: Case) -> Steps:
    """Compare ten steps that train only the head. This changes the head of the bench."""
    stage, weights = head_of(bench), bench.head_weights
    features, batches = plain_keras.pooled_features(case.name, base, bench.pixels), bench.steps(stage.name)
    theirs = plain_keras.frozen_losses(features, bench.labels, weights, batches, case.learning_rate)
    still = plain_keras.frozen_losses(features, bench.labels, weights, batches, 0.0)
    return Steps(tuple(step_losses(bench, stage)), tuple(theirs), tuple(still))


def compare_unfrozen(bench: Bench, base: Any, case: Case) -> Steps:
    """Compare ten steps that train the head and the top of the backbone. This changes the bench and the base."""
    stage, weights = top_of(bench, case.unfreeze), bench.head_weights
    features, batches = plain_keras.pooled_features(case.name, base, bench.pixels), bench.steps(stage.name)
    still = plain_keras.frozen_losses(features, bench.labels, weights, batches, 0.0)
    plain_keras.unfreeze_top(base, case.unfreeze)
    theirs = plain_keras.unfrozen_losses(
        case.name, base, bench.pixels, bench.labels, weights, batches, case.learning_rate
    )
    return Steps(tuple(step_losses(bench, stage)), tuple(theirs), tuple(still))
