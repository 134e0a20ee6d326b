"""The settings of a config: names, types, ranges, defaults and documentation.

Together with `augmentation.settings`, this is the only definition of the settings; the reader, error messages,
`cnncli config schema` and the settings reference are generated from it. Plain pydantic, without TensorFlow. A `Config`
is frozen and is created by `config.reader`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.blocks import Initializer, NetworkOptions, Sides
from cnncli.catalogue.losses import CROSS_ENTROPY, LOSSES
from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.catalogue.networks import NETWORKS, NetworkInfo, Preprocessing, is_model_file, network_named
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Expected, Fraction, Pixels, Seed, Settings, Size, ValueRange, as_tuple
from cnncli.metrics.table import LAST, keras_monitors, monitors
from cnncli.terminal.suggestions import did_you_mean

if TYPE_CHECKING:
    from cnncli.images.decode import PixelSpec

    Monitor = str
    BestMonitor = str
else:
    _WORDS = f"{', '.join(monitors())} or a metric of Keras such as val_auc"
    Monitor = Annotated[Literal[*monitors(), *keras_monitors()], Expected(_WORDS)]
    BestMonitor = Annotated[Literal[*monitors(), LAST, *keras_monitors()], Expected(f"{LAST}, {_WORDS}")]

Mode = Literal["feature-extraction", "fine-tuning", "from-scratch"]
MAX_LISTED_NAMES = 30
MAX_NAME_LENGTH = 100
"""Maximum length of the name of a run."""
MAX_ITEMS = 100
"""Maximum number of backbones, of layers in a head, and of stages in a run."""


def _not_empty(path: object) -> object:
    """Refuse an empty path, which would stand for the current folder."""
    if path == "":
        raise ValueError("the path is empty")
    # Converted here because pydantic accepts only UTF-8 text, but a file name can be any bytes.
    return Path(path) if isinstance(path, str) else path


def _name_in(names: Iterable[str], kind: str, or_model_file: bool = False) -> AfterValidator:
    """Return a validator that ignores case, - and _, and returns names as spelled in the catalogue.

    On request, the path of a saved model is accepted, too.
    """

    def validate(name: str) -> str:
        if or_model_file and is_model_file(name):
            return name
        by_plain = {_plain(known): known for known in names}
        if _plain(name) in by_plain:
            return by_plain[_plain(name)]
        listed = f"There are {', '.join(by_plain.values())}." if len(by_plain) <= MAX_LISTED_NAMES else ""
        hint = did_you_mean(name, by_plain.values()) or listed
        raise PydanticCustomError("config-unknown-name", "unknown {kind}", {"kind": kind, "hint": hint})

    return AfterValidator(validate)


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name.lower())


def _suggest(names: Iterable[str]) -> WithJsonSchema:
    """Suggest names to editors without forbidding others, because case is ignored."""
    return WithJsonSchema({"anyOf": [{"enum": list(names)}, {"type": "string", "minLength": 1}]})


class SplitFractions(Settings):
    """Fractions of the images for validation and test, for data without split folders."""

    validation: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Fraction of all images for validation; 0: no validation split, and the last epoch is kept."""
    test: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Fraction of all images for the test split; 0: no test split."""


ColumnName = Annotated[str, Field(min_length=1)]


class LabelsConfig(Settings):
    """Labels from a table instead of class folders."""

    path: Annotated[Path, BeforeValidator(_not_empty), Expected("a .csv, .tsv or .parquet file")] | None = Field(
        default=None, strict=False
    )
    """Table with a row per image (.csv, .tsv, .parquet); null: labels are the names of class folders."""
    image: ColumnName | None = None
    """Column with paths relative to `data.path`, file names, or file names without suffix; null: by its name."""
    label: Annotated[
        ColumnName | tuple[ColumnName, ...] | None,
        BeforeValidator(as_tuple),
        Expected("the name of a column, or a list of columns"),
    ] = None
    """Column with labels, or a list of columns that contain 0 and 1, one per class; null: by its name."""
    split: ColumnName | None = None
    """Column with train, validation or test; null: by its name and values, else splits are drawn."""
    separator: str | None = Field(default=None, min_length=1)
    """Text between several labels of an image, e.g. ";" in a table, or "_" in names of class folders such as red_dress:
    makes the data multi-label."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, values: Any) -> Any:
        """Accept a path alone."""
        return {"path": values} if isinstance(values, str | Path) else values

    @property
    def is_multi_label(self) -> bool:
        """Whether an image can have any number of labels."""
        return self.separator is not None or isinstance(self.label, tuple)


