"""ONNX: converted by Keras with tf2onnx, quantized by NNCF, run by ONNX Runtime.

tf2onnx has no maintainer, so a graph that it cannot convert is refused by name.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.int8 import quantize_onnx
from cnncli.errors import EngineError, Message, reason_of
from cnncli.export.formats import FORMATS, Precision
from cnncli.export.source import PROBABILITIES, ExportSource
from cnncli.networks.backend import import_keras, without_native_logs
from cnncli.networks.classifier import PIXELS

OPSET = 15
"""Version of the operators: the newest with which tf2onnx was tested."""
ONE = "one_of_erfc"
LEAST_VALUES = 64
"""Smaller weights stay in float32: their size does not matter."""


def write(source: ExportSource, folder: Path, precision: Precision) -> None:
    """See `cnncli.export.formats`. Raises EngineError if tf2onnx or NNCF does not support the graph."""
    import onnx

    path = folder / FORMATS["onnx"].file
    _convert(source, path)
    model = onnx.load(path)
    _replace_erfc(model)
    if unknown := sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}):
        raise _unsupported(f"it does not support {', '.join(unknown)}")
    _rename_output(model)
    if precision == "float16":
        _halve_weights(model)
    elif precision == "int8":
        model = quantize_onnx(model, PIXELS, source.calibration)
    for shape in (model.graph.input[0], model.graph.output[0]):
        shape.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.helper.set_model_props(model, {name: _text(value) for name, value in source.metadata.items()})
    model.producer_name, model.doc_string = "cnncli", source.metadata["preprocessing"]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _convert(source: ExportSource, path: Path) -> None:
    keras, model = import_keras(), source.uint8_model
    signature = [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="uint8", name=PIXELS)]
    of_converter = logging.getLogger("tf2onnx")
    level = of_converter.level
    of_converter.setLevel(logging.CRITICAL)  # its errors do not stop the conversion, and are reported below
    try:
        with warnings.catch_warnings(), without_native_logs():
            warnings.simplefilter("ignore")  # of tf2onnx, about NumPy
            model.export(path, format="onnx", input_signature=signature, opset_version=OPSET, verbose=False)
    except Exception as error:  # tf2onnx's exceptions have no common base class
        raise _unsupported(reason_of(error)) from error
    finally:
        of_converter.setLevel(level)


def _unsupported(reason: str) -> EngineError:
    text = f"onnx: tf2onnx cannot convert this network: {reason}. Use --format openvino or litert."
    return EngineError(Message("export-graph-unsupported", text, received="onnx", reason=reason))


def _replace_erfc(model: Any) -> None:
    """Compute erfc, a part of GELU that ONNX lacks, as 1 − erf."""
    from onnx import helper, numpy_helper

    nodes = []
    for node in model.graph.node:
        if node.op_type == "Erfc":
            (given,), (result,) = node.input, node.output
            nodes.append(helper.make_node("Erf", [given], [f"{result}_erf"], f"{node.name}_erf"))
            nodes.append(helper.make_node("Sub", [ONE, f"{result}_erf"], [result], node.name))
        else:
            nodes.append(node)
    if len(nodes) > len(model.graph.node):
        model.graph.initializer.append(numpy_helper.from_array(np.ones((), np.float32), ONE))
    _set_nodes(model, nodes)


def _set_nodes(model: Any, nodes: Sequence[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]  # the list owns its nodes
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _rename_output(model: Any) -> None:
    (output,) = model.graph.output
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == output.name:
                node.output[place] = PROBABILITIES
    output.name = PROBABILITIES


def _halve_weights(model: Any) -> None:
    """Store weights as float16, with a cast to float32 after each, which the runtime does once."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LEAST_VALUES or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name, half = weight.name, f"{weight.name}_float16"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], f"{name}_cast", to=TensorProto.FLOAT))
    _set_nodes(model, [*casts, *model.graph.node])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def load_for_parity(path: Path) -> Any:
    """See `cnncli.export.formats`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run([PROBABILITIES], {PIXELS: pixels})[0])

    return predict
