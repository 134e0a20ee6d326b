"""Load untrusted `.keras` archives: described as cnncli writes them, no larger than their file, built by Keras.

Three gates protect the next step. The description is checked before Keras reads it, since Keras's safe mode has had
vulnerabilities and few classes are needed. The model is built without values, and its size is compared with that of the
file before memory is allocated. The weights must be plain arrays, each stored in full, before Keras reads them.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.catalogue.networks import MAX_DESCRIPTION_BYTES, NETWORKS
from cnncli.networks.architectures import architecture_of
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import allow_depth, nodes_in_order
from cnncli.networks.weights.hdf5 import check_plain
from cnncli.runtime.memory import available_bytes
from cnncli.storage.safe_io import parse_json
from cnncli.storage.zips import most_unpacked, open_zip, read_entry, unpack_entry

if TYPE_CHECKING:
    import keras

DESCRIPTION, WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {DESCRIPTION, WEIGHTS, "metadata.json"}

MAX_CHANNELS = 512
"""Hyperspectral cameras have a few hundred."""
MAX_LAYERS = 8_000
"""NASNetLarge and EfficientNetV2L have about a thousand; a ConvNet of 1,000 convolutions has up to 4,000."""
MAX_NUMBER = 2**24
"""Maximum of any size, length or count; a flattened feature map has a few million values."""
MAX_ACTIVATIONS = 2**27
"""Maximum number of values of an image, and of a layer's output for it: half a gigabyte."""

_LAYERS = """
    Activation Add AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D Dense DepthwiseConv2D Dropout
    EinsumDense Flatten GlobalAveragePooling2D GlobalMaxPooling2D InputLayer LayerNormalization LeakyReLU MaxPooling2D
    Multiply Normalization Permute ReLU Rescaling Reshape SeparableConv2D SpatialDropout2D ZeroPadding2D
"""
_OPERATIONS = """
    Absolute Add Divide Flip Max Maximum Minimum Multiply Negative Pad Power Sqrt Square Subtract
    Sum TrueDivide Var
"""
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones RandomNormal RandomUniform
    TruncatedNormal VarianceScaling Zeros
"""
_TENSOR = "__keras_tensor__"
_CLASSES = {
    "": frozenset({_TENSOR}),
    "keras": frozenset({"DTypePolicy"}),
    "keras.layers": frozenset(_LAYERS.split()),
    "keras.initializers": frozenset(_INITIALIZERS.split()),
    "keras.regularizers": frozenset({"L1", "L2", "L1L2"}),
    "keras.src.ops.core": frozenset({"Cast"}),
    "keras.src.ops.numpy": frozenset(_OPERATIONS.split()),
}
_MODEL = {("keras.src.models.functional", "Functional"), ("keras", "Functional"), ("keras.models", "Functional")}
_BELOW_NORMALIZATION = {"InputLayer", "Rescaling", "Normalization", "Concatenate", "Conv2D"}
"""Layers between pixels and a Normalization. Keras makes constants of that layer's weights while it builds it, before
their sizes can be compared with the file, so they have to be small."""


def load_saved_model(path: Path) -> keras.Model:
    """Load the model of a `.keras` archive with its weights.

    Raises:
        Exception: Of any kind, if the archive is not a classifier as cnncli saves it.
    """
    with open_zip(path) as archive, tempfile.TemporaryDirectory(prefix="cnncli-") as folder:
        description = _read_description(archive)
        weights = Path(folder, WEIGHTS)  # Keras expects this suffix
        with weights.open("wb") as file:
            unpack_entry(archive, archive.getinfo(WEIGHTS), file, most_unpacked(path.stat().st_size))
        check_plain(weights)
        model = _build(description, weights.stat().st_size)
        model.load_weights(weights)
    return model


def load_architecture(path: Path) -> keras.Model:
    """Build the model of a `.keras` archive with initial weights.

    Raises:
        Exception: Of any kind, if the archive is not a flat model of images with layers that cnncli allows.
    """
    with open_zip(path) as archive:
        return _build(_read_description(archive), archive.getinfo(WEIGHTS).file_size)


def _read_description(archive: zipfile.ZipFile) -> Any:
    # Two readers of an archive that has a name twice may see different files.
    if others := Counter(archive.namelist()) - Counter(_MEMBERS):
        raise ValueError(f"{min(others)[:80]} is in the archive, too, which no classifier has")
    description = parse_json(read_entry(archive, archive.getinfo(DESCRIPTION), MAX_DESCRIPTION_BYTES))
    check_description(description)
    return description


def check_description(description: Any) -> None:
    """Raise ValueError unless `config.json` describes the flat graph of a classifier as cnncli writes it."""
    is_model = isinstance(description, dict) and (description.get("module"), description.get("class_name")) in _MODEL
    kind = str(description.get("class_name"))[:80] if isinstance(description, dict) else "something else"
    _require(is_model, f"does not describe a functional model, but {kind}")
    layers: Any = _entries_of(description).get("layers")
    _require(isinstance(layers, list) and layers != [], "describes a model without layers")
    _require(len(layers) <= MAX_LAYERS, f"describes {len(layers):,} layers, at most {MAX_LAYERS:,} are read")
    _check_objects(list(description.values()))
    names: set[object] = set()
    for layer in layers:
        name = layer.get("name") if isinstance(layer, dict) else None
        _require(isinstance(name, str) and name not in names, "has a layer without a name of its own")
        _require(layer.get("class_name") != _TENSOR, f"describes a tensor in the place of the layer {name}")
        for source in _sources(layer):
            # Otherwise, Keras would process the list repeatedly until each layer has its inputs.
            _require(source in names, f"describes {name} before {str(source)[:80]}, whose output it takes")
        is_regularized = _entries_of(layer).get("activity_regularizer") is not None
        # Its loss depends on the batch, and not only on the weights, as all penalties do here.
        _require(
            not is_regularized, f"has a layer {str(name)[:80]} with an activity_regularizer, which is not supported"
        )
        names.add(name)
    _check_pixels(layers)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(f"{DESCRIPTION} {problem}")


def _check_objects(values: Sequence[object]) -> None:
    """Check that each object has an allowed class and each number a plausible size."""
    allowed = _allowed_classes()
    for key, value in _walk(values):
        if isinstance(value, dict) and not {"class_name", "module", "registered_name"}.isdisjoint(value):
            module, name, registered = value.get("module"), value.get("class_name"), value.get("registered_name")
            is_allowed = (str(module or ""), str(name)) in allowed and registered in (None, name)
            shown = ".".join(str(part)[:80] for part in (module, name) if part is not None)
            _require(is_allowed, f"has {shown or 'an object without a name'}, which cnncli does not load")
        elif type(value) is int and key not in ("seed", "shared_object_id"):
            _require(abs(value) <= MAX_NUMBER, f"has a {str(value)[:30]} in {key[:80]}")


def _walk(value: object) -> Iterator[tuple[str, object]]:
    """Yield every value inside a JSON value with its name, without recursion, at any depth."""
    pending: list[tuple[str, object]] = [("", value)]
    while pending:
        key, value = pending.pop()
        yield key, value
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += ((key, item) for item in value)


def _allowed_classes() -> frozenset[tuple[str, str]]:
    """Return module and name of each class that a description may contain."""
    own_layers = [getattr(architecture_of(info), "LAYERS", {}) for info in NETWORKS.values()]
    classes = [entry for table in (_CLASSES, *own_layers) for entry in table.items()]
    return frozenset((module, name) for module, names in classes for name in names)


def _check_pixels(layers: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError unless the model has one image input and normalizes per channel."""
    classes = [layer.get("class_name") for layer in layers]
    shape: Any = _entries_of(layers[0]).get("batch_shape")
    has_one_input = classes[0] == "InputLayer" and "InputLayer" not in classes[1:]
    is_image = isinstance(shape, list) and [type(size) for size in shape] == [type(None), int, int, int]
    is_image = is_image and min(shape[1:]) > 0 and shape[3] <= MAX_CHANNELS
    _require(has_one_input and is_image, "does not describe a model of images")
    above = max((number for number, name in enumerate(classes) if name == "Normalization"), default=-1)
    _require(classes[: above + 1].count("Concatenate") <= 1, "normalizes more than channels of pixels")
    for layer in layers[: above + 1]:
        entries = _entries_of(layer)
        of_channels = entries.get("axis", -1) in (-1, 3, [-1], [3]) and len(list(_sources(layer))) <= 3
        of_channels = of_channels and entries.get("filters", 3) == 3  # of an adapter
        _require(layer["class_name"] in _BELOW_NORMALIZATION and of_channels, "normalizes more than channels of pixels")