class GroupsConfig(Settings):
    """Images that belong together, such as those of a patient, a video or a place; exactly one of the settings."""

    column: ColumnName | None = None
    """Column of the table of labels."""
    folder: int | None = Field(default=None, ge=1)
    """Level of the folder that names the group: 1 is the folder of the image, 2 the one above it, and so on."""
    regex: Annotated[str, Expected("a regular expression")] | None = Field(default=None, min_length=1)
    """Regular expression that is searched in the path below `data.path`; its first group, or else all that it matches,
    names the group, e.g. "(patient[0-9]+)"."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class DataConfig(Settings):
    """Images and how they are decoded."""

    path: Annotated[Path, BeforeValidator(_not_empty), Expected("a folder of images")] = Field(
        strict=False, json_schema_extra={"minLength": 1}
    )
    """Folder with train/, validation/ and test/, each with class folders, or with class folders only."""
    labels: Annotated[LabelsConfig, Expected("the path of a table, or a group of settings")] = LabelsConfig()
    """Table of labels: its path, or a group with its columns; default: labels are the names of class folders."""
    groups: GroupsConfig | None = None
    """Images that stay in one split, by a column of the table, a folder, or part of their path; null: none."""
    image_size: Pixels | Size | None = None
    """Size in pixels: one number for a square, or [height, width]; default: that of the backbone, the first of a
    list."""
    color: Literal["rgb", "grayscale", "rgba", "bands"] = "rgb"
    """Channels of decoded images: rgb, grayscale, rgba (alpha is kept instead of blended with white), or the bands of
    multi-band or multi-page TIFF and .npy. Networks from scratch take them as they are; for pretrained networks,
    grayscale is repeated to three channels, and rgba and bands need `backbone.adapter`."""
    bands: int | None = Field(default=None, ge=1, le=512)
    """Number of bands of each image, for `color: bands`."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image is fitted to the image size: stretched, center-cropped, or padded with black."""
    splits: SplitFractions = SplitFractions()
    """Random stratified split for data without split folders; identical and similar images stay together."""
    train_images: int | None = Field(default=None, ge=1)
    """Number of training images to use, chosen at random in the proportions of the classes; more images contain those
    of a smaller number; null: all."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weights each class by n / (number of classes · n of the class) in the training objective; if
    multi-label, the images with and without a label equally."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Unreadable images: stop before training and list them, or leave them out and list them in the run."""
    allow_leakage: bool = False
    """Accept identical files in different splits."""
    min_images: int = Field(default=1, ge=1)
    """Minimum number of readable images per class; smaller classes are left out and listed."""
    max_pixels: int = Field(default=178_000_000, ge=1)
    """Maximum number of pixels; larger images are refused without decoding them."""
    range: ValueRange | None = None
    """Values of 16-bit grayscale images, or of bands, that become black and white, e.g. [0, 4095] for 12-bit
    microscopy; default: the range stated in the file, else all values of the data type, for floating-point bands
    [0, 1]."""

    @property
    def channels(self) -> int:
        """Number of channels of decoded images."""
        return {"rgb": 3, "grayscale": 1, "rgba": 4, "bands": self.bands or 1}[self.color]

    @property
    def has_validation(self) -> bool:
        """Whether there are validation images; a validation folder together with a fraction of 0 is refused."""
        return self.splits.validation > 0

    def pixel_spec(self, default_size: tuple[int, int]) -> PixelSpec:
        """Return the size, colors and fit of decoded pixels; `default_size` is the backbone's own (height, width)."""
        from cnncli.images.decode import PixelSpec

        size = self.image_size or default_size
        height, width = (size, size) if isinstance(size, int) else size
        return PixelSpec(height, width, self.color, self.fit, self.max_pixels, self.range, self.bands)


