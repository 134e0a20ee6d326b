"""The settings of a config: names, types, ranges, defaults, and one line of documentation each.

This, with the group `augmentation.settings`, is the single place they are written down: reading, error messages,
`cnncli config schema` and the README's reference are all made from it. Plain pydantic, no TensorFlow. A `Config` is
frozen; `config.reader` makes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.catalogue.settings import Expected as Expected
from cnncli.catalogue.settings import Fraction, Pixels, Seed, Size, ValueRange, as_tuple
from cnncli.catalogue.settings import Settings as Settings

if TYPE_CHECKING:
    from cnncli.images.decode import PixelSpec

Mode = Literal["feature-extraction", "fine-tuning", "from-scratch"]
SplitName = Literal["train", "validation", "test"]
Metric = Literal["val_loss", "val_accuracy", "loss", "accuracy"]


def _named(path: object) -> object:
    """No text at all would stand for the current folder."""
    if path == "":
        raise ValueError("it is empty")
    return path


class SplitFractions(Settings):
    """Shares of the images that become validation and test where the data has no split folders."""

    validation: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of all images for validation."""
    test: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Share of all images for the test; 0: no test split."""


class DataConfig(Settings):
    """Which images, and how they become arrays."""

    path: Annotated[Path, BeforeValidator(_named), Expected("a folder of images")] = Field(strict=False)
    """Folder with train/, validation/ and test/ of class folders, or with class folders alone."""
    image_size: Pixels | Size | None = None
    """Pixels: one number for a square, or [height, width]; default: the backbone's own."""
    color: Literal["rgb", "grayscale"] = "rgb"
    """Color of the decoded images; grayscale is repeated to three channels inside the classifier."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image meets the image size: distorted, centre-cropped, or padded with black."""
    splits: SplitFractions = SplitFractions()
    """Seeded, stratified split for data without split folders; equal and similar-looking files stay together."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs each class by n / (classes · n of the class) in the training objective."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Unreadable images: list them all and stop before training, or leave them out and list them in the run."""
    allow_leakage: bool = False
    """Accept byte-for-byte equal images in different splits."""
    max_pixels: int = Field(default=178_000_000, ge=1)
    """Images with more pixels than this are refused unread."""
    range: ValueRange | None = None
    """Values of 16-bit grayscale images that become black and white, e.g. [0, 4095] for 12-bit microscopy; default: the
    range stated in the file, else [0, 65535]."""

    def pixel_spec(self, default_size: tuple[int, int]) -> PixelSpec:
        """Return the size, colors and fit of decoded pixels; `default_size` is the backbone's own (height, width)."""
        from cnncli.images.decode import PixelSpec

        size = self.image_size or default_size
        height, width = (size, size) if isinstance(size, int) else size
        return PixelSpec(height, width, self.color, self.fit, self.max_pixels, self.range)


class BackboneConfig(Settings):
    """The pretrained network without its classifier."""

    name: Annotated[str, Expected("a name of `cnncli backbones`")] = "EfficientNetLite0"
    """A name of `cnncli backbones`."""
    weights: Annotated[str, Expected("imagenet, none or a weights file")] = Field(default="imagenet", min_length=1)
    """imagenet, none, or a file: .weights.h5 (Keras 3), .h5 (legacy), .keras."""
    output_layer: Annotated[str, Expected("a layer's name")] | None = Field(default=None, min_length=1)
    """Layer whose output is taken as the backbone's; null: the last."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the network's builder, e.g. {alpha: 0.35} for MobileNetV2, {filters: [32, 64]} for ConvNet."""


ActivationName = Annotated[str, Expected("an activation of Keras by name, such as relu")]


class DenseLayer(Settings):
    """A fully connected layer of the head."""

    dense: int = Field(ge=1)
    """Number of units."""
    activation: ActivationName | None = "relu"
    """Keras activation by name, or null."""
    l1: float = Field(default=0.0, ge=0.0)
    """L1 penalty of the kernel, in the training objective."""
    l2: float = Field(default=0.0, ge=0.0)
    """L2 penalty of the kernel, in the training objective."""


class DropoutLayer(Settings):
    """Dropout."""

    dropout: float = Field(ge=0.0, lt=1.0)
    """Share of the activations set to zero in training."""


