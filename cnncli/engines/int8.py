"""Quantize a converted graph to 8-bit integers by post-training quantization with NNCF.

Weights are rounded per output channel, activations per tensor, with ranges that calibration images determine; the
shift that rounding causes is corrected in the biases (Nagel et al., "Data-Free Quantization Through Weight Equalization
and Bias Correction", ICCV 2019). `fast` corrects each layer on its own, `full` along the graph.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from cnncli.engines.engine import Array
from cnncli.engines.openvino import import_openvino, the_core
from cnncli.errors import EngineError, Message, printable
from cnncli.runtime.environment import cpu

BiasCorrection = Literal["fast", "full"]

INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Instructions with which 8-bit products are faster than bfloat16 or float32."""


def is_installed() -> bool:
    """Return whether NNCF is installed."""
    return importlib.util.find_spec("nncf") is not None


def has_fast_int8() -> bool:
    """Return whether this processor has instructions for products of 8-bit integers."""
    return not INT8_FLAGS.isdisjoint(cpu()["flags"] or ())


def quantize_graph(graph: Path, batches: Sequence[Sequence[Array]], path: Path, correction: BiasCorrection) -> None:
    """Write a quantized copy of an OpenVINO model to `path` and a `.bin` file next to it.

    The weights depend only on the graph, the batches, and the versions of NNCF and OpenVINO.

    Args:
        graph: An `.xml` file written by `convert_graph`.
        batches: Calibration data, one array (1, …) per input of the graph.
        path: An `.xml` file in an existing folder.
        correction: How biases are corrected.

    Raises:
        EngineError: NNCF cannot quantize the graph.
    """
    openvino = import_openvino()
    inputs = [tuple(arrays) if len(arrays) > 1 else arrays[0] for arrays in batches]
    quantized = _quantize(lambda: the_core().read_model(graph), inputs, correction, printable(graph))
    openvino.save_model(quantized, path, compress_to_fp16=False)


def quantize_onnx(model: Any, input_name: str, batches: Sequence[Array]) -> Any:
    """Return a quantized form of an ONNX model with one input; `batches` are arrays (1, …).

    Raises:
        EngineError: NNCF cannot quantize the graph.
    """
    _import_nncf()
    # ONNX Runtime has no products of activations with one range per channel.
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    per_tensor = QuantizationParameters(per_channel=False)
    parameters = AdvancedQuantizationParameters(activations_quantization_params=per_tensor)
    inputs = [{input_name: batch} for batch in batches]
    return _quantize(lambda: model, inputs, "fast", "ONNX", advanced_parameters=parameters)


def _quantize(
    read: Callable[[], Any], inputs: Sequence[Any], correction: BiasCorrection, name: str, **options: Any
) -> Any:
    """Return a quantized form of the model that `read` returns; one that cannot be read is an EngineError, too."""
    nncf = _import_nncf()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # progress bars
            return nncf.quantize(
                read(),
                nncf.Dataset(inputs),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(inputs),
                fast_bias_correction=correction == "fast",
                **options,
            )
    except Exception as error:  # neither NNCF's nor OpenVINO's exceptions have a common base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        text = f"NNCF cannot quantize {name}: {reason}"
        raise EngineError(Message("engine-int8-unsupported", text, path=name, reason=reason)) from error


def _import_nncf() -> Any:
    """Import nncf without its telemetry, its messages on stdout, and its class for the loggers of other packages."""
    import_openvino()
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    kind = logging.getLoggerClass()
    import nncf

    logging.setLoggerClass(kind)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
