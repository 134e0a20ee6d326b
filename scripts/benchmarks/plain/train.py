"""Train in plain Keras, from the images to the test accuracy, and print a JSON document.

    python -m scripts.benchmarks.plain.train RECIPE DATA --epochs N [--weights FILE]

`vgg16`: VGG16 frozen at 150 px, seven augmentations, a dense head, RMSprop 2e-5.
`guide`: MobileNetV2 frozen at 224 px as in keras.io/guides/transfer_learning: flip and rotation, average pooling,
dropout 0.2, one output, Adam.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.plain import parts


def main() -> None:
    """Train and print the seconds of each epoch and the test accuracy."""
    import keras

    options = _parser().parse_args()
    build, side = {"vgg16": (build_vgg16, 150), "guide": (build_guide, 224)}[options.recipe]
    model, augmentation = build(side, options.weights)
    clock = EpochClock()
    model.fit(
        parts.training_batches(parts.images(options.data / "train", side), augmentation),
        validation_data=parts.batches(parts.images(options.data / "validation", side)),
        epochs=options.epochs,
        shuffle=False,  # the dataset is shuffled
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=clock.start, on_epoch_end=clock.stop)],
        verbose=0,
    )
    _, accuracy = model.evaluate(parts.batches(parts.images(options.data / "test", side)), verbose=0)
    print(json.dumps({"epoch_seconds": clock.seconds, "test_accuracy": accuracy}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=("vgg16", "guide"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--weights")
    return parser


def build_vgg16(side: int, weights: str | None) -> tuple[Any, Any]:
    """Build the compiled model and its augmentation."""
    import keras

    layers = keras.layers
    head = [
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(2, activation="softmax"),
    ]
    model = parts.classifier("VGG16", side, weights, head)
    model.compile(keras.optimizers.RMSprop(2e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, parts.seven_augmentations()


def build_guide(side: int, weights: str | None) -> tuple[Any, Any]:
    """Build the compiled model and its augmentation."""
    import keras

    layers = keras.layers
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(1)]
    model = parts.classifier("MobileNetV2", side, weights, head)
    model.compile(
        keras.optimizers.Adam(),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    return model, keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])


class EpochClock:
    """Seconds of each epoch, including validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def start(self, *_: object) -> None:
        """Start the clock at the beginning of an epoch."""
        self._started = time.perf_counter()

    def stop(self, *_: object) -> None:
        """Record the seconds at the end of an epoch."""
        self.seconds.append(time.perf_counter() - self._started)


if __name__ == "__main__":
    main()