class BatchNormLayer(Settings):
    """Batch normalisation."""

    batch_norm: Annotated[Literal[True], Expected("true")]
    """Always true."""


class ActivationLayer(Settings):
    """An activation as a layer of its own."""

    activation: ActivationName
    """Keras activation by name."""


MAX_ITEMS = 100
"""Layers of a head, stages of a training: a config written out in full stays short."""

HeadLayer = DenseLayer | DropoutLayer | BatchNormLayer | ActivationLayer
HeadLayers = Annotated[
    tuple[HeadLayer, ...],
    Field(max_length=MAX_ITEMS),
    BeforeValidator(as_tuple),
    Expected("a list of {dense: N}, {dropout: P}, {batch_norm: true} or {activation: NAME}"),
]


class HeadConfig(Settings):
    """What is put on top of the backbone; the output layer, one unit per class, is added by itself."""

    pooling: Literal["avg", "max", "flatten"] = "avg"
    """How the last feature maps become a vector."""
    layers: HeadLayers = ()
    """Layers between pooling and output: dense with its activation, l1 and l2; dropout; batch_norm; activation."""
    activation: Literal["softmax", "sigmoid", "linear"] = "softmax"
    """Of the output. With sigmoid, two classes share one unit (the second class's probability)."""
    l1: float = Field(default=0.0, ge=0.0)
    """L1 penalty of the output layer's kernel."""
    l2: float = Field(default=0.0, ge=0.0)
    """L2 penalty of the output layer's kernel."""


class OptimizerConfig(Settings):
    """A class of keras.optimizers by name, with its arguments."""

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: Annotated[str, Expected("a class of keras.optimizers by name, such as adam")] = "adam"
    """Class of keras.optimizers, upper and lower case alike: adam, adamw, sgd, rmsprop, nadam, lion …"""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Step size at the schedule's full height."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments beside name and learning rate: momentum, weight_decay, clipnorm …"""
        return dict(self.model_extra or {})


class ScheduleConfig(Settings):
    """The learning rate over a stage, as a factor of the optimizer's learning_rate."""

    name: Literal["constant", "step", "exponential", "cosine"] = "constant"
    """Shape after the warm-up."""
    warmup_epochs: float = Field(default=0.0, ge=0.0)
    """Epochs in which the rate rises linearly from 0."""
    every_epochs: float = Field(default=10.0, gt=0.0)
    """step: epochs between drops; exponential: epochs in which the rate is multiplied by factor once."""
    factor: float = Field(default=0.5, gt=0.0, le=1.0)
    """step, exponential: what the rate is multiplied by."""
    final_fraction: Fraction = 0.0
    """cosine: share of the rate that is left at the stage's end."""


class PlateauConfig(Settings):
    """Lower the learning rate where a metric stops improving (Keras's ReduceLROnPlateau)."""

    monitor: Metric = "val_loss"
    """Metric that is watched."""
    factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    """What the learning rate is multiplied by."""
    patience: int = Field(default=3, ge=1)
    """Epochs without improvement before it."""
    min_delta: float = Field(default=1e-4, ge=0.0)
    """Smallest change that counts as an improvement."""
    cooldown: int = Field(default=0, ge=0)
    """Epochs after a drop in which none is counted."""
    min_learning_rate: float = Field(default=0.0, ge=0.0)
    """The rate never falls below this."""


class EarlyStoppingConfig(Settings):
    """End a stage where a metric stops improving."""

    monitor: Metric = "val_loss"
    """Metric that is watched."""
    patience: int = Field(default=5, ge=1)
    """Epochs without improvement before the stage ends."""
    min_delta: float = Field(default=0.0, ge=0.0)
    """Smallest change that counts as an improvement."""


class BestConfig(Settings):
    """Which epoch's weights become the model."""

    monitor: Metric = "val_loss"
    """Metric of the best epoch, counted across the stages of one run."""


Unfreeze = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)],
    Expected("a number of layers, a layer's name or all"),
]
StageName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$"),
    Expected("a name of letters, digits, - and _, a letter or digit first"),
]


