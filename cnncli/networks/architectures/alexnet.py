"""AlexNet in its three forms, and ZFNet.

AlexNet: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks", two
towers that are grouped convolutions here. Krizhevsky 2014 (arXiv 1404.5997) has one tower with 64 filters in the first
layer, as torchvision does; Caffe's reference network and CS231n have one with 96.

ZFNet: Zeiler and Fergus 2013 (arXiv 1311.2901). 384-384-256 is the network of their figure 3; CS231n describes the
network that won ILSVRC 2013 with 512-1024-512 filters in the last three convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, dense_top, pool_up
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import local_response_normalization

if TYPE_CHECKING:
    import keras

TOP_LAYERS = ("fc6", "fc7")
TOP_UNITS = 4096


@dataclass(frozen=True)
class _Form:
    """Filters of the five convolutions, kernel, stride and padding of the first two, groups, and normalization.

    Attributes:
        normalization: Place of local response normalization, relative to the first two poolings; None: there is none.
        rounds_up: Whether the output size of these poolings is rounded up.
    """

    filters: tuple[int, ...]
    first: tuple[int, int, int] = (11, 4, 0)
    second: tuple[int, int, int] = (5, 1, 2)
    groups: int = 1
    normalization: str | None = None
    rounds_up: bool = False


_ALEXNET = {
    "64-192-384-256-256": _Form((64, 192, 384, 256, 256), first=(11, 4, 2)),
    "96-256-384-384-256": _Form((96, 256, 384, 384, 256), normalization="after"),
    "two-towers": _Form((96, 256, 384, 384, 256), groups=2, normalization="before"),
}
_ZFNET = {
    "384-384-256": _Form((96, 256, 384, 384, 256), (7, 2, 1), (5, 2, 0), 1, "after", rounds_up=True),
    "512-1024-512": _Form((96, 256, 512, 1024, 512), (7, 2, 1), (5, 2, 0), 1, "after", rounds_up=True),
}


def build(spec: NetworkSpec) -> Network:
    """Build AlexNet or ZFNet; see `architectures`."""
    keras = import_keras()
    form = (_ALEXNET if spec.info.name == "AlexNet" else _ZFNET)[spec.options["form"]]
    images = keras.Input(spec.input_shape, name="input_layer")
    x = images
    for number, (kernel, stride, padding) in ((1, form.first), (2, form.second)):
        groups = form.groups if number > 1 else 1
        x = convolution(x, form.filters[number - 1], kernel, stride, padding, groups=groups, name=f"conv{number}")
        x = _pool(x, number, form, spec.options["lrn"])
    for number, groups in ((3, 1), (4, form.groups), (5, form.groups)):
        x = convolution(x, form.filters[number - 1], 3, groups=groups, name=f"conv{number}")
    x = keras.layers.MaxPooling2D(3, 2, name="pool5")(x)
    if spec.top:
        x = dense_top(x, (TOP_UNITS,) * 2, spec.info.top_classes, names=TOP_LAYERS, dropout=spec.options["dropout"])
    return Network(keras.Model(images, x, name=spec.info.name.lower()))


def _pool(x: keras.KerasTensor, number: int, form: _Form, lrn: bool) -> keras.KerasTensor:
    """Add overlapping max-pooling, with local response normalization before or after it."""
    norm, pool = f"norm{number}", f"pool{number}"
    if lrn and form.normalization == "before":
        x = local_response_normalization(x, name=norm)
    x = pool_up(x, name=pool) if form.rounds_up else import_keras().layers.MaxPooling2D(3, 2, name=pool)(x)
    return local_response_normalization(x, name=norm) if lrn and form.normalization == "after" else x
