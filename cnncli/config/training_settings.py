"""Settings of `training`: stages, optimizers, schedules, losses and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from cnncli.catalogue.losses import CROSS_ENTROPY, LOSSES
from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Expected, Fraction, Settings, as_tuple
from cnncli.config.checked_names import MAX_ITEMS, name_in, suggest
from cnncli.metrics.table import LAST, keras_monitors, monitors

if TYPE_CHECKING:
    Monitor = str
    BestMonitor = str
else:
    _WORDS = f"{', '.join(monitors())} or a metric of Keras such as val_auc"
    Monitor = Annotated[Literal[*monitors(), *keras_monitors()], Expected(_WORDS)]
    BestMonitor = Annotated[Literal[*monitors(), LAST, *keras_monitors()], Expected(f"{LAST}, {_WORDS}")]

OptimizerName = Annotated[
    str,
    name_in(OPTIMIZERS, "optimizer"),
    suggest(OPTIMIZERS),
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
    Expected("a name of ASCII letters, digits, - and _ that begins with a letter or digit"),
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
    name_in(LOSSES, "loss"),
    suggest(LOSSES),
    Expected("cross-entropy, hinge, squared-error, focal or a class of keras.losses by name"),
]
MetricNames = Annotated[
    tuple[Annotated[str, name_in(KERAS_METRICS, "metric"), suggest(KERAS_METRICS)], ...],
    Field(max_length=MAX_ITEMS),
    BeforeValidator(as_tuple),
    Expected("a list of classes of keras.metrics by name, such as [auc, f1_score]"),
]


def _distinct(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(numbers)) < len(numbers):
        raise ValueError("a device is named twice")
    return numbers


DeviceNumbers = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_distinct)
]
Devices = Annotated[
    Annotated[int, Field(ge=1)] | Literal["all"] | DeviceNumbers,
    BeforeValidator(as_tuple),
    Expected("a number of devices, all, or a list of their numbers such as [0, 2]"),
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
    devices: Devices = 1
    """Devices that each train on an equal part of every batch: the first N GPUs, all, or a list such as [0, 2]. Only
    for stages that train convolutions; a head on cached features is trained on one device."""
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
