"""Frozen networks from arrays to pooled features: cnncli's engine, Keras's `predict`, OpenVINO alone, the peak."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncli.engines.engine import run_on_all_cores
from scripts.benchmarks.flops import flops_of, numpy_product, openvino_products
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.networks import NETWORKS, SIDE_PX, FrozenNetwork, freeze
from scripts.benchmarks.plain.parts import BATCH, batches
from scripts.benchmarks.raw_openvino import REQUESTS, RawOpenVino
from scripts.benchmarks.results import Finding, Reach
from scripts.benchmarks.timing import Samples, seconds_in_turns
from scripts.benchmarks.workbench import Workbench

FIGURES = NETWORKS
IMAGES = {"MobileNet": 1024, "EfficientNetLite0": 1024, "VGG16": 128}
"""A round of the slowest side takes ten seconds or so; `OTHERS` for the others."""
OTHERS = 256
WITH_PEAK = ("VGG16", "ResNet50")
"""Networks that are dense convolutions all through, so that a matrix product says what could be had."""

Sides = dict[str, Callable[[], object]]


def measure(bench: Workbench) -> None:
    """Images a second, all sides in turns on the same pixels."""
    network = freeze(bench, bench.figure)
    count = bench.count(IMAGES.get(bench.figure, OTHERS), 64)
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    products, operations = _products(network) if bench.figure in WITH_PEAK else ({}, {})
    seconds = seconds_in_turns({**_sides(network, pixels), **products}, bench.rounds)
    _record_rates(bench, network, {name: seconds[name].per_second(count) for name in seconds if name not in products})
    for name, operation_count in operations.items():
        _record_share(bench, network, seconds["cnncli"].per_second(count), name, seconds[name], operation_count)


def _sides(network: FrozenNetwork, pixels: np.ndarray) -> Sides:
    import tensorflow as tf

    # Keras is given what it would otherwise convert.
    floats = batches(tf.data.Dataset.from_tensor_slices(pixels.astype(np.float32)))
    sides: Sides = {
        "cnncli": lambda: run_on_all_cores(network.engine, [pixels]),
        "Keras float32 `predict`": plain(lambda: network.model.predict(floats, verbose=0)),
    }
    if network.graph is not None:
        for streams in (1, 2):
            raw = RawOpenVino(network.graph, network.engine.choice.precision, streams, BATCH)
            sides[_raw_name(network, streams)] = lambda raw=raw: raw.run(pixels)  # type: ignore[misc]
    return sides


def _raw_name(network: FrozenNetwork, streams: int) -> str:
    streams_text = "one stream" if streams == 1 else f"{streams} streams"
    return f"OpenVINO alone, {network.engine.choice.precision}, {REQUESTS} requests, {streams_text}"


def _products(network: FrozenNetwork) -> tuple[Sides, dict[str, int]]:
    """Matrix products in the engine's precision and in float32, and the operations in each."""
    sides: Sides = {}
    operations: dict[str, int] = {}
    precision = network.engine.choice.precision
    named = {"matrix product, float32, NumPy": numpy_product()}
    if network.graph is not None:
        named[f"matrix product, {precision}, OpenVINO"] = openvino_products(precision)
    for name, (side, count) in named.items():
        sides[name], operations[name] = side, count
    return sides, operations


def _record_rates(bench: Workbench, network: FrozenNetwork, rates: Mapping[str, Samples]) -> None:
    choice = network.engine.choice
    for other, theirs in rates.items():
        if other != "cnncli":
            least = 5.0 if other.startswith("Keras") else 0.95
            finding = Finding(
                f"{bench.figure}, {SIDE_PX} px",
                "images/s",
                rates["cnncli"],
                other,
                theirs,
                reach=Reach("comparison", least=least),
                note=f"cnncli's engine is {choice.engine} {choice.precision}" if least == 5.0 else "",
            )
            bench.record(finding, "random pixels")


def _record_share(
    bench: Workbench, network: FrozenNetwork, rate: Samples, name: str, seconds: Samples, operation_count: int
) -> None:
    """The speed of a network beside that of plain matrix products in the same rounds."""
    flops = flops_of(network.model)
    speed = Samples(tuple(value * flops / 1e12 for value in rate.values))
    note = f"{flops / 1e9:.2f} GFLOP an image, counted from the convolutions and dense layers of the graph"
    bench.record(
        Finding(
            f"{bench.figure}, {SIDE_PX} px, arithmetic",
            "TFLOP/s",
            speed,
            name,
            seconds.per_second(operation_count / 1e12),
            note=note,
        ),
        "random pixels",
    )
