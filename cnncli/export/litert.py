"""LiteRT (TensorFlow Lite): converted and quantized by TensorFlow, run by ai-edge-litert.

The metadata and the class names are files at the end of the file: `unzip classifier.tflite` extracts them. That is how
TensorFlow Lite stores associated files.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import EngineError, Message, reason_of
from cnncli.export.formats import FORMATS, Precision
from cnncli.export.metadata import FILE
from cnncli.export.savedmodel import SIGNATURE, write_saved_model
from cnncli.export.source import PROBABILITIES, ExportSource
from cnncli.networks.backend import without_native_logs
from cnncli.networks.classifier import PIXELS


def write(source: ExportSource, folder: Path, precision: Precision) -> None:
    """See `cnncli.export.formats`. Raises EngineError if TensorFlow Lite does not support the graph."""
    import tensorflow as tf

    path = folder / FORMATS["litert"].file
    with TemporaryDirectory(dir=folder) as temporary:
        write_saved_model(source, Path(temporary))
        try:
            with without_native_logs():
                converter = tf.lite.TFLiteConverter.from_saved_model(temporary)
                if precision != "float32":
                    converter.optimizations = [tf.lite.Optimize.DEFAULT]
                if precision == "float16":
                    converter.target_spec.supported_types = [tf.float16]
                if precision == "int8":
                    converter.representative_dataset = lambda: ([pixels] for pixels in source.calibration)
                path.write_bytes(converter.convert())
        except Exception as error:  # TensorFlow Lite's exceptions have no common base class
            reason = reason_of(error)
            text = f"litert: TensorFlow Lite cannot convert this network to {precision}: {reason}"
            remedy = "Use --precision float32, or --format onnx or openvino."
            facts = {"received": "litert", "reason": reason}
            raise EngineError(Message("export-graph-unsupported", f"{text}. {remedy}", **facts)) from error
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, json.dumps(source.metadata, indent=2))
        archive.writestr("labels.txt", "\n".join(source.metadata["classes"]) + "\n")


def load_for_parity(path: Path) -> Any:
    """See `cnncli.export.formats`."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner(SIGNATURE)

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(run(**{PIXELS: pixels})[PROBABILITIES])

    return predict
