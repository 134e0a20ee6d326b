"""What a `.keras` archive may describe: the flat graph of a classifier as cnncli writes it, and nothing else.

Keras's safe mode knows what is dangerous, and was wrong about it more than once; here is what is needed. The text is
judged before Keras sees it: no class but those that networks of the catalogue are made of, no function, no layer that
reads a file, no layer before those that it follows, no number of the size of a bomb.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from cnncli.networks.architectures import special_layers

MOST_LAYERS = 4_000
"""NASNetLarge and EfficientNetV2L have about a thousand."""
MOST_NODES = 2_000_000
LARGEST_NUMBER = 2**24
"""Of any size, length or count in the text; a flattened feature map has a few million values."""
_NO_SIZES = ("seed", "shared_object_id")


def _named(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LAYERS = _named(
    """
    Activation Add AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D Dense DepthwiseConv2D Dropout
    Flatten GlobalAveragePooling2D GlobalMaxPooling2D InputLayer LayerNormalization MaxPooling2D Multiply
    Normalization ReLU Rescaling Reshape SeparableConv2D ZeroPadding2D
    """
)
_OPERATIONS = _named("Absolute Add Divide Flip Maximum Minimum Multiply Negative Subtract TrueDivide")
_INITIALIZERS = _named(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones RandomNormal RandomUniform
    TruncatedNormal VarianceScaling Zeros
    """
)

_CLASSES: dict[str, frozenset[str]] = {
    "keras": frozenset({"DTypePolicy"}),
    "keras.layers": _LAYERS,
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": frozenset({"L1", "L2", "L1L2"}),
    "keras.src.ops.numpy": _OPERATIONS,
}
_MODEL = {("keras.src.models.functional", "Functional"), ("keras", "Functional"), ("keras.models", "Functional")}
_TENSOR = "__keras_tensor__"
_BELOW_NORMALIZATION = frozenset({"InputLayer", "Rescaling", "Normalization", "Concatenate"})
"""What may stand between pixels and a Normalization. Keras makes constants of that layer's weights while it builds it,
before their sizes can be compared with the file, so they have to be small at any rate."""
_MOST_SIDE_PX, _MOST_CHANNELS = 2**15, 4


class DescriptionError(ValueError):
    """A description of a model that cnncli does not write; the message says where and what."""


def check_description(config: object) -> dict[str, Any]:
    """Check that a model description may be built, and return it.

    Args:
        config: content of the archive's `config.json`.

    Raises:
        DescriptionError: it does not describe a classifier as cnncli saves it.
    """
    if not isinstance(config, dict) or (config.get("module"), config.get("class_name")) not in _MODEL:
        raise DescriptionError("config.json does not describe a functional model")
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(layers, list) or not layers:
        raise DescriptionError("config.json describes a model without layers")
    if len(layers) > MOST_LAYERS:
        raise DescriptionError(f"config.json describes {len(layers):,} layers, at most {MOST_LAYERS:,} are read")
    _check_classes({**config, "config": {**inner, "layers": []}}, is_model=True)
    known: set[str] = set()
    for layer in layers:
        known.add(_check_layer(layer, known))
    _check_pixels(layers)
    return config


def _check_layer(layer: object, known: set[str]) -> str:
    """Judge one layer; gives its name."""
    name = layer.get("name") if isinstance(layer, dict) else None
    if not isinstance(layer, dict) or not isinstance(name, str) or name in known:
        raise DescriptionError("config.json has a layer without a name of its own")
    if layer.get("class_name") == _TENSOR:
        raise DescriptionError(f"config.json: {name} is no layer")
    _check_classes(layer)
    for source in _sources(layer.get("inbound_nodes")):
        if source not in known:
            # Keras would go through the list again and again until everything has its place.
            raise DescriptionError(f"config.json: {name} comes before {str(source)[:80]}, which it follows")
    return name


def _check_classes(described: Mapping[str, Any], is_model: bool = False) -> None:
    """Every object in a description is of a class that is allowed, and every number of a size that is possible."""
    for number, (key, value) in enumerate(_walk(described)):
        if number > MOST_NODES:
            raise DescriptionError("config.json describes more than any model has")
        if isinstance(value, dict) and ("class_name" in value or "module" in value or "registered_name" in value):
            if not (is_model and value is described):
                _check_class(value)
        elif type(value) is int and abs(value) > LARGEST_NUMBER and key not in _NO_SIZES:
            raise DescriptionError(f"config.json: {key[:80] or 'a list'} has a {str(value)[:30]}")


def _check_class(value: Mapping[str, Any]) -> None:
    module, name, registered = value.get("module"), value.get("class_name"), value.get("registered_name")
    if name == _TENSOR and module is None and registered is None:
        return
    allowed = _allowed_classes().get(module, frozenset()) if isinstance(module, str) else frozenset()
    if not isinstance(name, str) or name not in allowed or registered not in (None, name):
        shown = ".".join(str(part)[:80] for part in (module, name) if part is not None)
        raise DescriptionError(f"config.json asks for {shown or 'an object without a name'}, which no classifier needs")


@cache
def _allowed_classes() -> Mapping[str, frozenset[str]]:
    """Return the classes that may be described, by module."""
    special = special_layers()
    return _CLASSES | {module: _CLASSES.get(module, frozenset()) | classes for module, classes in special.items()}


def _check_pixels(layers: Sequence[Mapping[str, Any]]) -> None:
    """One input of images, and no statistics but those of their channels."""
    classes = [layer["class_name"] for layer in layers]
    shape = _config_of(layers[0]).get("batch_shape")
    if classes.count("InputLayer") != 1 or classes[0] != "InputLayer" or not _is_of_images(shape):
        raise DescriptionError("config.json does not describe a model of images")
    above = max((number for number, name in enumerate(classes) if name == "Normalization"), default=-1)
    for layer in layers[: above + 1]:
        axis = _config_of(layer).get("axis", -1)
        sources = len(list(_sources(layer.get("inbound_nodes"))))
        if layer["class_name"] not in _BELOW_NORMALIZATION or axis not in (-1, 3, [-1], [3]) or sources > 3:
            raise DescriptionError("config.json normalises what are no channels of pixels")


def _is_of_images(shape: object) -> bool:
    """Whether a shape is [null, height, width, channels], of a size that images can have."""
    if not isinstance(shape, list) or len(shape) != 4 or shape[0] is not None:
        return False
    most = (_MOST_SIDE_PX, _MOST_SIDE_PX, _MOST_CHANNELS)
    return all(type(size) is int and 0 < size <= limit for size, limit in zip(shape[1:], most, strict=True))


def _config_of(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    found = layer.get("config")
    return found if isinstance(found, dict) else {}


def _walk(value: object) -> Iterator[tuple[str, object]]:
    """Every value inside a JSON value with the name it stands under, without recursion: nothing is too deep."""
    pending: list[tuple[str, object]] = [("", value)]
    while pending:
        key, value = pending.pop()
        yield key, value
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += ((key, item) for item in value)


def _sources(nodes: object) -> Iterator[object]:
    """Yield the layers whose tensors a layer takes."""
    for key, value in _walk(nodes):
        if key == "keras_history" and isinstance(value, list):
            yield value[0] if value else None
