"""Measure forward passes of frozen networks: cnncli's engine, Keras's `predict`, plain OpenVINO, and the CPU's peak."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.openvino import import_openvino
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.measurements import Finding, Samples, Target, seconds_in_turns
from scripts.benchmarks.networks import NETWORKS, SIDE_PX, FrozenNetwork, freeze
from scripts.benchmarks.plain.parts import BATCH, batches
from scripts.benchmarks.workbench import Workbench

if TYPE_CHECKING:
    import keras

BENCHMARKS = NETWORKS
REQUESTS = 2
SIDE = 2048
"""Rows and columns of the matrices, large enough for full speed and small enough for the CPU caches."""
PRODUCTS = 8
"""Products in a chain, so that copying inputs and outputs does not matter."""
IMAGES = {"MobileNet": 1024, "EfficientNetLite0": 1024, "VGG16": 128}
"""Number of images by network, so that a round of the slowest side takes about 10 s; `OTHERS` for other networks."""
OTHERS = 256
WITH_PEAK = ("VGG16", "ResNet50")
"""Networks of dense convolutions only, for which a matrix product is an upper bound of the speed."""

Sides = dict[str, Callable[[], object]]


def measure(bench: Workbench) -> None:
    """Measure images per second, with all sides alternately on the same pixels."""
    network = freeze(bench, bench.benchmark)
    count = bench.count(IMAGES.get(bench.benchmark, OTHERS), 64)
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    products, operations = _products(network) if bench.benchmark in WITH_PEAK else ({}, {})
    seconds = seconds_in_turns({**_sides(network, pixels), **products}, bench.rounds)
    _record_rates(bench, network, {name: seconds[name].per_second(count) for name in seconds if name not in products})
    for name, operation_count in operations.items():
        _record_share(bench, network, seconds["cnncli"].per_second(count), name, seconds[name], operation_count)


def _sides(network: FrozenNetwork, pixels: np.ndarray) -> Sides:
    import tensorflow as tf

    # float32, which Keras would otherwise have to convert
    floats = batches(tf.data.Dataset.from_tensor_slices(pixels.astype(np.float32)))
    sides: Sides = {
        "cnncli": lambda: network.run_on_all_cores(pixels),
        "Keras float32 `predict`": plain(lambda: network.model.predict(floats, verbose=0)),
    }
    if network.graph is not None:
        for streams in (1, 2):
            raw = RawOpenVino(network.graph, network.engine.choice.precision, streams, BATCH)
            sides[_raw_name(network, streams)] = lambda raw=raw: raw.run(pixels)  # type: ignore[misc]
    return sides


def _raw_name(network: FrozenNetwork, streams: int) -> str:
    streams_text = "one stream" if streams == 1 else f"{streams} streams"
    return f"OpenVINO itself, {network.engine.choice.precision}, {REQUESTS} requests, {streams_text}"


def _products(network: FrozenNetwork) -> tuple[Sides, dict[str, int]]:
    """Return matrix products in the engine's precision and in float32, with the number of operations of each."""
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
                f"{bench.benchmark}, {SIDE_PX} px",
                "images/s",
                rates["cnncli"],
                other,
                theirs,
                target=Target("comparison", least=least),
                note=f"cnncli's engine is {choice.engine} {choice.precision}" if least == 5.0 else "",
            )
            bench.record(finding, "random pixels")


def _record_share(
    bench: Workbench, network: FrozenNetwork, rate: Samples, name: str, seconds: Samples, operation_count: int
) -> None:
    """Record the speed of a network and of matrix products in the same rounds."""
    flops = flops_of(network.model)
    speed = Samples(tuple(value * flops / 1e12 for value in rate.values))
    note = f"{flops / 1e9:.2f} GFLOP per image, counted from the convolutions and dense layers of the graph"
    bench.record(
        Finding(
            f"{bench.benchmark}, {SIDE_PX} px, arithmetic",
            "TFLOP/s",
            speed,
            name,
            seconds.per_second(operation_count / 1e12),
            note=note,
        ),
        "random pixels",
    )


def flops_of(model: keras.Model) -> int:
    """Return the floating-point operations per image of convolutions and dense layers, two per multiply-add."""
    return sum(2 * _multiplications(layer) for layer in model.layers)


def _multiplications(layer: Any) -> int:
    """Return the multiplications of a layer: the size of its kernels times the positions of the output."""
    kind = type(layer).__name__
    if kind == "Dense":
        return int(math.prod(layer.kernel.shape))
    if kind == "SeparableConv2D":
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return int(kernels * math.prod(layer.output.shape[1:3]))
    if kind in ("Conv2D", "DepthwiseConv2D"):
        return int(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3]))
    return 0


def openvino_products(precision: str) -> tuple[Callable[[], object], int]:
    """Return a chain of matrix products in OpenVINO, and its floating-point operations."""
    openvino = import_openvino()
    from openvino import opset13 as operations

    rng = np.random.default_rng(0)
    start = operations.parameter([SIDE, SIDE], np.float32, name="start")
    product = start
    for _ in range(PRODUCTS):
        # Scaled to keep the magnitude from product to product.
        factor = rng.standard_normal((SIDE, SIDE), dtype=np.float32) / np.float32(math.sqrt(SIDE))
        product = operations.matmul(product, operations.constant(factor), False, False)
    model = openvino.Model([operations.reduce_max(product, [0, 1])], [start], "products")
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    matrix = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    return lambda: request.infer([matrix]), 2 * PRODUCTS * SIDE**3


def numpy_product() -> tuple[Callable[[], object], int]:
    """Return a float32 product in NumPy, and its floating-point operations."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    return lambda: one @ other, 2 * SIDE**3


class RawOpenVino:
    """A converted graph in an asynchronous queue, as OpenVINO's guides recommend for throughput.

    Args:
        graph: `.xml` file of a graph with one output.
        precision: float32 or bfloat16.
        streams: Number of batches computed concurrently.
        batch: Batch size.
    """

    def __init__(self, graph: Path, precision: str, streams: int, batch: int = 32) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        model = core.read_model(graph)
        port = model.input(0)
        model.reshape({port: [batch, *list(port.get_partial_shape())[1:]]})
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": streams,
        }
        self._compiled = core.compile_model(model, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(self._compiled, REQUESTS)
        self._batch = batch

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of images of shape (n, height, width, 3), where n is a multiple of the batch size."""
        found = np.empty((len(pixels), *list(self._compiled.output(0).shape)[1:]), np.float32)

        def keep(request: Any, start: int) -> None:
            found[start : start + self._batch] = request.get_output_tensor().data

        self._queue.set_callback(keep)
        for start in range(0, len(pixels), self._batch):
            self._queue.start_async([pixels[start : start + self._batch]], start)
        self._queue.wait_all()
        return found
