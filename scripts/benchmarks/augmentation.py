"""Random renderings of decoded pictures at 160 px: rotation, shifts, shear, zoom and flip."""

from __future__ import annotations

import numpy as np

from cnncli.config.schema import AugmentationConfig
from cnncli.networks.backend import import_keras
from cnncli.parallel import map_ordered
from cnncli.pictures.augment import render
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.plain import parts
from scripts.benchmarks.results import Finding, Reach
from scripts.benchmarks.timing import seconds_in_turns
from scripts.benchmarks.workbench import Workbench

FIGURES = ("geometric",)
SIDE_PX = 160
SETTINGS = AugmentationConfig(
    rotation_range=40.0,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=10.0,
    zoom_range=0.2,
    horizontal_flip=True,
    fill_mode="nearest",
)


def measure(bench: Workbench) -> None:
    """Renderings a second, from uint8 arrays in memory; the layers on batches of 32 in a tf.data pipeline."""
    import_keras()
    import tensorflow as tf

    count = bench.count(2048, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)

    def ours() -> None:
        for _ in map_ordered(lambda number: render(pixels[number], SETTINGS, "benchmark", number), range(count)):
            pass

    layers = parts.seven_augmentations()
    data = tf.data.Dataset.from_tensor_slices(pixels).batch(parts.BATCH)
    data = data.map(lambda x: layers(x, training=True), num_parallel_calls=tf.data.AUTOTUNE)

    def theirs() -> None:
        for _ in data.prefetch(tf.data.AUTOTUNE):
            pass

    seconds = seconds_in_turns({"cnncli": ours, "Keras": plain(theirs)}, bench.rounds)
    bench.record(
        Finding(
            f"five geometric operations, {SIDE_PX} px",
            "pictures/s",
            seconds["cnncli"].per_second(count),
            "chain of five Keras layers on batches of 32",
            seconds["Keras"].per_second(count),
            reach=Reach("comparison", least=10.0),
        ),
        "random pixels",
    )