class StageConfig(Settings):
    """One span of training with one cut, one optimizer, one schedule. What is absent comes from `training`."""

    name: StageName
    """Name in the ledger, the history and on the screen."""
    unfreeze: Unfreeze = 0
    """N weighted layers from the end of the backbone, a layer's name (from it on), or all; 0: the head alone."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the training images, at most."""
    optimizer: OptimizerConfig | None = None
    """Optimizer of this stage."""
    schedule: ScheduleConfig | None = None
    """Schedule of this stage."""
    reduce_on_plateau: PlateauConfig | None = None
    """ReduceLROnPlateau of this stage."""
    early_stopping: EarlyStoppingConfig | None = None
    """Early stopping of this stage."""
    batch_norm: Literal["frozen", "train"] | None = None
    """Batch normalisation of a pretrained backbone in this stage."""


Stages = Annotated[
    tuple[StageConfig, ...],
    Field(min_length=1, max_length=MAX_ITEMS),
    BeforeValidator(as_tuple),
    Expected("a list of stages such as {name: head, unfreeze: 0, epochs: 10}"),
]


BatchSize = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"],
    Expected("a whole number of at least 1, or auto"),
]


class TrainingConfig(Settings):
    """How the tail is trained."""

    batch_size: BatchSize = 32
    """Images in a step; auto: the largest of 128, 64, 32 … whose step fits into memory and of which an epoch has 16
    at least, found before the training and recorded."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the training images, at most; default: 20, in mode fine-tuning 10 a stage."""
    loss: Literal["cross-entropy"] = "cross-entropy"
    """Categorical with softmax or linear, binary with sigmoid; computed from the logits."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the label spread over all classes, in the training objective only."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer; in mode fine-tuning, the second stage has a tenth of its learning rate."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning rate over a stage."""
    reduce_on_plateau: PlateauConfig | None = None
    """Lower the learning rate on a plateau; null: never."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    """End a stage early; null: never."""
    best: BestConfig = BestConfig()
    """Which epoch's weights become the model."""
    on_nan: Literal["stop", "rollback"] = "stop"
    """A loss or weight that is no number: stop, or begin its epoch anew at a tenth of the rate, at most twice."""
    unfreeze: Unfreeze = 4
    """In mode fine-tuning: N weighted layers from the end of the backbone, a layer's name, or all."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """Batch normalisation of a pretrained backbone: statistics and scale kept, or trained where unfrozen."""
    stages: Stages | None = None
    """Explicit stages in place of the mode's."""


class CacheConfig(Settings):
    """What is stored to be found again."""

    max_gb: float | None = Field(default=None, gt=0.0)
    """Stored features take at most so many GB (1,000,000,000 bytes), those in use apart; what was not used for longest
    goes first. Default: half of the sum of what they take and what is free on their disk."""

    @property
    def max_bytes(self) -> int | None:
        """The same in bytes."""
        if self.max_gb is None:
            return None
        return int(min(self.max_gb, 1e9) * 1e9)  # no disk is larger, and no whole number infinite


RunName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100),
    Expected("a name of at most 100 letters, digits, ., - and _"),
]


class Config(Settings):
    """Everything about one run; `data.path` alone has no default."""

    name: RunName | None = None
    """Name of the run; default: the backbone's and the mode's."""
    mode: Mode = "feature-extraction"
    """feature-extraction: the head alone; fine-tuning: the head, then the top of the backbone; from-scratch:
    everything, from random weights."""
    seed: Seed = 0
    """Of splits, initial weights, order, views and dropout."""
    data: DataConfig
    """Which images, and how they become arrays."""
    backbone: BackboneConfig = BackboneConfig()
    """The pretrained network without its classifier."""
    head: HeadConfig = HeadConfig()
    """What is put on top of the backbone."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random renderings of training images."""
    training: TrainingConfig = TrainingConfig()
    """How the tail is trained."""
    engine: Literal["auto", "keras", "openvino"] = "auto"
    """What runs the frozen trunk; auto: Keras on a GPU, else OpenVINO."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the trunk, and of tails that convolve; auto: bfloat16 where OpenVINO or a GPU computes in it, else float32."""
    cache: CacheConfig = CacheConfig()
    """What is stored to be found again."""