NetworkName = Annotated[
    str,
    _name_in(NETWORKS, "network", or_model_file=True),
    _suggest(NETWORKS),
    Expected("a name of `cnncli backbones`, or a saved model (.keras)"),
]


class BackboneConfig(Settings):
    """Network without its classification layers."""

    name: NetworkName = "EfficientNetLite0"
    """Name of a network (`cnncli backbones` lists them), or a saved model (.keras) that contains one: a classifier of
    cnncli up to its head, or a functional model of Keras."""
    weights: Annotated[str, Expected("imagenet, none or a weights file")] = Field(default="imagenet", min_length=1)
    """imagenet, none (random), or a file: .weights.h5 (Keras 3), .h5 (legacy), .keras; default for a saved model: its
    own."""
    output_layer: Annotated[str, Expected("a layer's name")] | None = Field(default=None, min_length=1)
    """Name of the layer whose output is the output of the backbone; null: the last layer."""
    include_top_layers: Annotated[str, Expected("a layer's name")] | None = Field(default=None, min_length=1)
    """Layer of the network's ImageNet top with which the backbone ends, e.g. fc1 or fc2 of VGG16; null: without top."""
    adapter: Literal["none", "conv1x1"] = "none"
    """conv1x1: a trained 1×1 convolution converts the channels to three for a pretrained network. The backbone behind
    it then runs in every step, because its features change with the adapter and cannot be cached."""
    preprocessing: Annotated[
        Preprocessing | None,
        BeforeValidator(as_tuple),
        Expected("scale, scale128, caffe, torch, none, or [scale, offset]"),
    ] = None
    """Conversion of pixels x in 0–255: scale (x/127.5 − 1), scale128 (x/128 − 1), caffe (BGR, means subtracted), torch
    (mean and deviation of ImageNet), none, or [a, b] for a·x + b; null: that of the network's weights."""
    options: Annotated[NetworkOptions, BeforeValidator(lambda options: options or {})] = Field(
        default_factory=NetworkOptions
    )
    """Arguments of the network's constructor, e.g. {alpha: 0.35} for MobileNetV2, {filters: [32, 64]} for ConvNet."""

    @property
    def network(self) -> NetworkInfo:
        """Facts about the network."""
        return network_named(self.name)

    @property
    def is_pretrained(self) -> bool:
        """Whether the network has pretrained weights."""
        return self.weights != "none"

    @property
    def has_adapter(self) -> bool:
        """Whether a trained adapter of channels is below the network; without pretrained weights, none is needed."""
        return self.adapter != "none" and self.is_pretrained


def _form_of_backbone(value: object) -> str:
    return "BackboneConfig[]" if isinstance(value, list | tuple) else "BackboneConfig"


def _single(backbones: BackboneConfig | tuple[BackboneConfig, ...]) -> BackboneConfig | tuple[BackboneConfig, ...]:
    """Return the item of a list of one, which means the same."""
    return backbones[0] if isinstance(backbones, tuple) and len(backbones) == 1 else backbones


Backbones = Annotated[
    Annotated[BackboneConfig, Tag("BackboneConfig")]
    | Annotated[
        tuple[BackboneConfig, ...],
        Field(min_length=1, max_length=MAX_ITEMS),
        BeforeValidator(as_tuple),
        Tag("BackboneConfig[]"),
    ],
    Discriminator(_form_of_backbone),
    AfterValidator(_single),
    Expected("a group of settings (name, weights, ...), or a list of such groups"),
]


