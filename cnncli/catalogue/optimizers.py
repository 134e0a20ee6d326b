"""The optimizers of Keras 3.15 that a config can name, with their arguments. No TensorFlow.

Left out are classes that wrap other optimizers (LossScaleOptimizer, MultiOptimizer); the argument `name`, which is the
class here; `loss_scale_factor`, for float16 only; and `exclude_layers` of Muon, a list of patterns. A test compares
the rest with Keras, including defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from cnncli.catalogue.options import Option


@dataclass(frozen=True)
class OptimizerInfo:
    """Facts about an optimizer that are known before it is built.

    Attributes:
        class_name: Name in keras.optimizers.
        arguments: Arguments of Keras except name and learning_rate.
    """

    class_name: str
    arguments: Mapping[str, Option]


_number = partial(Option, "number")
_fraction = partial(Option, "number", ge=0.0, lt=1.0)
_positive = partial(Option, "number", gt=0.0)
_from_zero = partial(Option, "number", ge=0.0)
_switch = partial(Option, "boolean")
_integer = partial(Option, "integer")

_SHARED: Mapping[str, Option] = {
    "weight_decay": _from_zero(None, "decoupled weight decay, as a fraction of the learning rate"),
    "clipnorm": _positive(None, "maximum norm of the gradient of each weight"),
    "clipvalue": _positive(None, "maximum absolute value of gradient components"),
    "global_clipnorm": _positive(None, "maximum norm of the gradient of all weights together"),
    "use_ema": _switch(False, "keep a moving average of the weights"),
    "ema_momentum": _fraction(0.99, "fraction of the average that each step keeps"),
    "ema_overwrite_frequency": _integer(None, "steps after which the average replaces the weights", ge=1),
    "gradient_accumulation_steps": _integer(None, "steps whose gradients are averaged", ge=2),
}
"""Arguments of every optimizer."""

_OWN: Mapping[str, Option] = {
    "beta_1": _fraction(0.9, "decay rate of the average of gradients"),
    "beta_2": _fraction(0.999, "decay rate of the average of squared gradients"),
    "rho": _fraction(0.9, "decay rate of the average of squared gradients"),
    "epsilon": _from_zero(1e-7, "added to a denominator"),
    "amsgrad": _switch(False, "divide by the maximum of the average of squared gradients so far"),
    "momentum": _fraction(0.0, "momentum: fraction of the previous step that is added"),
    "nesterov": _switch(False, "Nesterov momentum"),
    "centered": _switch(False, "normalize by the estimated variance"),
    "initial_accumulator_value": _from_zero(0.1, "initial value of the sum of squared gradients"),
    "warmup_steps": _integer(0, "steps in which the learning rate rises from 0", ge=0),
    # Adafactor
    "beta_2_decay": _number(-0.8, "exponent of the decay of the average of squared gradients"),
    "epsilon_1": _from_zero(1e-30, "added to squared gradients"),
    "epsilon_2": _from_zero(1e-3, "lower bound of the weight scale in relative steps"),
    "clip_threshold": _positive(1.0, "maximum root mean square of a step"),
    "relative_step": _switch(True, "scale steps with the size of the weights"),
    # Ftrl
    "learning_rate_power": _number(-0.5, "exponent of the decay, 0 or less"),
    "l1_regularization_strength": _from_zero(0.0, "L1 penalty"),
    "l2_regularization_strength": _from_zero(0.0, "L2 penalty"),
    "l2_shrinkage_regularization_strength": _from_zero(0.0, "L2 penalty on the magnitude only"),
    "beta": _from_zero(0.0, "beta of the paper"),
    # Muon
    "adam_beta_1": _fraction(0.9, "beta_1 of Adam for weights that Muon does not train"),
    "adam_beta_2": _fraction(0.999, "beta_2 of Adam for weights that Muon does not train"),
    "adam_weight_decay": _from_zero(0.004, "weight decay of Adam for weights that Muon does not train"),
    "exclude_embeddings": _switch(True, "train embeddings with Adam"),
    "muon_a": _number(3.4445, "first coefficient of the Newton-Schulz iteration"),
    "muon_b": _number(-4.775, "second coefficient"),
    "muon_c": _number(2.0315, "third coefficient"),
    "adam_lr_ratio": _positive(1, "ratio of the learning rates of Adam and Muon"),
    "ns_steps": _integer(5, "Newton-Schulz iterations", ge=1),
    "rms_rate": _positive(0.2, "target root mean square of a step"),
}
"""Arguments of some optimizers, with the default that most of them have."""


def _optimizer(class_name: str, *names: str, **defaults: object) -> OptimizerInfo:
    """Return an optimizer with some of the arguments above, and defaults of its own."""
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
