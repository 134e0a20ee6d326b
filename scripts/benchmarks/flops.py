"""How much a network computes, counted from its Keras graph; and how fast this machine multiplies matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.engines.openvino import import_openvino

if TYPE_CHECKING:
    import keras

SIDE = 2048
"""Rows and columns of the matrices: large enough for any processor's full speed, small enough for its caches' help."""
PRODUCTS = 8
"""Products in a row, so that bringing numbers in and out does not count."""


def flops_of(model: keras.Model) -> int:
    """Floating-point operations for one image, of convolutions and dense layers; a product with its sum is two."""
    return sum(2 * _products(layer) for layer in model.layers)


def _products(layer: Any) -> int:
    """Multiplications of a layer: the numbers in its kernels, each used once for every place of the output."""
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
    """A chain of matrix products in OpenVINO, and the floating-point operations in it."""
    openvino = import_openvino()
    from openvino import opset13 as operations

    rng = np.random.default_rng(0)
    start = operations.parameter([SIDE, SIDE], np.float32, name="start")
    product = start
    for _ in range(PRODUCTS):
        # Scaled so that numbers keep their size from product to product.
        factor = rng.standard_normal((SIDE, SIDE), dtype=np.float32) / np.float32(math.sqrt(SIDE))
        product = operations.matmul(product, operations.constant(factor), False, False)
    model = openvino.Model([operations.reduce_max(product, [0, 1])], [start], "products")
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    matrix = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    return lambda: request.infer([matrix]), 2 * PRODUCTS * SIDE**3


def numpy_product() -> tuple[Callable[[], object], int]:
    """One float32 product in NumPy, and the floating-point operations in it."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    return lambda: one @ other, 2 * SIDE**3
