"""A `.keras` archive from anywhere as a model: described as cnncli does it, as large as its file, built by Keras.

Three gates, each before what it guards: the text of the description is judged before Keras sees it; the model is built
without values, and its size is compared with that of the file before a value is made; the file of weights holds plain
arrays alone, each stored in full, before Keras reads it.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.networks.backend import import_keras
from cnncli.networks.graph import nodes_in_order
from cnncli.networks.weights.hdf5 import check_plain
from cnncli.networks.weights.model_config_check import check_description
from cnncli.runtime.memory import available_bytes
from cnncli.storage.safe_io import parse_json
from cnncli.storage.zips import most_unpacked, open_zip, read_entry, repeated_names, unpack_entry

if TYPE_CHECKING:
    import keras

DESCRIPTION, WEIGHTS = "config.json", "model.weights.h5"
MOST_DESCRIPTION_BYTES = 8 * 2**20
_MEMBERS = {DESCRIPTION, WEIGHTS, "metadata.json"}

MOST_ACTIVATIONS = 2**27
"""Values that one layer may give for one image, whatever the size of the image, and that an image may have: half a
gigabyte."""
MOST_CHANNELS = 1024
"""For a larger image a layer may give so many for each pixel, as long as they fit into memory: VGG16 gives 64."""


def load_saved_model(path: Path) -> keras.Model:
    """Load the model of a `.keras` archive with its weights.

    Raises:
        Exception: of any kind, if the archive is not a classifier as cnncli saves it.
    """
    with open_zip(path) as archive:
        description = _described(archive)
        with _unpacked_weights(archive, path.stat().st_size) as weights:
            check_plain(weights)
            model = _built(description, weights.stat().st_size)
            model.load_weights(weights)
    return model


def _described(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read and check the description of the model."""
    if repeated := repeated_names(archive):
        raise ValueError(f"{', '.join(repeated)[:80]} stands in the archive twice")
    others = {entry.filename for entry in archive.infolist()} - _MEMBERS
    if others:
        raise ValueError(f"{sorted(others)[0][:80]} is in the archive, which no classifier has")
    text = read_entry(archive, archive.getinfo(DESCRIPTION), MOST_DESCRIPTION_BYTES)
    return check_description(parse_json(text))


@contextmanager
def _unpacked_weights(archive: zipfile.ZipFile, archive_bytes: int) -> Iterator[Path]:
    """Unpack the weights into a temporary file with the suffix that Keras expects."""
    with tempfile.TemporaryDirectory(prefix="cnncli-") as folder:
        path = Path(folder, WEIGHTS)
        with path.open("wb") as file:
            unpack_entry(archive, archive.getinfo(WEIGHTS), file, most_unpacked(archive_bytes))
        yield path


def _built(description: dict[str, Any], weights_bytes: int) -> keras.Model:
    """Build the model with initial values after checking that it is not larger than its file."""
    keras = import_keras()
    from keras.src.backend.common.variables import initialize_all_variables

    layers = description["config"]["layers"]
    settings = {**description["config"], "layers": [_trainable(layer) for layer in layers]}
    try:
        with keras.StatelessScope(initialize_variables=False):  # variables have a shape in here, and no value
            described = {**description, "config": settings, "compile_config": None}
            model = keras.saving.deserialize_keras_object(described, safe_mode=True)
        _check_sizes(model, weights_bytes)
        initialize_all_variables()
        was_trainable = {layer["name"]: layer["config"].get("trainable", True) for layer in layers}
        for layer in model.layers:
            layer.trainable = bool(was_trainable[layer.name])
    finally:
        _variables_without_values().clear()
    return model


def _trainable(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a layer description with `trainable`: TensorFlow only tracks variables that were created as trainable."""
    return {**layer, "config": {**layer["config"], "trainable": True}} if "trainable" in layer["config"] else layer


def _check_sizes(model: keras.Model, weights_bytes: int) -> None:
    wanted = sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in _variables_without_values())
    if wanted > weights_bytes:
        raise ValueError(f"it declares {wanted:,} bytes of weights, and its file has {weights_bytes:,}")
    _, height, width, _ = model.inputs[0].shape
    most = _most_values(height * width)
    for node in nodes_in_order(model):
        for tensor in node.outputs:
            values = math.prod(size for size in tensor.shape if size is not None)
            if values > (MOST_ACTIVATIONS if node.is_input else most):
                raise ValueError(f"{node.operation.name} gives {values:,} values for each image")


def _most_values(pixels: int) -> int:
    """Return the maximum number of output values of a layer for an image; more could not be trained in this memory."""
    available = available_bytes()
    fitting = MOST_CHANNELS * pixels if available is None else min(MOST_CHANNELS * pixels, available // 4)
    return max(MOST_ACTIVATIONS, fitting)


def _variables_without_values() -> list[Any]:
    """Those that wait for Keras to give them one, this thread's; also of layers that are no part of the model."""
    from keras.src.backend.common import global_state

    waiting: list[Any] = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    return waiting
