"""SavedModel of TensorFlow, with the metadata in its folder `assets.extra`, which TensorFlow leaves to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.export.formats import FORMATS, Precision
from cnncli.export.metadata import FILE
from cnncli.export.source import PROBABILITIES, ExportSource
from cnncli.networks.classifier import PIXELS

SIGNATURE = "serving_default"


def write(source: ExportSource, folder: Path, _precision: Precision) -> None:
    """See `cnncli.export.formats`."""
    path = folder / FORMATS["savedmodel"].file
    write_saved_model(source, path)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / FILE).write_text(json.dumps(source.metadata, indent=2), encoding="utf-8")


def write_saved_model(source: ExportSource, path: Path) -> None:
    """Write a SavedModel whose signature takes `pixels`, uint8, and returns `probabilities`."""
    import tensorflow as tf

    model = source.uint8_model
    function = tf.function(
        lambda pixels: {PROBABILITIES: model(pixels, training=False)},
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=PIXELS)],
        autograph=False,
    )
    module = tf.Module()  # the archive of `keras.export` stores every weight twice
    module.weights = [variable.value for variable in model.variables]
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: function})


def load_for_parity(path: Path) -> Any:
    """See `cnncli.export.formats`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[SIGNATURE]

    def predict(pixels: NDArray[np.uint8], _: object = loaded) -> NDArray[np.float32]:
        return np.asarray(function(pixels=tf.constant(pixels))[PROBABILITIES].numpy())

    return predict