ActivationName = Annotated[
    str,
    _name_in(ACTIVATIONS, "activation"),
    _suggest(ACTIVATIONS),
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
    """How the feature maps of the backbone are reduced to a vector."""
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


OptimizerName = Annotated[
    str,
    _name_in(OPTIMIZERS, "optimizer"),
    _suggest(OPTIMIZERS),
    Expected("a class of keras.optimizers by name, such as adam"),
]


class OptimizerConfig(Settings):
    """Optimizer of keras.optimizers, with its arguments (momentum, weight_decay, clipnorm and others)."""

    model_config = ConfigDict(extra="allow")

    name: OptimizerName = "adam"
    """Name of a class in keras.optimizers (case is ignored): adam, adamw, sgd, rmsprop, nadam, lion, ..."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Learning rate, which the schedule scales."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments other than name and learning rate, such as momentum, weight_decay and clipnorm."""
        return dict(self.model_extra or {})


class ScheduleConfig(Settings):
    """Learning rate schedule of a stage, as a factor of the optimizer's learning_rate."""

    name: Literal["constant", "step", "exponential", "cosine"] = "constant"
    """Shape after warm-up."""
    warmup_epochs: float = Field(default=0.0, ge=0.0)
    """Number of epochs in which the learning rate rises linearly from 0."""
    every_epochs: float = Field(default=10.0, gt=0.0)
    """step: epochs between drops; exponential: epochs after which the learning rate has been multiplied by factor."""
    factor: float = Field(default=0.5, gt=0.0, le=1.0)
    """step, exponential: factor by which the learning rate is multiplied."""
    final_fraction: Fraction = 0.0
    """cosine: fraction of the learning rate at the end of the stage."""


class PlateauConfig(Settings):
    """Lower the learning rate when a metric stops improving (ReduceLROnPlateau of Keras)."""

    monitor: Monitor = "val_loss"
    """Monitored metric."""
    factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Factor by which the learning rate is multiplied."""
    patience: int = Field(default=3, ge=1)
    """Epochs without improvement before the learning rate is lowered."""
    min_delta: float = Field(default=1e-4, ge=0.0)
    """Minimum change that counts as an improvement."""
    cooldown: int = Field(default=0, ge=0)
    """Epochs to wait after lowering the learning rate before counting again."""
    min_learning_rate: float = Field(default=0.0, ge=0.0)
    """Lower bound of the learning rate."""


class EarlyStoppingConfig(Settings):
    """End a stage when a metric stops improving."""

    monitor: Monitor = "val_loss"
    """Monitored metric."""
    patience: int = Field(default=5, ge=1)
    """Epochs without improvement before the stage ends."""
    min_delta: float = Field(default=0.0, ge=0.0)
    """Minimum change that counts as an improvement."""


class BestConfig(Settings):
    """Selection of the epoch whose weights become the model."""

    monitor: BestMonitor = "val_loss"
    """Metric that selects the best epoch of all stages of a run, or last for the last epoch; default: val_loss, without
    validation images last."""


Unfreeze = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)],
    Expected("a number of layers, a layer's name or all"),
]
StageName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$"),
    Expected("a name of letters, digits, - and _ that begins with a letter or digit"),
]


class StageConfig(Settings):
    """Part of training with one cut, optimizer and schedule. Settings that are not set come from `training`."""

    name: StageName
    """Name in stages.json, in the history and on the screen."""
    unfreeze: Unfreeze = 0
    """Layers to train: the last N layers of the backbone with weights, a layer's name (that layer and all after it), or
    all; 0: the head only."""
    epochs: int | None = Field(default=None, ge=1)
    """Maximum number of epochs."""
    optimizer: OptimizerConfig | None = None
    """Optimizer of the stage."""
    schedule: ScheduleConfig | None = None
    """Learning rate schedule of the stage."""
    reduce_on_plateau: PlateauConfig | None = None
    """Learning rate reduction on a plateau of the stage; null: none."""
    early_stopping: EarlyStoppingConfig | None = None
    """Early stopping of the stage; null: none."""
    batch_norm: Literal["frozen", "train"] | None = None
    """Batch normalization of a pretrained backbone in the stage."""


Stages = Annotated[
    tuple[StageConfig, ...],
    Field(min_length=1, max_length=MAX_ITEMS),
    BeforeValidator(as_tuple),
    Expected("a list of {name: head, unfreeze: 0, epochs: 10}"),
]


GradualUnfreezing = Annotated[
    tuple[Unfreeze, ...],
    Field(min_length=1, max_length=MAX_ITEMS),
    BeforeValidator(as_tuple),
    Expected("a list of numbers of layers, layers' names or all"),
]


LossName = Annotated[
    str,
    _name_in(LOSSES, "loss"),
    _suggest(LOSSES),
    Expected("cross-entropy, hinge, squared-error, focal or a class of keras.losses by name"),
]
MetricNames = Annotated[
    tuple[Annotated[str, _name_in(KERAS_METRICS, "metric"), _suggest(KERAS_METRICS)], ...],
    Field(max_length=MAX_ITEMS),
    BeforeValidator(as_tuple),
    Expected("a list of classes of keras.metrics by name, such as [auc, f1_score]"),
]
BatchSize = Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], Expected("an integer of at least 1, or auto")]


class TrainingConfig(Settings):
    """Training of the layers that are not frozen."""

    solver: Literal["auto", "exact", "gradient"] = "auto"
    """exact: solve the convex problem of a linear head on cached features, with one solution and without epochs;
    gradient: train with an optimizer; auto: exact in mode feature-extraction, if the head is one linear layer with a
    convex loss, the views are cached, and no setting of gradient training is set."""
    batch_size: BatchSize = 32
    """Images per step; auto: the largest of 128, 64, 32, ... that fits into memory and leaves at least 16 steps per
    epoch, chosen before training and recorded in the run."""
    epochs: int | None = Field(default=None, ge=1)
    """Maximum number of epochs per stage; default: 20, in mode fine-tuning 10."""
    loss: LossName = CROSS_ENTROPY
    """Loss: cross-entropy (categorical for softmax and linear, binary for sigmoid), hinge (the multiclass SVM loss),
    squared-error (half the sum over the outputs), focal (gamma 2), or a class of keras.losses with its defaults. The
    reported loss is of the same kind, without smoothing, weights and penalties."""
    metrics: MetricNames = ()
    """Metrics of Keras in the history, the curves and `evaluate`, by their names in keras.metrics, with their defaults;
    metrics that a monitor names are added."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Fraction of the label that is spread over all classes, in the training objective only; for cross-entropies and
    focal losses."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer; the second stage of mode fine-tuning has a tenth of its learning rate."""
    l1: float = Field(default=0.0, ge=0.0)
    """L1 penalty on all trained kernels (not on biases and normalization), in the training objective."""
    l2: float = Field(default=0.0, ge=0.0)
    """L2 penalty l2 · Σw² on all trained kernels (not on biases and normalization), in the training objective."""
    accumulation: int = Field(default=1, ge=1)
    """Number of batches whose gradients make one update; the last batches of an epoch make one of their own."""
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Fraction of a moving average of the weights that each update keeps, such as 0.999. Validation, the best epoch and
    the model use the averages; null: no average."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Factor of the learning rate from each backbone layer with weights to the one below it, counted as unfreeze does;
    null: the same rate for all."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning rate schedule of each stage."""
    reduce_on_plateau: PlateauConfig | None = None
    """Learning rate reduction on a plateau; null: none."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    """Early stopping; null: none, the default without validation images."""
    best: BestConfig = BestConfig()
    """Epoch whose weights become the model."""
    inspect: bool = False
    """Record statistics of every trained layer on a fixed batch after each epoch: inspect.csv, figures/inspect.png."""
    on_nan: Literal["stop", "rollback"] = "stop"
    """On NaN or Inf: stop, or restart the epoch with a tenth of the learning rate (at most twice)."""
    unfreeze: Unfreeze = 4
    """Layers that mode fine-tuning trains: the last N layers of the backbone with weights, a layer's name, or all."""
    gradual_unfreezing: GradualUnfreezing | None = None
    """Mode fine-tuning: values of unfreeze for one stage after another, such as [2, 5, all]; null: a single stage."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """Batch normalization of a pretrained backbone: statistics and scale stay frozen, or are trained if unfrozen."""
    stages: Stages | None = None
    """Explicit stages instead of those of the mode."""


class EvaluationConfig(Settings):
    """How images are seen by the trained classifier."""

    tta: Literal["none", "flip"] = "none"
    """Views at test time: flip averages the features of each image and its mirror image, in training, `evaluate` and
    `predict` alike; for a frozen backbone, whose features are pooled."""


class CacheConfig(Settings):
    """Feature cache settings."""

    max_gb: float | None = Field(default=None, gt=0.0)
    """Maximum size of the feature cache in GB (1,000,000,000 bytes), not counting entries in use. Least recently used
    entries are evicted first. Default: half of the sum of the cache's size and the free space on its disk."""

    @property
    def max_bytes(self) -> int | None:
        """Maximum size of the feature cache in bytes, or None."""
        # No disk is larger than 1e9 GB, and no integer is infinite.
        return None if self.max_gb is None else int(min(self.max_gb, 1e9) * 1e9)


RunName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_NAME_LENGTH),
    Expected(f"a name of at most {MAX_NAME_LENGTH} letters, digits, ., - and _"),
]


