"""The formats and precisions of exports: the pairs that exist, and what they need.

A format is a module of this package with the format's name and two functions:

    write(source, folder, precision)   writes the file into an existing folder
    load_for_parity(path)              loads the file with its runtime, and returns a function from pixels, uint8
                                       (n, height, width, channels), to probabilities, float32 (n, classes)
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import ModuleType
from typing import Literal

from cnncli.errors import ConfigError, EngineError, Message

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
"""float16: weights are stored in half precision, and products are computed in float32. int8: weights and activations
are 8-bit integers, calibrated on training images."""
N_IMAGES = 200
"""Default number of images on which exports are run."""
TOLERANCE = 0.02
"""Default fraction of accuracy (0-1) that int8 may lose."""

_TENSORFLOW_ONLY_FLOAT32 = "TensorFlow computes float16 and int8 slower than float32 on a CPU"


@dataclass(frozen=True)
class ExportFormat:
    """A format of exports.

    Attributes:
        file: Name of the file that its runtime loads; that of SavedModel is a folder.
        runtime: What loads it.
        needs: The packages beyond the standard installation, by the names of their modules.
        needs_for_int8: The same, only for int8.
        dtype: Type of the pixels that it takes.
        refused: Precisions that the format cannot hold, with the reason.
    """

    file: str
    runtime: str
    needs: Mapping[str, str] = field(default_factory=dict)
    needs_for_int8: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "uint8"
    refused: Mapping[Precision, str] = field(default_factory=dict)


FORMATS: Mapping[str, ExportFormat] = {
    "keras": ExportFormat(
        "classifier.keras",
        "Keras",
        dtype="float32",
        refused={
            "float16": _TENSORFLOW_ONLY_FLOAT32,
            "int8": "Keras cannot quantize convolutions",
        },
    ),
    "savedmodel": ExportFormat(
        "saved_model",
        "TensorFlow",
        refused={"float16": _TENSORFLOW_ONLY_FLOAT32, "int8": _TENSORFLOW_ONLY_FLOAT32},
    ),
    "onnx": ExportFormat(
        "classifier.onnx",
        "ONNX Runtime",
        needs={name: name for name in ("onnx", "onnxruntime", "tf2onnx")},
        needs_for_int8={"nncf": "nncf"},
    ),
    "litert": ExportFormat("classifier.tflite", "LiteRT", needs={"ai_edge_litert": "ai-edge-litert"}),
    "openvino": ExportFormat("classifier.xml", "OpenVINO", needs_for_int8={"nncf": "nncf"}),
}


def module_of(name: str) -> ModuleType:
    """Import the module of a format."""
    return importlib.import_module(f"cnncli.export.{name}")


def choose_pairs(formats: Sequence[str], precisions: Sequence[Precision]) -> list[tuple[str, Precision]]:
    """Return the pairs of formats and precisions to export, each once.

    Raises:
        ConfigError: All pairs that a format cannot hold.
        EngineError: All packages that are missing.
    """
    pairs = list(dict.fromkeys(product(formats, precisions)))
    if refused := [message for pair in pairs if (message := _refusal(*pair))]:
        raise ConfigError(refused)
    if missing := list(dict.fromkeys(message for pair in pairs if (message := _missing(*pair)))):
        raise EngineError(missing)
    return pairs


def _refusal(name: str, precision: Precision) -> Message | None:
    if (reason := FORMATS[name].refused.get(precision)) is None:
        return None
    held = [one for one in PRECISIONS if one not in FORMATS[name].refused]
    others = [one for one, facts in FORMATS.items() if precision not in facts.refused]
    text = f"{name}: cannot be exported in {precision}: {reason}. Use {' or '.join(held)}, or --format {others[0]}."
    return Message("export-pair-refused", text, received=(name, precision), expected=held)


def _missing(name: str, precision: Precision) -> Message | None:
    facts = FORMATS[name]
    for needs, extra in ((facts.needs, "export"), (facts.needs_for_int8 if precision == "int8" else {}, "int8")):
        if missing := [package for module, package in needs.items() if importlib.util.find_spec(module) is None]:
            text = f"{name}: needs {' and '.join(missing)}. Install with: pip install 'cnncli[{extra}]'"
            return Message("export-not-installed", text, received=name, expected=missing)
    return None
