"""The optimizers of Keras 3.15 that a config can name, with their arguments. No TensorFlow.

Left out are classes that wrap other optimizers (LossScaleOptimizer, MultiOptimizer); the argument `name`, which is the
class here; `loss_scale_factor`, for float16 only; and `exclude_layers` of Muon, a list of patterns. A test compares
the rest with Keras, including defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncli.catalogue.options import Option


@dataclass(frozen=True)
class OptimizerInfo:
    """Facts about an optimizer that are known before it is built.

    Attributes:
        class_name: Name in keras.optimizers.
        arguments: Arguments of Keras except name and learning_rate; null is allowed if the default is None.
    """

    class_name: str
    arguments: Mapping[str, Option]


def _fraction(default: float, doc: str) -> Option:
    return Option("number", default, doc, minimum=0.0, below=1.0)


def _positive(default: float | None, doc: str) -> Option:
    return Option("number", default, doc, minimum=0.0, exclusive=True)


def _from_zero(default: float | None, doc: str) -> Option:
    return Option("number", default, doc, minimum=0.0)


def _number(default: float, doc: str) -> Option:
    return Option("number", default, doc)


def _switch(default: bool, doc: str) -> Option:
    return Option("boolean", default, doc)


def _weight_decay(default: float | None) -> Option:
    return _from_zero(default, "decoupled weight decay, as a fraction of the learning rate")


_EVERY: Mapping[str, Option] = {
    "weight_decay": _weight_decay(None),
    "clipnorm": _positive(None, "maximum norm of the gradient of each weight"),
    "clipvalue": _positive(None, "maximum absolute value of gradient components"),
    "global_clipnorm": _positive(None, "maximum norm of the gradient of all weights together"),
    "use_ema": _switch(False, "keep a moving average of the weights"),
    "ema_momentum": _fraction(0.99, "fraction of the average that each step keeps"),
    "ema_overwrite_frequency": Option("integer", None, "steps after which the average replaces the weights", minimum=1),
    "gradient_accumulation_steps": Option("integer", None, "steps whose gradients are averaged", minimum=2),
}


def _betas(beta_2: float = 0.999) -> dict[str, Option]:
    return {
        "beta_1": _fraction(0.9, "decay rate of the average of gradients"),
        "beta_2": _fraction(beta_2, "decay rate of the average of squared gradients"),
    }


def _epsilon(default: float = 1e-7) -> Option:
    return _from_zero(default, "added to a denominator")


_AMSGRAD = _switch(False, "divide by the maximum of the average of squared gradients so far")
_RHO = "decay rate of the average of squared gradients"
_MOMENTUM = "momentum: fraction of the previous step that is added"
_NESTEROV = "Nesterov momentum"
_ACCUMULATOR = _from_zero(0.1, "initial value of the sum of squared gradients")

_ALL: Mapping[str, Mapping[str, Option]] = {
    "Adadelta": {"rho": _fraction(0.95, _RHO), "epsilon": _epsilon()},
    "Adafactor": {
        "beta_2_decay": _number(-0.8, "exponent of the decay of the average of squared gradients"),
        "epsilon_1": _from_zero(1e-30, "added to squared gradients"),
        "epsilon_2": _from_zero(1e-3, "lower bound of the weight scale in relative steps"),
        "clip_threshold": _positive(1.0, "maximum root mean square of a step"),
        "relative_step": _switch(True, "scale steps with the size of the weights"),
    },
    "Adagrad": {"initial_accumulator_value": _ACCUMULATOR, "epsilon": _epsilon()},
    "Adam": {**_betas(), "epsilon": _epsilon(), "amsgrad": _AMSGRAD},
    "AdamW": {**_betas(), "epsilon": _epsilon(), "amsgrad": _AMSGRAD, "weight_decay": _weight_decay(0.004)},
    "Adamax": {**_betas(), "epsilon": _epsilon()},
    "Ftrl": {
        "learning_rate_power": _number(-0.5, "exponent of the decay, 0 or less"),
        "initial_accumulator_value": _ACCUMULATOR,
        "l1_regularization_strength": _from_zero(0.0, "L1 penalty"),
        "l2_regularization_strength": _from_zero(0.0, "L2 penalty"),
        "l2_shrinkage_regularization_strength": _from_zero(0.0, "L2 penalty on the magnitude only"),
        "beta": _from_zero(0.0, "beta of the paper"),
    },
    "Lamb": {**_betas(), "epsilon": _epsilon()},
    "Lion": _betas(0.99),
    "Muon": {
        "adam_beta_1": _fraction(0.9, "beta_1 of Adam for weights that Muon does not train"),
        "adam_beta_2": _fraction(0.999, "beta_2 of Adam for weights that Muon does not train"),
        "adam_weight_decay": _weight_decay(0.004),
        "epsilon": _epsilon(),
        "weight_decay": _weight_decay(0.004),
        "exclude_embeddings": _switch(True, "train embeddings with Adam"),
        "muon_a": _number(3.4445, "first coefficient of the Newton-Schulz iteration"),
        "muon_b": _number(-4.775, "second coefficient"),
        "muon_c": _number(2.0315, "third coefficient"),
        "adam_lr_ratio": _positive(1, "ratio of the learning rates of Adam and Muon"),
        "momentum": _fraction(0.95, _MOMENTUM),
        "ns_steps": Option("integer", 5, "Newton-Schulz iterations", minimum=1),
        "nesterov": _switch(True, _NESTEROV),
        "rms_rate": _positive(0.2, "target root mean square of a step"),
    },
    "Nadam": {**_betas(), "epsilon": _epsilon()},
    "RMSprop": {
        "rho": _fraction(0.9, _RHO),
        "momentum": _fraction(0.0, _MOMENTUM),
        "epsilon": _epsilon(),
        "centered": _switch(False, "normalize by the estimated variance"),
    },
    "SGD": {"momentum": _fraction(0.0, _MOMENTUM), "nesterov": _switch(False, _NESTEROV)},
    "ScheduleFreeAdamW": {
        **_betas(),
        "epsilon": _epsilon(1e-8),
        "warmup_steps": Option("integer", 0, "steps in which the learning rate rises from 0", minimum=0),
    },
}

OPTIMIZERS: Mapping[str, OptimizerInfo] = {
    name.lower(): OptimizerInfo(name, {**_EVERY, **arguments}) for name, arguments in _ALL.items()
}
"""Optimizers by name in lower case."""
