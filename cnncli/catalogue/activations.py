"""Activations of Keras 3.15 for layers of the head: all that keep the shape. Does not import TensorFlow.

Omitted are `glu`, which halves the channels, and `threshold`, which needs arguments. A test compares them with Keras.
"""

from __future__ import annotations

_RECTIFIERS = ("celu", "elu", "gelu", "leaky_relu", "mish", "relu", "relu6", "selu", "silu", "swish")
_SQUASHERS = ("log_sigmoid", "log_softmax", "sigmoid", "softmax", "softplus", "softsign", "squareplus", "tanh")
_HARD = ("hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "soft_shrink", "tanh_shrink")
_SPARSE = ("sparse_plus", "sparse_sigmoid", "sparsemax")

ACTIVATIONS = tuple(sorted(("linear", "exponential", *_RECTIFIERS, *_SQUASHERS, *_HARD, *_SPARSE)))
