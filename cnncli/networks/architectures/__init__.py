"""Architectures, one module each. The catalogue names the module of a network (`NetworkInfo.module`).

A module defines:

    build(info, input_shape, options, imagenet) -> Network     the network without top
    LAYERS: Mapping[str, frozenset[str]]        optional: layer classes beyond those of `saved_model`, by module
    has_local_weights(info) -> bool             optional: whether ImageNet weights are on this machine; default: no

`build` gets a `NetworkInfo`, the shape (height, width, 3), all options with their defaults, and whether the network is
built for ImageNet weights, for which some networks have a different graph. It loads no weights; random weights come
from Keras's seeded global generator.
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
    """A network without top, with random weights.

    Attributes:
        model: Functional model from preprocessed float32 images (batch, height, width, 3) to feature maps.
        load_imagenet: Loads the ImageNet weights into `model`, or raises WeightsError and leaves it unchanged. None for
            a network without ImageNet weights.
    """

    model: keras.Model
    load_imagenet: Callable[[], None] | None = None


def architecture_of(info: NetworkInfo) -> ModuleType:
    """Return the module that builds a network."""
    return importlib.import_module(f"{__name__}.{info.module}")


def has_local_weights(info: NetworkInfo) -> bool:
    """Return whether the ImageNet weights of a network, with default options and size, are on this machine."""
    return bool(getattr(architecture_of(info), "has_local_weights", lambda _: False)(info))
