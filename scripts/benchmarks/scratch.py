"""Train a small network from scratch with fresh augmentation in every epoch: cnncli, and Keras's `fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnncli.networks.backend import import_keras
from scripts.benchmarks.images import ROOT
from scripts.benchmarks.plain import parts
from scripts.benchmarks.tails import TailEpochs, record_epochs
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("ConvNet",)
CONFIG = ROOT / "configs" / "dogs-vs-cats" / "convnet-from-scratch.yaml"
SIDE_PX = 150


def measure(bench: Workbench) -> None:
    """Measure training images per second over complete epochs on decoded images."""
    import_keras()
    folder = bench.splits(train=1024, validation=16, test=16)
    ours = TailEpochs(CONFIG, {"data.path": str(folder)}, bench.work)
    record_epochs(
        bench,
        ours,
        lambda: _fit(folder),
        title=f"ConvNet of 3.5 million parameters, {SIDE_PX} px, seven augmentations, an epoch",
        other="plain Keras `fit` with the same augmentation",
        least=3.0,
        note=f"cnncli trains in {ours.precision}",
    )


def _fit(folder: Path) -> Callable[[], object]:
    """Return a call of `fit` for one epoch on decoded images in memory."""
    import keras

    model = parts.convnet(SIDE_PX)
    model.compile(keras.optimizers.RMSprop(1e-4), "binary_crossentropy", metrics=["accuracy"])
    data = parts.training_batches(parts.images(folder / "train", SIDE_PX), parts.seven_augmentations())
    return lambda: model.fit(data, epochs=1, shuffle=False, verbose=0)
