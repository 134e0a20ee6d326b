"""OpenVINO as its own guides drive it for throughput: an asynchronous queue with two requests in flight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.openvino import import_openvino

REQUESTS = 2


class RawOpenVino:
    """A converted graph with one output, compiled for batches of one size.

    Args:
        graph: the `.xml` file.
        precision: float32 or bfloat16.
        streams: batches computed side by side, each on its share of the processors.
        batch: rows in a request.
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
        """Features of images (n, height, width, 3); n is a multiple of the batch."""
        found = np.empty((len(pixels), *list(self._compiled.output(0).shape)[1:]), np.float32)

        def keep(request: Any, start: int) -> None:
            found[start : start + self._batch] = request.get_output_tensor().data

        self._queue.set_callback(keep)
        for start in range(0, len(pixels), self._batch):
            self._queue.start_async([pixels[start : start + self._batch]], start)
        self._queue.wait_all()
        return found
