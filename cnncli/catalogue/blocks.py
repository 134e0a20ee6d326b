"""Blocks of a ConvNet, as `backbone.options.blocks` lists them. Does not import TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from cnncli.catalogue.settings import BelowOne, Count, Expected, NotNegative, Positive, Settings, as_tuple

ConvNetActivation = Literal[
    "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "linear"
]
Initializer = Literal[
    "glorot-uniform",
    "glorot-normal",
    "he-uniform",
    "he-normal",
    "lecun-uniform",
    "lecun-normal",
    "random-uniform",
    "random-normal",
    "truncated-normal",
    "orthogonal",
    "zeros",
    "ones",
    "uniform-fan-in",
]
"""Initializers of Keras, and uniform-fan-in: uniform in ±1 / (number of inputs of a unit)."""

MAX_REPEAT = 1_000

_Pair = Annotated[tuple[Count, Count], BeforeValidator(as_tuple)]
_Margin = Annotated[int, Field(ge=0)]
Sides = Annotated[Count | _Pair, Expected("an integer of at least 1, or [height, width]")]
Margin = Annotated[
    Literal["valid", "same"] | _Margin | Annotated[tuple[_Margin, _Margin], BeforeValidator(as_tuple)],
    Expected("valid, same, a number of pixels, or [vertical, horizontal]"),
]


class PoolingConfig(Settings):
    """Pooling at the end of a block."""

    kind: Literal["max", "average", "sum", "l2", "std", "weighted", "maxout"] = "max"
    """max, average, sum, l2 (square root of the sum of squares), std (standard deviation), weighted (a sum with trained
    weights, which start as the average) of the pixels in each window; maxout: maximum of successive channels."""
    size: Sides = 2
    """Height and width of a window in pixels; for maxout, the number of channels."""
    strides: Sides | None = None
    """Distance of windows in pixels; null: the size, so that they do not overlap."""
    padding: Margin = "valid"
    """Padding of the feature maps: valid (none), same, or a number of pixels."""

    @model_validator(mode="after")
    def _fits(self) -> PoolingConfig:
        if self.kind == "maxout" and not (isinstance(self.size, int) and self.size > 1):
            raise ValueError(f"the size of maxout is a number of channels above 1 (received {self.size})")
        if self.kind == "maxout" and (self.strides is not None or self.padding != "valid"):
            raise ValueError("maxout has neither strides nor padding")
        strides = self.size if self.strides is None else self.strides
        if self.kind == "weighted" and isinstance(strides, tuple) and strides[0] != strides[1]:
            raise ValueError("weighted pooling has the same stride in both directions")
        return self


class LrnConfig(Settings):
    """Local response normalization: division by (k + alpha · sum of squares of neighboring channels)^beta."""

    size: int = Field(default=5, ge=1)
    """Number of neighboring channels, odd."""
    alpha: NotNegative = 1e-4
    """Factor of the sum of squares (not divided by the size, as in TensorFlow and the AlexNet paper)."""
    beta: Positive = 0.75
    """Exponent."""
    k: Positive = 2.0
    """Constant below the exponent."""

    @model_validator(mode="after")
    def _is_odd(self) -> LrnConfig:
        if self.size % 2 == 0:
            raise ValueError(f"the size is odd, so that a channel is in the middle (received {self.size})")
        return self


def _contradiction(setting: str, what: str, expected: str) -> PydanticCustomError:
    """Return an error about a setting of a block that contradicts another one."""
    context = {"setting": setting, "expected": expected}
    return PydanticCustomError("config-contradiction-block", "{what}", {"what": what, **context})


class Block(Settings):
    """Convolutions, shortcut, normalization, pooling and dropout, in this order."""

    filters: int | None = Field(default=None, ge=1)
    """Filters of each convolution; null: no convolution, only what follows it."""
    kernel_size: Sides = 3
    """Height and width of the kernels in pixels: one number, or [1, 7]."""
    strides: Sides = 1
    """Distance of the first convolution's places in pixels; the others have 1."""
    padding: Margin = "valid"
    """Padding of convolutions: valid (none), same, or a number of pixels."""
    dilation: Count = 1
    """Distance of the pixels below a kernel; 1: neighbors."""
    convolutions: Count = 1
    """Number of convolutions."""
    kind: Literal["convolution", "separable", "depthwise", "locally-connected"] = "convolution"
    """separable: depthwise, then 1×1; depthwise: each channel on its own (filters is a multiple of the channels);
    locally-connected: different weights at each place."""
    groups: Count = 1
    """Number of groups of channels with separate kernels."""
    bias: bool | None = None
    """Whether convolutions have a bias; null: unless batch normalization follows."""
    initializer: Initializer = "glorot-uniform"
    """Initial weights: an initializer of Keras, or uniform-fan-in (uniform in ±1 / number of inputs of a unit)."""
    l1: NotNegative = 0.0
    """L1 penalty on the kernels, in the training objective."""
    l2: NotNegative = 0.0
    """L2 penalty on the kernels, in the training objective."""
    batch_norm: Literal["none", "before", "after"] = "none"
    """Batch normalization before or after the activation."""
    activation: ConvNetActivation | None = "relu"
    """Activation after each convolution; null: none."""
    shortcut: Literal["none", "identity", "projection"] = "none"
    """Add the input of the block to the output of its convolutions: as it is (the shapes must be equal), or after a 1×1
    convolution with the block's strides."""
    add: Literal["before", "after"] = "before"
    """Add the shortcut before or after the last activation."""
    lrn: LrnConfig | None = None
    """Local response normalization after the activation; {} for AlexNet's, null for none."""
    pooling: PoolingConfig | None = None
    """Pooling after that; null: none."""
    dropout: BelowOne = 0.0
    """Fraction of activations set to zero in training, at the end of the block."""
    repeat: Annotated[int, Field(ge=1, le=MAX_REPEAT)] = 1
    """Number of times that the block is repeated, each with weights of its own."""

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings of convolutions that are given to a block without convolutions.

        Defaults count unless `filters: null` is written as well, as in the config of a run.
        """
        if self.filters is not None:
            return ()
        is_explicit = "filters" in self.model_fields_set
        given = set(self.model_dump(exclude_defaults=True)) if is_explicit else self.model_fields_set
        return tuple(sorted(given - {"filters", "lrn", "pooling", "dropout", "repeat"}))

    @model_validator(mode="after")
    def _fits(self) -> Block:
        """Refuse what Keras cannot compute."""
        strides = self.strides if isinstance(self.strides, tuple) else (self.strides, self.strides)
        written = list(strides) if strides[0] != strides[1] else strides[0]
        if self.dilation > 1 and max(strides) > 1:
            raise _contradiction("dilation", f"contradicts strides: {written}", "1, or strides: 1")
        if self.kind != "convolution" and self.groups > 1:
            raise _contradiction("groups", f"contradicts kind: {self.kind}", "1, or kind: convolution")
        if self.kind in ("separable", "depthwise") and strides[0] != strides[1]:
            raise _contradiction("strides", f"contradicts kind: {self.kind}", "one number, or kind: convolution")
        if self.kind == "locally-connected" and self.dilation > 1:
            raise _contradiction("dilation", "contradicts kind: locally-connected", "1, or kind: convolution")
        if self.kind == "locally-connected" and self.initializer == "orthogonal":  # over all places, not at each
            raise _contradiction("initializer", "contradicts kind: locally-connected", "another one, such as he-normal")
        if self.filters is None and self.shortcut != "none":
            raise _contradiction("shortcut", "needs convolutions", "none, or a number of filters")
        if self.filters is not None and self.kind == "convolution" and self.filters % self.groups:
            raise _contradiction("groups", f"does not divide filters: {self.filters}", "a divisor")
        return self


Blocks = Annotated[
    tuple[Block, ...],
    Field(max_length=MAX_REPEAT),
    BeforeValidator(as_tuple),
    Expected("a list of {filters: 32, kernel_size: 3, pooling: {size: 2}}"),
]


def blocks_of(options: Mapping[str, Any]) -> Sequence[Block]:
    """Return the blocks of all options with their defaults: the list, or the short form with the same in each block."""
    if options["blocks"] is not None:
        blocks: Sequence[Block] = options["blocks"]
        return blocks
    pool_size, names = options["pool_size"], ("kernel_size", "padding", "convolutions", "activation", "dropout")
    same = {
        **{name: options[name] for name in names},
        "batch_norm": "before" if options["batch_norm"] else "none",
        "pooling": PoolingConfig(size=pool_size) if pool_size > 1 else None,
    }
    return [Block(filters=filters, **same) for filters in options["filters"]]


def repeated(blocks: Sequence[Block]) -> Iterator[tuple[int, Block]]:
    """Yield each block as often as it is repeated, with its number in the list."""
    for item, block in enumerate(blocks):
        yield from ((item, block) for _ in range(block.repeat))


BLOCKS_DOC = "ConvNet: blocks, each with settings of its own, instead of all other options."


class NetworkOptions(TypedDict, total=False):
    """Arguments of the network's constructor."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc] # the arguments of other networks

    blocks: Annotated[Blocks | None, Field(description=BLOCKS_DOC)]
