"""Parts of recipes in plain Keras: images, augmentation, networks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tests.support.plain_keras import build_base, preprocess

BATCH = 32


def images(folder: Path, side: int) -> Any:
    """Load the images in class folders as a dataset of (image, class index), decoded once and cached in memory."""
    import keras

    return keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=None, shuffle=False, verbose=False
    ).cache()


def steady(data: Any) -> Any:
    """Prefetch a dataset without the tuning thread of tf.data.

    In TensorFlow 2.21 that thread sometimes delays the end of an epoch by 2.56, 5.12 or 10.24 seconds, which would make
    cnncli look better.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(tf.data.AUTOTUNE).with_options(options)


def batches(data: Any) -> Any:
    """Return prefetched batches."""
    return steady(data.batch(BATCH))


def training_batches(data: Any, augmentation: Any = None) -> Any:
    """Return shuffled batches, augmented on all cores as in the guide on preprocessing layers."""
    import tensorflow as tf

    data = data.shuffle(data.cardinality()).batch(BATCH)
    if augmentation is not None:
        data = data.map(lambda x, y: (augmentation(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    return steady(data)


def seven_augmentations() -> Any:
    """Build rotation 40°, both shifts 0.2, shear 10°, zoom 0.2 and horizontal flip; gaps take the nearest pixel."""
    import keras

    layers, shear = keras.layers, math.tan(math.radians(10))
    return keras.Sequential(
        [
            layers.RandomRotation(40 / 360, fill_mode="nearest"),
            layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            layers.RandomShear(x_factor=shear, fill_mode="nearest"),
            layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
            layers.RandomFlip("horizontal"),
        ]
    )


def classifier(name: str, side: int, weights: str | None, head: list[Any], first_trained: str | None = None) -> Any:
    """Build a model of preprocessing, base and head that takes pixels in 0–255.

    Args:
        name: Name of the base in keras.applications.
        side: Width and height of the images in pixels.
        weights: Weights as for `keras.applications`.
        head: Layers after the feature maps of the base.
        first_trained: First trainable layer of the base, or None if all are frozen. Batch normalization stays frozen.
    """
    import keras

    base = build_base(name, side, weights)
    names = [layer.name for layer in base.layers]
    start = len(names) if first_trained is None else names.index(first_trained)
    for number, layer in enumerate(base.layers):
        layer.trainable = number >= start and type(layer).__name__ != "BatchNormalization"
    pixels = keras.Input((side, side, 3))
    # `training=False` keeps dropout and batch normalization of the base in inference mode.
    x = base(preprocess(name, pixels), training=False)
    for layer in head:
        x = layer(x)
    return keras.Model(pixels, x)


def convnet(side: int) -> Any:
    """Build the convnet of F. Chollet, Deep Learning with Python: four blocks, dropout, and a hidden layer."""
    import keras

    layers = keras.layers
    blocks = [
        layer
        for filters in (32, 64, 128, 128)
        for layer in (layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(2))
    ]
    output = layers.Dense(1, "sigmoid", dtype="float32")
    head = [layers.Flatten(), layers.Dropout(0.5), layers.Dense(512, activation="relu"), output]
    return keras.Sequential([keras.Input((side, side, 3)), layers.Rescaling(1 / 255), *blocks, *head])
