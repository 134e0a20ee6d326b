"""Architectures, one module each. The catalogue names the module of a network (`NetworkInfo.module`).

A module defines:

    build(spec: NetworkSpec) -> Network         the network, without or with top
    build_auxiliary(model, options, units) -> list     optional: logits of auxiliary classifiers, used in training only
    LAYERS: Mapping[str, frozenset[str]]        optional: layer classes beyond those of `saved_model`, by module
    has_local_weights(info) -> bool             optional: whether ImageNet weights are on this machine

`build` loads no weights; random weights come from Keras's seeded global generator.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.networks import NetworkInfo

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class NetworkSpec:
    """A network to build.

    Attributes:
        info: Its entry in the catalogue.
        input_shape: (height, width, channels) of the images.
        options: All its options with their defaults.
        imagenet: Whether it is built for ImageNet weights, for which some networks have a different graph.
        top: Whether it ends with its published top: dense layers (those in `info.top_layers` are named so) and a
            softmax over `info.top_classes` classes.
    """

    info: NetworkInfo
    input_shape: tuple[int, int, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    imagenet: bool = False
    top: bool = False


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


def has_local_weights(info: NetworkInfo) -> bool:
    """Return whether the ImageNet weights of a network without top, with default options, are on this machine."""
    find = getattr(architecture_of(info), "has_local_weights", None)
    return find is not None and bool(find(info))
