"""Keras 3's names for layers in a file of weights: after the class, numbered in order, not after the layer's name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

MOST_LAYERS = 20_000
"""Of one model, in a description that may come from anywhere."""


@dataclass(frozen=True)
class LayerSlot:
    """A layer of a network that has weights, and the name a file of Keras 3 would have for it.

    Attributes:
        path: such as `layers/conv2d_3`, or `layers/sequential/layers/conv2d` in a nested model.
        layer: the layer.
        variables: its weights in the order in which Keras stores them.
    """

    path: str
    layer: keras.layers.Layer
    variables: Sequence[keras.Variable]


def layer_slots(model: keras.Model, prefix: str = "") -> Iterator[LayerSlot]:
    """Yield the layers of a model that have weights, including those of nested models, in order."""
    used: Counter[str] = Counter()
    for layer in model.layers:
        path = f"{prefix}layers/{_next_name(type(layer).__name__, used)}"
        if hasattr(layer, "layers"):
            yield from layer_slots(layer, f"{path}/")
        elif layer.weights:
            yield LayerSlot(path, layer, layer.weights)


def paths_by_name(config: Mapping[str, Any], where: str) -> dict[str, str]:
    """Layer name → path, from the description of a model as a `.keras` archive has it.

    Args:
        config: of the whole model.
        where: the nested model to look into, by its path; empty: the model itself.
    """
    model: Mapping[str, Any] | None = config
    parts = [part for part in where.split("/") if part and part != "layers"]
    for part in parts:
        model = dict(_described_layers(model)).get(part) if model else None
    if model is None:
        return {}
    return {str(_entry(layer, "config").get("name")): f"layers/{path}" for path, layer in _described_layers(model)}


def _described_layers(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    used: Counter[str] = Counter()
    layers = _entry(model, "config").get("layers")
    for layer in layers if isinstance(layers, list) and len(layers) <= MOST_LAYERS else []:
        # Operations such as keras.ops.flip stand among the layers, but are none.
        is_layer = isinstance(layer, dict) and not str(layer.get("module", "")).startswith("keras.src.ops")
        # A Sequential's input layer is described, but not among its layers.
        if is_layer and not (model.get("class_name") == "Sequential" and layer.get("class_name") == "InputLayer"):
            yield _next_name(str(layer.get("class_name")), used), layer


def _entry(description: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping inside a description, or an empty one: descriptions are untrusted."""
    entry = description.get(key)
    return entry if isinstance(entry, dict) else {}


def _next_name(class_name: str, used: Counter[str]) -> str:
    name = _snake_case(class_name)
    used[name] += 1
    return name if used[name] == 1 else f"{name}_{used[name] - 1}"


def _snake_case(name: str) -> str:
    """Keras's own rule (`keras.src.utils.naming.to_snake_case`), here without importing Keras."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
