"""Epochs of training: cnncli's tail on cached features, or a network from scratch, and Keras's `fit`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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
from scripts.benchmarks import profile
from scripts.benchmarks.keras_side import mixed_bfloat16, plain
from scripts.benchmarks.plain import parts
from scripts.benchmarks.rows import OURS, ROOT, Row, rates_in_turns
from scripts.benchmarks.setting import Setting

CONFIGS = ROOT / "configs" / "dogs-vs-cats"
SCRATCH_PX = 150


@dataclass(frozen=True)
class Case:
    """A network of which the last layers are trained.

    Attributes:
        config: File in `configs/` with the head and the optimizer.
        side_px: Width and height of the images.
        first_trained: First trainable layer.
        dense: Units of the hidden layer on flattened features, or 0 for dropout on averaged features.
        optimizer: Class in keras.optimizers, as in the config.
        images: Images per epoch.
    """

    config: str
    side_px: int
    first_trained: str
    dense: int
    optimizer: str
    images: int


CASES = {
    "VGG16": Case("vgg16-finetune.yaml", 150, "block5_conv1", 256, "RMSprop", 256),
    "ResNet50": Case("resnet50-finetune.yaml", 160, "conv5_block3_1_conv", 0, "Adam", 512),
}


class TailEpochs:
    """The last stage of a config, with the cut, inputs and training step of `cnncli train`."""

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
        self.images, self.precision = len(self._source.labels), setup.precision
        objective = Objective(config.head.activation, len(manifest.classes))
        optimizer = build_optimizer(self._stage.optimizer)
        self._step = TrainStep(setup.cut.tail, optimizer, objective, setup.precision)
        self._epochs = itertools.count(1)

    def prepare_steps(self) -> tuple[Callable[[], None], int]:
        """Return a call of the bare training step on the batches of an epoch, which are in memory, and their number."""
        batches = list(self._source.epoch(self._stage.name, 1, self._batch_size))

        def run() -> None:
            for inputs, labels in batches:
                self._step._functions(inputs)[0](inputs, labels)

        return run, len(batches)

    def __call__(self) -> Any:
        """Train one more epoch without validation."""
        epoch, steps = next(self._epochs), math.ceil(self.images / self._batch_size)
        schedule, epochs = self._stage.schedule, self._stage.epochs
        factors = (
            learning_rate_factor(schedule, step, steps, epochs) for step in range((epoch - 1) * steps, epoch * steps)
        )
        batches = self._source.epoch(self._stage.name, epoch, self._batch_size)
        return self._step.train_epoch(batches, factors, f"epoch {epoch}")


def measure_finetune(setting: Setting, name: str) -> Iterator[Row]:
    """Yield training images per second over whole epochs; features and decoded images are prepared beforehand."""
    ours, subject, folder = prepare(setting, name)
    title = "Fine-tuning, an epoch on cached features"
    yield _row(setting, title, subject, ours, lambda: _fit_tail(setting, name, folder))


def measure_scratch(setting: Setting, name: str) -> Iterator[Row]:
    """Yield training images per second of the small network with new augmentation in every epoch."""
    ours, subject, folder = prepare(setting, name)
    title = "Training from scratch with seven augmentations, an epoch"
    yield _row(setting, title, subject, ours, lambda: _fit_convnet(folder))


def measure_limit(setting: Setting, name: str) -> Iterator[Row]:
    """Yield what is left to gain: an epoch compared with its bare steps, and the share of oneDNN's kernels."""
    ours, subject, _ = prepare(setting, name)
    steps, n_steps = ours.prepare_steps()
    sides: dict[str, Callable[[], object]] = {OURS: ours, "the compiled steps alone": steps}
    rates = rates_in_turns(sides, ours.images, setting.rounds)
    yield Row("Training, an epoch", "images/s", rates, subject, note=ours.precision)
    share = profile.share_of_kernels(steps, setting.work / "profile")
    title = "Training, share of operation time in oneDNN's kernels"
    yield Row(title, "%", {OURS: (share,)}, subject, note=f"{n_steps} steps")


def prepare(setting: Setting, name: str) -> tuple[TailEpochs, str, Path]:
    """Return the epochs of a case, or of the small network from scratch, their name, and the folder of the images."""
    case = CASES.get(name)
    folder = setting.splits(train=case.images if case else 1024, validation=16, test=16)
    overrides: dict[str, object] = {"data.path": str(folder), "precision": setting.precision}
    if case is None:
        ours = TailEpochs(CONFIGS / "convnet-from-scratch.yaml", overrides, setting.work / name)
        return ours, f"{name}, {SCRATCH_PX} px", folder
    overrides |= {
        "data.image_size": case.side_px,
        "backbone.weights": setting.weights_of(name),
        "training.unfreeze": case.first_trained,
        "augmentation": None,
    }
    ours = TailEpochs(CONFIGS / case.config, overrides, setting.work / name)
    return ours, f"{name} from {case.first_trained}, {case.side_px} px", folder


def _row(setting: Setting, title: str, subject: str, ours: TailEpochs, fit: Callable[[], Callable[[], object]]) -> Row:
    fits = {"float32": fit()}
    with mixed_bfloat16():
        fits["mixed_bfloat16"] = fit()
    sides: dict[str, Callable[[], object]] = {
        OURS: ours,
        **{f"Keras `fit`, {name}": plain(side) for name, side in fits.items()},
    }
    return Row(title, "images/s", rates_in_turns(sides, ours.images, setting.rounds), subject, note=ours.precision)


def _fit_tail(setting: Setting, name: str, folder: Path) -> Callable[[], object]:
    """Return a call of `fit` for one epoch of the whole network on decoded images in memory."""
    import keras

    case, weights, layers = CASES[name], setting.weights_of(name), keras.layers
    output = layers.Dense(2, activation="softmax", dtype="float32")
    flat = [layers.Flatten(), layers.Dense(case.dense, activation="relu"), layers.Dropout(0.5)] if case.dense else []
    head = [*(flat or [layers.GlobalAveragePooling2D(), layers.Dropout(0.2)]), output]
    given = None if weights == "none" else weights
    model = parts.classifier(name, case.side_px, given, head, case.first_trained)
    model.compile(
        getattr(keras.optimizers, case.optimizer)(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    data = parts.training_batches(parts.images(folder / "train", case.side_px))
    return lambda: model.fit(data, epochs=1, shuffle=False, verbose=0)


def _fit_convnet(folder: Path) -> Callable[[], object]:
    """Return a call of `fit` for one epoch with the same augmentation on decoded images in memory."""
    import keras

    model = parts.convnet(SCRATCH_PX)
    model.compile(keras.optimizers.RMSprop(1e-4), "binary_crossentropy", metrics=["accuracy"])
    data = parts.training_batches(parts.images(folder / "train", SCRATCH_PX), parts.seven_augmentations())
    return lambda: model.fit(data, epochs=1, shuffle=False, verbose=0)
