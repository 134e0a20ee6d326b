"""Optimizers of Keras 3.15 for configs, with their arguments. Does not import TensorFlow.

Omitted are classes that wrap other optimizers (LossScaleOptimizer, MultiOptimizer), the argument `name`, which selects
the class here, `loss_scale_factor`, which is for float16 only, and `exclude_layers` of Muon, a list of patterns. A test
compares the rest with Keras, including defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from cnncli.catalogue.settings import BelowOne, Count, NotNegative, Option, Positive


@dataclass(frozen=True)
class OptimizerInfo:
    """Facts about an optimizer that are known before it is built.

    Attributes:
        class_name: Name in keras.optimizers.
        arguments: Arguments of Keras except name and learning_rate.
    """

    class_name: str
    arguments: Mapping[str, Option]


_SHARED: Mapping[str, Option] = {
    "weight_decay": Option(NotNegative, None, "decoupled weight decay, as a fraction of the learning rate"),
    "clipnorm": Option(Positive, None, "maximum norm of the gradient of each weight"),
    "clipvalue": Option(Positive, None, "maximum absolute value of gradient components"),
    "global_clipnorm": Option(Positive, None, "maximum norm of the gradient of all weights together"),
    "use_ema": Option(bool, False, "keep a moving average of the weights"),
    "ema_momentum": Option(BelowOne, 0.99, "fraction of the average that each step keeps"),
    "ema_overwrite_frequency": Option(Count, None, "steps after which the average replaces the weights"),
    "gradient_accumulation_steps": Option(Annotated[int, Field(ge=2)], None, "steps whose gradients are averaged"),
}
"""Arguments of every optimizer."""

_OWN: Mapping[str, Option] = {
    "beta_1": Option(BelowOne, 0.9, "decay rate of the average of gradients"),
    "beta_2": Option(BelowOne, 0.999, "decay rate of the average of squared gradients"),
    "rho": Option(BelowOne, 0.9, "decay rate of the average of squared gradients"),
    "epsilon": Option(NotNegative, 1e-7, "added to a denominator"),
    "amsgrad": Option(bool, False, "divide by the maximum of the average of squared gradients so far"),
    "momentum": Option(BelowOne, 0.0, "momentum: fraction of the previous step that is added"),
    "nesterov": Option(bool, False, "Nesterov momentum"),
    "centered": Option(bool, False, "normalize by the estimated variance"),
    "initial_accumulator_value": Option(NotNegative, 0.1, "initial value of the sum of squared gradients"),
    "warmup_steps": Option(Annotated[int, Field(ge=0)], 0, "steps in which the learning rate rises from 0"),
    # Adafactor
    "beta_2_decay": Option(float, -0.8, "exponent of the decay of the average of squared gradients"),
    "epsilon_1": Option(NotNegative, 1e-30, "added to squared gradients"),
    "epsilon_2": Option(NotNegative, 1e-3, "lower bound of the weight scale in relative steps"),
    "clip_threshold": Option(Positive, 1.0, "maximum root mean square of a step"),
    "relative_step": Option(bool, True, "scale steps with the size of the weights"),
    # Ftrl
    "learning_rate_power": Option(float, -0.5, "exponent of the decay, 0 or less"),
    "l1_regularization_strength": Option(NotNegative, 0.0, "L1 penalty"),
    "l2_regularization_strength": Option(NotNegative, 0.0, "L2 penalty"),
    "l2_shrinkage_regularization_strength": Option(NotNegative, 0.0, "L2 penalty on the magnitude only"),
    "beta": Option(NotNegative, 0.0, "beta of the paper"),
    # Muon
    "adam_beta_1": Option(BelowOne, 0.9, "beta_1 of Adam for weights that Muon does not train"),
    "adam_beta_2": Option(BelowOne, 0.999, "beta_2 of Adam for weights that Muon does not train"),
    "adam_weight_decay": Option(NotNegative, 0.004, "weight decay of Adam for weights that Muon does not train"),
    "exclude_embeddings": Option(bool, True, "train embeddings with Adam"),
    "muon_a": Option(float, 3.4445, "first coefficient of the Newton-Schulz iteration"),
    "muon_b": Option(float, -4.775, "second coefficient"),
    "muon_c": Option(float, 2.0315, "third coefficient"),
    "adam_lr_ratio": Option(Positive, 1, "ratio of the learning rates of Adam and Muon"),
    "ns_steps": Option(Count, 5, "Newton-Schulz iterations"),
    "rms_rate": Option(Positive, 0.2, "target root mean square of a step"),
}
"""Arguments of some optimizers, with the default that most of them have."""


def _optimizer(class_name: str, *names: str, **defaults: object) -> OptimizerInfo:
    """Return an optimizer with some of the arguments above, and its own defaults."""
    known = {**_SHARED, **_OWN}
    arguments = {**_SHARED, **{name: known[name] for name in names}}
    own = {name: replace(known[name], default=default) for name, default in defaults.items()}
    return OptimizerInfo(class_name, {**arguments, **own})


_ADAM = ("beta_1", "beta_2", "epsilon")

_ALL = (
    _optimizer("Adadelta", "epsilon", rho=0.95),
    _optimizer("Adafactor", "beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step"),
    _optimizer("Adagrad", "initial_accumulator_value", "epsilon"),
    _optimizer("Adam", *_ADAM, "amsgrad"),
    _optimizer("AdamW", *_ADAM, "amsgrad", weight_decay=0.004),
    _optimizer("Adamax", *_ADAM),
    _optimizer(
        "Ftrl",
        *("learning_rate_power", "initial_accumulator_value", "beta"),
        *("l1_regularization_strength", "l2_regularization_strength", "l2_shrinkage_regularization_strength"),
    ),
    _optimizer("Lamb", *_ADAM),
    _optimizer("Lion", "beta_1", beta_2=0.99),
    _optimizer(
        "Muon",
        *("adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", "exclude_embeddings"),
        *("muon_a", "muon_b", "muon_c", "adam_lr_ratio", "ns_steps", "rms_rate"),
        **{"weight_decay": 0.004, "momentum": 0.95, "nesterov": True},
    ),
    _optimizer("Nadam", *_ADAM),
    _optimizer("RMSprop", "rho", "momentum", "epsilon", "centered"),
    _optimizer("SGD", "momentum", "nesterov"),
    _optimizer("ScheduleFreeAdamW", "beta_1", "beta_2", "warmup_steps", epsilon=1e-8),
)

OPTIMIZERS: Mapping[str, OptimizerInfo] = {info.class_name.lower(): info for info in _ALL}
"""Optimizers by name in lower case."""
