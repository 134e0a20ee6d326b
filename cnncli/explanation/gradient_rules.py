"""Rules for gradients at rectifiers: guided backpropagation, and the deconvolution of Zeiler and Fergus.

Both pass on only the gradients that raise the score. Guided backpropagation (Springenberg et al. 2014, arXiv 1412.6806)
also multiplies by the derivative of the rectifier, and deconvolution (arXiv 1311.2901) does not. Activations that are
not exactly rectifiers, such as swish and GELU, are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

Rule = Literal["guided", "deconvolution"]
Function = Callable[[Any], Any]

RECTIFIERS = frozenset(
    {
        *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "softplus"),
        *("hard_silu", "hard_swish", "squareplus"),
    }
)
"""Names of the activations, and in lower case those of the layers and operations, that count as rectifiers."""
_LAYERS = frozenset({"relu", "relu6", "leakyrelu", "elu", "gelu", "silu", "hardsilu", "selu"})


@contextmanager
def gradient_rule(model: keras.Model, rule: Rule) -> Iterator[None]:
    """Compute gradients by a rule inside the block. Outputs of the model do not change."""
    restore: list[tuple[Any, str, Any]] = []
    try:
        for operation in model.operations:
            activation: Any = getattr(operation, "activation", None)
            if type(operation).__name__.lower() in _LAYERS:
                restore.append((operation, "call", None))
                object.__setattr__(operation, "call", _with_rule(operation.call, rule))
            elif getattr(activation, "__name__", "") in RECTIFIERS:
                restore.append((operation, "activation", activation))
                operation.activation = _with_rule(activation, rule)
        yield
    finally:
        for operation, name, value in restore:
            if value is None:
                object.__delattr__(operation, name)
            else:
                operation.activation = value


def is_activated(operation: Any) -> bool:
    """Return whether an operation ends with a rectifier or another activation, except a gate of channels."""
    name = getattr(getattr(operation, "activation", None), "__name__", "linear")
    return type(operation).__name__.lower() in _LAYERS or name not in ("linear", "sigmoid", "hard_sigmoid", "softmax")


def _with_rule(function: Function, rule: Rule) -> Function:
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def call(x: Any) -> tuple[Any, Function]:
        def backward(upstream: Any) -> Any:
            raising = tf.nn.relu(upstream)
            if rule == "deconvolution":
                return raising
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x, raising)

        return function(x), backward

    return lambda x, *_, **__: call(x)