def _entries_of(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of an object in a description."""
    found = described.get("config")
    return found if isinstance(found, dict) else {}


def _sources(layer: Mapping[str, Any]) -> Iterator[object]:
    """Yield the names of the layers whose outputs are inputs of a layer."""
    for key, value in _walk(layer.get("inbound_nodes")):
        if key == "keras_history" and isinstance(value, list):
            yield value[0] if value else None


def _build(description: Mapping[str, Any], weights_bytes: int) -> keras.Model:
    """Build the model after checking that it is not larger than its file.

    Weights have initial values, except in `backend.uninitialized`.
    """
    keras = import_keras()
    layers = description["config"]["layers"]
    allow_depth(len(layers))
    settings = {**description["config"], "layers": [_trainable(layer) for layer in layers]}
    try:
        with keras.StatelessScope(initialize_variables=False):  # variables have a shape here, but no value
            described = {**description, "config": settings, "compile_config": None}
            model = keras.saving.deserialize_keras_object(described, safe_mode=True)
        _check_sizes(model, weights_bytes)
        with keras.StatelessScope():  # at its end, the variables get values, unless it is inside another scope
            pass
        was_trainable = {layer["name"]: layer["config"].get("trainable", True) for layer in layers}
        for layer in model.layers:
            layer.trainable = bool(was_trainable[layer.name])
    finally:
        _variables_without_values().clear()
    return model


def _trainable(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a layer description with `trainable`, because TensorFlow only tracks variables created as trainable."""
    return {**layer, "config": {**layer["config"], "trainable": True}} if "trainable" in layer["config"] else layer


def _check_sizes(model: keras.Model, weights_bytes: int) -> None:
    declared = sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in _variables_without_values())
    if declared > weights_bytes:
        raise ValueError(f"it declares {declared:,} bytes of weights, and its file has {weights_bytes:,}")
    most = max(MAX_ACTIVATIONS, (available_bytes() or 0) // 4)  # float32; larger models do not fit in this memory
    for node in nodes_in_order(model):
        for tensor in node.outputs:
            values = math.prod(size for size in tensor.shape if size is not None)
            if values > (MAX_ACTIVATIONS if node.is_input else most):
                raise ValueError(f"{node.operation.name} gives {values:,} values for each image")


def _variables_without_values() -> list[Any]:
    """Return this thread's variables that Keras has not initialized yet, including those outside the model."""
    from keras.src.backend.common import global_state

    waiting: list[Any] = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    return waiting