class Config(Settings):
    """All settings of one run; only `data.path` has no default."""

    name: RunName | None = None
    """Name of the run; default: the names of backbone and mode."""
    mode: Mode = "feature-extraction"
    """feature-extraction: train the head; fine-tuning: the head first, then the top of the backbone as well;
    from-scratch: all layers, from random weights."""
    seed: Seed = 0
    """Random seed of splits, initial weights, image order, fresh views and dropout."""
    data: DataConfig
    """Images, and how they are decoded."""
    backbone: Backbones = BackboneConfig()
    """Pretrained network without its classification layers, or a list of networks, whose pooled features are
    concatenated: each of them has the settings of a single one."""
    head: HeadConfig = HeadConfig()
    """Layers on top of the backbone."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes to training images."""
    training: TrainingConfig = TrainingConfig()
    """Training of the layers that are not frozen."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How images are seen by the trained classifier."""
    engine: Literal["auto", "keras", "openvino"] = "auto"
    """Engine that runs the frozen part (the trunk); auto: Keras on a GPU, else OpenVINO."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Precision of the trunk, and of trained convolutions. int8 quantizes the trunk if its features agree well enough.
    auto: int8 if it saves time and NNCF (cnncli[int8]) is installed, else bfloat16 if OpenVINO or the GPU supports it,
    else float32."""
    cache: CacheConfig = CacheConfig()
    """Feature cache settings."""

    @property
    def backbones(self) -> tuple[BackboneConfig, ...]:
        """The backbone, or all backbones of a list."""
        return self.backbone if isinstance(self.backbone, tuple) else (self.backbone,)

    @property
    def backbones_by_key(self) -> dict[str, BackboneConfig]:
        """The backbone as `backbone`, or those of a list as `backbone.0`, `backbone.1` and so on."""
        if not isinstance(self.backbone, tuple):
            return {"backbone": self.backbone}
        return {f"backbone.{number}": backbone for number, backbone in enumerate(self.backbone)}

    @property
    def networks(self) -> str:
        """Names of the networks."""
        return " + ".join(backbone.network.name for backbone in self.backbones)

    @property
    def is_pretrained(self) -> bool:
        """Whether a backbone has pretrained weights."""
        return any(backbone.is_pretrained for backbone in self.backbones)

    @property
    def has_adapter(self) -> bool:
        """Whether a trained adapter of channels is below a backbone."""
        return any(backbone.has_adapter for backbone in self.backbones)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, with which editors complete and check.

    It checks each setting on its own; contradictions and missing files are found by `cnncli config validate`.
    """
    # Descriptions have the line breaks of the source.
    schema: dict[str, Any] = json.loads(json.dumps(Config.model_json_schema()).replace("\\n", " "))
    groups = schema["$defs"]
    arguments = {name: option for info in OPTIMIZERS.values() for name, option in info.arguments.items()}
    groups["OptimizerConfig"]["properties"].update(
        {
            name: {**TypeAdapter(option.annotation).json_schema(), "description": option.doc}
            for name, option in arguments.items()
        }
    )
    groups["OptimizerConfig"]["additionalProperties"] = False
    # A heading whose lines are all commented out is null and stands for the defaults.
    for group in (schema, *groups.values()):
        for field in group["properties"].values():
            if "$ref" in field:
                group_name = field["$ref"].rpartition("/")[2]
                field.setdefault("description", groups[group_name]["description"])
                path = [{"type": "string", "minLength": 1}] if group_name == "LabelsConfig" else []
                field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}, *path]
    layers = groups["HeadConfig"]["properties"]["layers"]
    layers["type"] = [layers["type"], "null"]
    schema["properties"]["backbone"]["oneOf"].append({"type": "null"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "cnncli config"}
