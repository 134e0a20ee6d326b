"""OpenVINO: an `.xml` file with the graph and a `.bin` file with the weights, quantized by NNCF.

The metadata is the entry `cnncli` of the model's runtime information.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.int8 import quantize_graph
from cnncli.engines.openvino import convert_graph, import_openvino, the_core
from cnncli.export.formats import FORMATS, Precision
from cnncli.export.source import PROBABILITIES, ExportSource
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import PIXELS


def write(source: ExportSource, folder: Path, precision: Precision) -> None:
    """See `cnncli.export.formats`. Raises EngineError if OpenVINO or NNCF does not support the graph."""
    openvino, keras = import_openvino(), import_keras()
    with TemporaryDirectory(dir=folder) as temporary:
        graph = Path(temporary, "float32.xml")
        convert_graph(keras.Model(source.model.inputs, source.model.outputs), graph, pixels=True)
        if precision == "int8":
            quantized = graph.with_name("int8.xml")
            quantize_graph(graph, [[pixels] for pixels in source.calibration], quantized, "fast")
            graph = quantized
        model = the_core().read_model(graph)
        model.input().get_tensor().set_names({PIXELS})
        model.output().get_tensor().set_names({PROBABILITIES})
        for name, value in source.metadata.items():
            model.set_rt_info(value if isinstance(value, str) else json.dumps(value), ["cnncli", name])
        openvino.save_model(model, folder / FORMATS["openvino"].file, compress_to_fp16=precision == "float16")


def load_for_parity(path: Path) -> Any:
    """See `cnncli.export.formats`."""
    core = the_core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(compiled(pixels)[PROBABILITIES])

    return predict
