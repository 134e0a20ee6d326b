"""Which array of a file belongs to which weight of a backbone, or the first layer at which they differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.catalogue.networks import NetworkInfo
from cnncli.networks.layer_paths import LayerSlot, layer_slots
from cnncli.networks.weight_files import KerasLayers, LegacyLayers, Stored, StoredArray

if TYPE_CHECKING:
    import keras

# Layers that a classifier may have above the backbone, whatever their number.
_TOP_KINDS = frozenset({"dense", "batch_normalization", "layer_normalization"})


@dataclass(frozen=True)
class Assignment:
    """A weight of the backbone and its array in the file."""

    layer: keras.layers.Layer
    variable: keras.Variable
    array: StoredArray


@dataclass(frozen=True)
class Attempt:
    """One way of matching: what fits, up to the first layer that does not, and why it does not."""

    assignments: list[Assignment]
    problem: str | None


def match(stored: Stored, backbone: keras.Model, info: NetworkInfo) -> tuple[list[Assignment], str | None]:
    """The array of every weight of the backbone; or, as a sentence, why there is none.

    Tried in turn, for the model and for each model nested in it: layers by name where all the names are there, else
    layers by their order, as Keras does. Layers above the backbone in the file (its top, a head) are passed over.
    When nothing fits, the attempt that came furthest says why.
    """
    slots = list(layer_slots(backbone))
    if isinstance(stored, LegacyLayers):
        attempts = _legacy_attempts(stored, backbone, slots, info)
    else:
        attempts = [attempt for model in stored for attempt in _keras_attempts(model, slots, info)]
    best = max(attempts, key=lambda attempt: (attempt.problem is None, len(attempt.assignments)))
    return best.assignments, best.problem


def _keras_attempts(model: KerasLayers, slots: Sequence[LayerSlot], info: NetworkInfo) -> list[Attempt]:
    attempts = []
    if all(slot.layer.name in model.names for slot in slots):
        arrays = [model.arrays.get(model.names[slot.layer.name], ()) for slot in slots]
        attempts.append(_compare(slots, arrays, info))
    by_order = _compare(slots, [model.arrays.get(slot.path, ()) for slot in slots], info)
    surplus = _surplus(model, slots, info)
    if by_order.problem is None and surplus is not None:
        by_order = Attempt(by_order.assignments[:1], surplus)
    return [*attempts, by_order]


def _compare(slots: Sequence[LayerSlot], found: Sequence[Sequence[StoredArray]], info: NetworkInfo) -> Attempt:
    """Layer by layer, until the first whose arrays have other shapes."""
    assignments: list[Assignment] = []
    for slot, arrays in zip(slots, found, strict=True):
        wanted = [tuple(variable.shape) for variable in slot.variables]
        there = [array.shape for array in arrays]
        if wanted != there:
            return Attempt(assignments, _difference(slot, wanted, there, info))
        assignments += [
            Assignment(slot.layer, variable, array) for variable, array in zip(slot.variables, arrays, strict=True)
        ]
    return Attempt(assignments, None)


def _difference(
    slot: LayerSlot, wanted: Sequence[tuple[int, ...]], there: Sequence[tuple[int, ...]], info: NetworkInfo
) -> str:
    if not there:
        return f"does not hold {info.name}: it has nothing for layer {slot.layer.name}, which takes {_shapes(wanted)}"
    if len(wanted) != len(there):
        return (
            f"does not hold {info.name}: layer {slot.layer.name} takes {_shapes(wanted)}, "
            f"the file has {_shapes(there)} for it"
        )
    first = next(index for index, pair in enumerate(zip(wanted, there, strict=True)) if pair[0] != pair[1])
    name = slot.variables[first].name
    return (
        f"does not hold {info.name}: layer {slot.layer.name} takes a {name} of shape {_shape(wanted[first])}, "
        f"the file has {_shape(there[first])}"
    )


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _shapes(shapes: Sequence[Sequence[int]]) -> str:
    return " and ".join(map(_shape, shapes))


def _surplus(model: KerasLayers, slots: Sequence[LayerSlot], info: NetworkInfo) -> str | None:
    """What the file has beyond the backbone and a classifier's top; None when nothing."""
    ours, theirs = Counter(map(_kind_of, (slot.path for slot in slots))), Counter(map(_kind_of, model.arrays))
    for kind, count in theirs.items():
        allowed = info.top_convolutions if kind == "conv2d" else 0
        if kind not in _TOP_KINDS and count > ours[kind] + allowed:
            return f"does not hold {info.name}: it has {count} layers of kind {kind}, {info.name} has {ours[kind]}"
    return None


def _kind_of(path: str) -> str:
    """`layers/conv2d_3` → `conv2d`; in a nested model, `layers/sequential_1/layers/conv2d` → `conv2d`."""
    return re.sub(r"_\d+$", "", path.rsplit("/", 1)[-1])


def _legacy_attempts(
    stored: LegacyLayers, backbone: keras.Model, slots: Sequence[LayerSlot], info: NetworkInfo
) -> list[Attempt]:
    attempts = [_legacy_in_order(stored, backbone, info)]
    for _, weights in stored.layers:
        # The backbone as a model inside a model: all its weights in one list, which names them `layer/weight`.
        if len(weights) > 1:
            attempts.append(_legacy_nested(dict(weights), slots, info))
    return attempts


def _legacy_in_order(stored: LegacyLayers, backbone: keras.Model, info: NetworkInfo) -> Attempt:
    """Layer for layer as Keras does it: those with weights, in order; a nested model counts as one layer."""
    ours = [
        LayerSlot(layer.name, layer, layer.trainable_weights + layer.non_trainable_weights)
        for layer in backbone.layers
        if layer.weights
    ]
    theirs = [[array for _, array in weights] for _, weights in stored.layers]
    attempt = _compare(ours, (theirs + [[] for _ in ours])[: len(ours)], info)
    kernels = [array.shape for arrays in theirs[len(ours) :] for array in arrays if len(array.shape) == 4]
    if attempt.problem is None and len(kernels) > info.top_convolutions:
        problem = f"does not hold {info.name}: it has {len(theirs)} layers with weights, {info.name} has {len(ours)}"
        return Attempt(attempt.assignments[:1], problem)
    return attempt


def _legacy_nested(weights: dict[str, StoredArray], slots: Sequence[LayerSlot], info: NetworkInfo) -> Attempt:
    by_layer: dict[str, list[StoredArray]] = {}
    for name, array in weights.items():
        parts = name.split("/")
        by_layer.setdefault(parts[-2] if len(parts) > 1 else "", []).append(array)
    return _compare(slots, [by_layer.get(slot.layer.name, []) for slot in slots], info)
