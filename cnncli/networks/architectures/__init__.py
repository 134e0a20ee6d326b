"""Architectures, one module each. The catalogue names the module of a network (`NetworkInfo.module`).

A module defines:

    build(info, input_shape, options, imagenet, *, top=False) -> Network     the network, without or with top
    build_auxiliary(model, options, units) -> list     optional: logits of auxiliary classifiers, used in training only
    LAYERS: Mapping[str, frozenset[str]]        optional: layer classes beyond those of `saved_model`, by module
    has_local_weights(info, *, top=False) -> bool     optional: whether ImageNet weights are on this machine

`build` gets a `NetworkInfo`, the shape (height, width, channels), all options with their defaults, and whether the
network is built for ImageNet weights, for which some networks have a different graph. It loads no weights; random
weights come from Keras's seeded global generator. With `top=True`, the network ends with its published top: dense
layers (those in `NetworkInfo.top_layers` are named so) and a softmax over `NetworkInfo.top_classes` classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from cnncli.catalogue.networks import NetworkInfo

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Network:
    """A network, with random weights.

    Attributes:
        model: Functional model from preprocessed float32 images (batch, height, width, channels) to feature maps, or
            with top to probabilities (batch, classes).
        load_imagenet: Loads the ImageNet weights into `model`, or raises WeightsError and leaves it unchanged. None for
            a network without ImageNet weights.
    """

    model: keras.Model
    load_imagenet: Callable[[], None] | None = None


def architecture_of(info: NetworkInfo) -> ModuleType:
    """Return the module that builds a network."""
    return importlib.import_module(f"{__name__}.{info.module}")


def has_local_weights(info: NetworkInfo, *, top: bool = False) -> bool:
    """Return whether the ImageNet weights of a network, with default options and size, are on this machine.

    Args:
        info: Network.
        top: Whether weights of the top are needed, too.
    """
    find = getattr(architecture_of(info), "has_local_weights", None)
    return find is not None and bool(find(info, top=top))
