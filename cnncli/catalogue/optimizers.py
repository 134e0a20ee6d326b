"""The optimizers a config can name, with their arguments: the classes of keras.optimizers in Keras 3.15. No TensorFlow.

Left out: classes that wrap other optimizers (LossScaleOptimizer, MultiOptimizer); `name`, which means the class here;
`loss_scale_factor`, which serves float16 alone; Muon's `exclude_layers`, a list of patterns. A test compares the rest
with Keras, defaults included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncli.catalogue.options import Option


@dataclass(frozen=True)
class OptimizerInfo:
    """What is known of an optimizer before it is built.

    Attributes:
        class_name: in keras.optimizers.
        arguments: beside name and learning_rate, as Keras has them; where the default is None, null is allowed.
    """

    class_name: str
    arguments: Mapping[str, Option]


def _share(default: float, doc: str) -> Option:
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
    return _from_zero(default, "decoupled weight decay, as a share of the learning rate")


_EVERY: Mapping[str, Option] = {
    "weight_decay": _weight_decay(None),
    "clipnorm": _positive(None, "longest gradient of one weight"),
    "clipvalue": _positive(None, "largest component of a gradient"),
    "global_clipnorm": _positive(None, "longest gradient of all weights together"),
    "use_ema": _switch(False, "keep a moving average of the weights"),
    "ema_momentum": _share(0.99, "share of the average that a step keeps"),
    "ema_overwrite_frequency": Option("integer", None, "steps after which the average replaces the weights", minimum=1),
    "gradient_accumulation_steps": Option("integer", None, "steps whose gradients are averaged", minimum=2),
}


def _betas(beta_2: float = 0.999) -> dict[str, Option]:
    return {
        "beta_1": _share(0.9, "decay of the gradient's average"),
        "beta_2": _share(beta_2, "decay of the squared gradient's average"),
    }


def _epsilon(default: float = 1e-7) -> Option:
    return _from_zero(default, "added to a denominator")


_AMSGRAD = _switch(False, "divide by the largest squared average so far")
_RHO = "decay of the squared gradient's average"
_MOMENTUM = "share of the last step that is kept"
_NESTEROV = "look ahead along the momentum"
_ACCUMULATOR = _from_zero(0.1, "first value of the squared gradients' sum")

_ALL: Mapping[str, Mapping[str, Option]] = {
    "Adadelta": {"rho": _share(0.95, _RHO), "epsilon": _epsilon()},
    "Adafactor": {
        "beta_2_decay": _number(-0.8, "exponent by which the averages grow longer"),
        "epsilon_1": _from_zero(1e-30, "added to squared gradients"),
        "epsilon_2": _from_zero(1e-3, "smallest size of a weight in relative steps"),
        "clip_threshold": _positive(1.0, "largest root mean square of a step"),
        "relative_step": _switch(True, "step relative to the weights' size"),
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
        "l2_shrinkage_regularization_strength": _from_zero(0.0, "L2 penalty of the size alone"),
        "beta": _from_zero(0.0, "beta of the paper"),
    },
    "Lamb": {**_betas(), "epsilon": _epsilon()},
    "Lion": _betas(0.99),
    "Muon": {
        "adam_beta_1": _share(0.9, "beta_1 where Adam steps in"),
        "adam_beta_2": _share(0.999, "beta_2 where Adam steps in"),
        "adam_weight_decay": _weight_decay(0.004),
        "epsilon": _epsilon(),
        "weight_decay": _weight_decay(0.004),
        "exclude_embeddings": _switch(True, "leave embeddings to Adam"),
        "muon_a": _number(3.4445, "first coefficient of the Newton-Schulz iteration"),
        "muon_b": _number(-4.775, "second coefficient"),
        "muon_c": _number(2.0315, "third coefficient"),
        "adam_lr_ratio": _positive(1, "Adam's learning rate over Muon's"),
        "momentum": _share(0.95, _MOMENTUM),
        "ns_steps": Option("integer", 5, "Newton-Schulz iterations", minimum=1),
        "nesterov": _switch(True, _NESTEROV),
        "rms_rate": _positive(0.2, "root mean square that a step is scaled to"),
    },
    "Nadam": {**_betas(), "epsilon": _epsilon()},
    "RMSprop": {
        "rho": _share(0.9, _RHO),
        "momentum": _share(0.0, _MOMENTUM),
        "epsilon": _epsilon(),
        "centered": _switch(False, "divide by the estimated variance"),
    },
    "SGD": {"momentum": _share(0.0, _MOMENTUM), "nesterov": _switch(False, _NESTEROV)},
    "ScheduleFreeAdamW": {
        **_betas(),
        "epsilon": _epsilon(1e-8),
        "warmup_steps": Option("integer", 0, "steps in which the rate rises from 0", minimum=0),
    },
}

OPTIMIZERS: Mapping[str, OptimizerInfo] = {
    name.lower(): OptimizerInfo(name, {**_EVERY, **arguments}) for name, arguments in _ALL.items()
}
"""By name in lower case, as a config may write it."""
