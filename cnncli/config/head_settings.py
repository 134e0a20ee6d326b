"""Settings of `head`: the layers on top of the backbone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.blocks import Initializer, Sides
from cnncli.catalogue.settings import Expected, Settings, as_tuple
from cnncli.config.checked_names import MAX_ITEMS, name_in, suggest

ActivationName = Annotated[
    str,
    name_in(ACTIVATIONS, "activation"),
    suggest(ACTIVATIONS),
    Expected("an activation of Keras by name, such as relu"),
]


class DenseLayer(Settings):
    """Fully connected layer."""

    dense: int = Field(ge=1)
    """Number of units."""
    activation: ActivationName | None = "relu"
    """Name of a Keras activation, or null."""
    initializer: Initializer = "glorot-uniform"
    """Initial weights: an initializer of Keras, or uniform-fan-in (uniform in ±1 / number of inputs of a unit)."""
    l1: float = Field(default=0.0, ge=0.0)
    """L1 penalty on the kernel, in the training objective."""
    l2: float = Field(default=0.0, ge=0.0)
    """L2 penalty on the kernel, in the training objective."""


class ConvLayer(Settings):
    """Convolution on the feature maps, before pooling."""

    conv: int = Field(ge=1)
    """Number of filters."""
    kernel_size: Sides = 3
    """Height and width of the kernels in pixels."""
    strides: Sides = 1
    """Distance of the places in pixels."""
    padding: Literal["valid", "same"] = "same"
    """Padding of the feature maps."""
    dilation: int = Field(default=1, ge=1)
    """Distance of the pixels below a kernel."""
    activation: ActivationName | None = "relu"
    """Name of a Keras activation, or null."""
    initializer: Initializer = "glorot-uniform"
    """Initial weights."""
    l1: float = Field(default=0.0, ge=0.0)
    """L1 penalty on the kernel, in the training objective."""
    l2: float = Field(default=0.0, ge=0.0)
    """L2 penalty on the kernel, in the training objective."""


class DropoutLayer(Settings):
    """Dropout."""

    dropout: float = Field(ge=0.0, lt=1.0)
    """Fraction of activations set to zero in training."""


class BatchNormLayer(Settings):
    """Batch normalization."""

    batch_norm: Annotated[Literal[True], Expected("true")]
    """Always true."""


class ActivationLayer(Settings):
    """Activation as a separate layer."""

    activation: ActivationName
    """Name of a Keras activation."""


LAYERS: dict[str, type[Settings]] = {
    "dense": DenseLayer,
    "conv": ConvLayer,
    "dropout": DropoutLayer,
    "batch_norm": BatchNormLayer,
    "activation": ActivationLayer,
}
"""Kinds of layers by the name that an item must contain; the first name in it decides."""


def _kind_of_layer(layer: object) -> str | None:
    """Return the class name of a layer."""
    if isinstance(layer, Settings):
        return type(layer).__name__
    names = layer if isinstance(layer, dict) else ()
    return next((kind.__name__ for name, kind in LAYERS.items() if name in names), None)


HeadLayer = Annotated[
    Annotated[DenseLayer, Tag("DenseLayer")]
    | Annotated[ConvLayer, Tag("ConvLayer")]
    | Annotated[DropoutLayer, Tag("DropoutLayer")]
    | Annotated[BatchNormLayer, Tag("BatchNormLayer")]
    | Annotated[ActivationLayer, Tag("ActivationLayer")],
    Discriminator(_kind_of_layer),
]
HeadLayers = Annotated[
    tuple[HeadLayer, ...],
    Field(max_length=MAX_ITEMS),
    BeforeValidator(lambda layers: as_tuple(layers or [])),
    Expected("a list of {dense: N}, {conv: N}, {dropout: P}, {batch_norm: true} or {activation: NAME}"),
]


class HeadConfig(Settings):
    """Layers on top of the backbone; the output layer is added automatically."""

    pooling: Literal["avg", "max", "flatten"] = "avg"
    """Reduction of the feature maps of the backbone to a vector."""
    layers: HeadLayers = ()
    """Layers between backbone and output: dense (with activation, initializer, l1, l2), conv, dropout, batch_norm,
    activation. Convolutions, with the batch_norm and activation that follow them, come before pooling."""
    activation: Literal["softmax", "sigmoid", "linear"] = "softmax"
    """Output activation; default: softmax, for multi-label data sigmoid, for hinge losses linear. With sigmoid, two
    classes share one unit (the probability of the second class)."""
    l1: float = Field(default=0.0, ge=0.0)
    """L1 penalty on the kernel of the output layer."""
    l2: float | None = Field(default=None, ge=0.0)
    """L2 penalty l2 · Σw² on the kernel of the output layer; null: chosen by cross-validation if the head is solved
    exactly, else none."""
