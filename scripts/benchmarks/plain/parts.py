"""What recipes in plain Keras are made of: images, augmentation, networks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tests.support.plain_keras import build_base, preprocess

BATCH = 32


def images(folder: Path, side: int) -> Any:
    """The images of class folders, one by one with their class index, decoded once and kept in memory."""
    import keras

    return keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=None, shuffle=False, verbose=False
    ).cache()


def steady(data: Any) -> Any:
    """The same data, made ready while others are computed, on as many threads as TensorFlow chooses at the beginning.

    The thread that tunes a pipeline in TensorFlow 2.21 now and then holds up the end of an epoch for 2.56, 5.12 or
    10.24 seconds in which nothing is computed, which would flatter the other side.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(tf.data.AUTOTUNE).with_options(options)


def batches(data: Any) -> Any:
    """In batches, made ready while others are computed."""
    return steady(data.batch(BATCH))


def training_batches(data: Any, augmentation: Any = None) -> Any:
    """Shuffled batches; augmented on all processors, as the guide on preprocessing layers has it for a CPU."""
    import tensorflow as tf

    data = data.shuffle(data.cardinality()).batch(BATCH)
    if augmentation is not None:
        data = data.map(lambda x, y: (augmentation(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    return steady(data)


def seven_augmentations() -> Any:
    """Rotation 40°, shifts 0.2, shear 10°, zoom 0.2, horizontal flip, filled with the nearest pixel.

    One layer does both shifts.
    """
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
    """Preprocessing, a base and a head as one model from pixels in 0–255.

    Args:
        name: of the base in keras.applications.
        side: of the images.
        weights: as `keras.applications` takes them.
        head: layers after the base's feature maps.
        first_trained: layer of the base from which on it trains, batch normalisation excepted; None: all frozen.
    """
    import keras

    base = build_base(name, side, weights)
    names = [layer.name for layer in base.layers]
    start = len(names) if first_trained is None else names.index(first_trained)
    for number, layer in enumerate(base.layers):
        layer.trainable = number >= start and type(layer).__name__ != "BatchNormalization"
    pixels = keras.Input((side, side, 3))
    # `training=False`: dropout and batch normalisation of the base stay out of training.
    x = base(preprocess(name, pixels), training=False)
    for layer in head:
        x = layer(x)
    return keras.Model(pixels, x)


def convnet(side: int) -> Any:
    """Four blocks of convolution and pooling, dropout, one hidden layer (F. Chollet, Deep Learning with Python)."""
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
