"""Fine-tune the last block: cnncli's tail on cached features, and the whole network with Keras's `fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.networks.backend import import_keras
from scripts.benchmarks.images import ROOT
from scripts.benchmarks.plain import parts
from scripts.benchmarks.tails import TailEpochs, record_epochs
from scripts.benchmarks.workbench import Workbench

CONFIGS = ROOT / "configs" / "dogs-vs-cats"


@dataclass(frozen=True)
class Case:
    """A network and the part of it that is trained.

    Attributes:
        config: File in `configs/` with the head and the optimizer.
        side: Width and height of the images in pixels.
        first_trained: First trainable layer.
        dense: Units of the hidden layer on flattened features, or 0 for dropout on averaged features.
        optimizer: Class in keras.optimizers, as in the config.
        images: Images per epoch, chosen so that a round of plain Keras takes about 30 s.
        least: Minimum ratio of the rates of cnncli and plain Keras.
    """

    config: str
    side: int
    first_trained: str
    dense: int
    optimizer: str
    images: int
    least: float


CASES = {
    "VGG16": Case("vgg16-finetune.yaml", 150, "block5_conv1", 256, "RMSprop", 256, 8.0),
    "ResNet50": Case("resnet50-finetune.yaml", 160, "conv5_block3_1_conv", 0, "Adam", 512, 5.0),
}
BENCHMARKS = tuple(CASES)


def measure(bench: Workbench) -> None:
    """Measure the network that the benchmark names."""
    measure_case(bench, bench.benchmark)


def measure_case(bench: Workbench, name: str) -> None:
    """Measure training images per second over whole epochs; features and decoded images are prepared beforehand."""
    import_keras()
    case = CASES[name]
    folder = bench.splits(train=case.images, validation=16, test=16)
    ours = TailEpochs(CONFIGS / case.config, _overrides(bench, name, folder), bench.work)
    record_epochs(
        bench,
        ours,
        lambda: _fit(bench, name, folder),
        title=f"{name} from {case.first_trained}, {case.side} px, an epoch",
        other="whole network in plain Keras `fit`, the layers below frozen",
        least=case.least,
        note=f"cnncli's tail trains in {ours.precision}, on cached features of one view",
    )


def _overrides(bench: Workbench, name: str, folder: Path) -> dict[str, object]:
    case = CASES[name]
    return {
        "data.path": str(folder),
        "data.image_size": case.side,
        "backbone.weights": bench.weights_of(name),
        "training.unfreeze": case.first_trained,
        "augmentation": None,
    }


def _fit(bench: Workbench, name: str, folder: Path) -> Callable[[], object]:
    """Return a call of `fit` for one epoch on decoded images in memory."""
    import keras

    case, weights = CASES[name], bench.weights_of(name)
    given = None if weights == "none" else weights
    model = parts.classifier(name, case.side, given, _head(case), case.first_trained)

    optimizer = getattr(keras.optimizers, case.optimizer)(1e-5)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = parts.training_batches(parts.images(folder / "train", case.side))
    return lambda: model.fit(data, epochs=1, shuffle=False, verbose=0)


def _head(case: Case) -> list[Any]:
    """Build the head of the config: a dense layer on flattened features, or dropout on averaged features."""
    import keras

    layers = keras.layers
    output = layers.Dense(2, activation="softmax", dtype="float32")
    if case.dense:
        return [layers.Flatten(), layers.Dense(case.dense, activation="relu"), layers.Dropout(0.5), output]
    return [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), output]
