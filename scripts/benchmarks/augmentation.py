"""Random augmentation of decoded images at 160 px: rotation, shifts, shear, zoom and flip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render
from cnncli.networks.backend import import_keras
from cnncli.runtime.threads import batched, map_ordered
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.measurements import Finding, Target, seconds_in_turns
from scripts.benchmarks.plain import parts
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("geometric",)
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
    """Measure augmented images per second, from uint8 arrays in memory."""
    import_keras()

    count = bench.count(2048, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)

    def some(numbers: list[int]) -> list[np.ndarray]:
        return [render(pixels[number], SETTINGS, "benchmark", number) for number in numbers]

    def ours() -> None:
        for _ in map_ordered(some, batched(range(count), parts.BATCH)):
            pass

    sides: dict[str, Callable[[], object]] = {
        "cnncli": ours,
        "chain of five Keras layers, batches of 32, in tf.data": plain(_in_pipeline(pixels)),
        "chain of five Keras layers, batches of 32, one compiled function": plain(_compiled(pixels)),
    }
    seconds = seconds_in_turns(sides, bench.rounds)
    rates = {name: samples.per_second(count) for name, samples in seconds.items()}
    for other, theirs in rates.items():
        if other != "cnncli":
            title, target = f"five geometric operations, {SIDE_PX} px", Target("comparison", least=10.0)
            bench.record(Finding(title, "images/s", rates["cnncli"], other, theirs, target=target), "random pixels")


def _in_pipeline(pixels: np.ndarray) -> Callable[[], object]:
    """Augment several batches concurrently, as `fit` does."""
    import tensorflow as tf

    layers = parts.seven_augmentations()
    data = tf.data.Dataset.from_tensor_slices(pixels).batch(parts.BATCH)
    data = data.map(lambda x: layers(x, training=True), num_parallel_calls=tf.data.AUTOTUNE)
    data = parts.steady(data)

    def call() -> None:
        for _ in data:
            pass

    return call


def _compiled(pixels: np.ndarray) -> Callable[[], object]:
    """Augment batches one after the other, each on all cores."""
    import tensorflow as tf

    layers = parts.seven_augmentations()
    function = tf.function(lambda x: layers(x, training=True))
    batches = [tf.constant(pixels[start : start + parts.BATCH]) for start in range(0, len(pixels), parts.BATCH)]

    def call() -> None:
        for batch in batches:
            function(batch)

    return call
