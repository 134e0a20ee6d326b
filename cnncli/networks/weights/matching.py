"""Which array of a file belongs to which weight of a backbone, or the first layer at which they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.catalogue.networks import NetworkInfo
from cnncli.networks.weights.files import KerasLayers, LegacyLayers, Stored
from cnncli.networks.weights.layer_paths import LayerSlot, layer_slots
from cnncli.networks.weights.safe_hdf5 import StoredArray

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Assignment:
    """A weight of the backbone and its array in the file."""

    layer: keras.layers.Layer
    variable: keras.Variable
    array: StoredArray


@dataclass(frozen=True)
class Attempt:
    """One way of matching: what fits, up to the first layer that does not, and why it does not."""

    assignments: Sequence[Assignment]
    problem: str | None


def match(stored: Stored, backbone: keras.Model, whole: keras.Model, info: NetworkInfo) -> Attempt:
    """Match the arrays of a file with the weights of a backbone.

    Attempts, for the model in the file and for each model nested in it: layers by name if all names exist, else layers
    by order, as in Keras. Layers above the backbone (its top, another head) are skipped. If nothing fits, the attempt
    that matched most reports the problem.

    Args:
        stored: content of the file.
        backbone: the network, or the part of it below its output layer.
        whole: the whole network without top.
        info: catalogue entry of the network, for messages.
    """
    attempts = list(_attempts(stored, backbone, whole, info))
    return next((attempt for attempt in attempts if attempt.problem is None), None) or max(
        attempts, key=lambda attempt: len(attempt.assignments)
    )


def _attempts(stored: Stored, backbone: keras.Model, whole: keras.Model, info: NetworkInfo) -> Iterator[Attempt]:
    slots = list(layer_slots(backbone))
    for model in [stored] if isinstance(stored, LegacyLayers) else stored:
        named = _legacy_by_name(model) if isinstance(model, LegacyLayers) else _keras_by_name(model)
        for attempt in _by_name(slots, named, info):
            yield _unless_deeper(attempt, model, whole, info)
        if isinstance(model, LegacyLayers):
            by_order = _legacy_by_order(model, backbone, info)
        else:
            by_order = _compare(slots, [model.arrays.get(slot.path, ()) for slot in slots], info)
        yield _unless_deeper(by_order, model, backbone, info)


def _unless_deeper(
    attempt: Attempt, model: KerasLayers | LegacyLayers, whole: keras.Model, info: NetworkInfo
) -> Attempt:
    """Refuse an attempt if the file has further layers after the network's end: VGG19 contains all layers of VGG16."""
    arrays = model.arrays.values() if isinstance(model, KerasLayers) else _legacy_by_name(model).values()
    theirs = sum(len(array.shape) == 4 for group in arrays for array in group)
    ours = sum(len(variable.shape) == 4 for variable in whole.weights)
    if attempt.problem is not None or theirs <= ours + info.top_convolutions:
        return attempt
    problem = f"does not hold {info.name}: it has {theirs} kernels of convolutions, {info.name} has {ours}"
    return Attempt(attempt.assignments[:1], problem)


def _keras_by_name(model: KerasLayers) -> dict[str, Sequence[StoredArray]]:
    return {name: model.arrays.get(path, ()) for name, path in model.names.items()}


def _legacy_by_name(model: LegacyLayers) -> dict[str, Sequence[StoredArray]]:
    """Layer name → arrays; a model nested in another is one layer, its weights are called `layer/weight`."""
    by_name: dict[str, list[StoredArray]] = {}
    for layer_name, weights in model.layers:
        for weight_name, array in weights:
            parts = weight_name.split("/")
            by_name.setdefault(parts[-2] if len(parts) > 1 else layer_name, []).append(array)
    return dict(by_name)


def _by_name(
    slots: Sequence[LayerSlot], arrays: Mapping[str, Sequence[StoredArray]], info: NetworkInfo
) -> Iterator[Attempt]:
    # Keras numbers the names it makes (`conv2d_7`) through a whole session, so the same network has other numbers.
    missing = {_stem_and_number(slot.layer.name)[0] for slot in slots if slot.layer.name not in arrays}
    arrays = {**arrays, **_renumbered(arrays, missing)}
    if all(slot.layer.name in arrays for slot in slots):
        yield _compare(slots, [arrays[slot.layer.name] for slot in slots], info)


def _renumbered(arrays: Mapping[str, Sequence[StoredArray]], stems: Set[str]) -> dict[str, Sequence[StoredArray]]:
    """Those with such a stem as a new session would call them: `conv2d_94`, `conv2d_95` → `conv2d`, `conv2d_1`."""
    renumbered: dict[str, Sequence[StoredArray]] = {}
    for stem in stems:
        named = sorted((number, name) for name in arrays for its, number in [_stem_and_number(name)] if its == stem)
        for rank, (_, name) in enumerate(named):
            renumbered[f"{stem}_{rank}" if rank else stem] = arrays[name]
    return renumbered


def _stem_and_number(name: str) -> tuple[str, int]:
    """`conv2d_94` → `conv2d`, 94; without a number it is 0."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and re.fullmatch("[0-9]{1,9}", number) else (name, 0)


def _compare(slots: Sequence[LayerSlot], found: Sequence[Sequence[StoredArray]], info: NetworkInfo) -> Attempt:
    """Layer by layer, until the first whose arrays have other shapes."""
    assignments: list[Assignment] = []
    for slot, arrays in zip(slots, found, strict=True):
        wanted = [tuple(variable.shape) for variable in slot.variables]
        there = [array.shape for array in arrays]
        if wanted != there:
            return Attempt(assignments, f"does not hold {info.name}: {_difference(slot, wanted, there)}")
        assignments += [
            Assignment(slot.layer, variable, array) for variable, array in zip(slot.variables, arrays, strict=True)
        ]
    return Attempt(assignments, None)


def _difference(slot: LayerSlot, wanted: Sequence[tuple[int, ...]], there: Sequence[tuple[int, ...]]) -> str:
    """How a layer of the backbone differs from what the file has in its place, with both shapes."""
    layer = f"layer {slot.layer.name}"
    if not there:
        return f"it has nothing for {layer}, which takes {_shapes(wanted)}"
    if len(wanted) != len(there):
        return f"{layer} takes {_shapes(wanted)}, the file has {_shapes(there)}"
    first = next(index for index, pair in enumerate(zip(wanted, there, strict=True)) if pair[0] != pair[1])
    name, one = slot.variables[first].name, slice(first, first + 1)
    return f"{layer} takes a {name} of shape {_shapes(wanted[one])}, the file has {_shapes(there[one])}"


def _shapes(shapes: Sequence[Sequence[int]]) -> str:
    words = ["(" + ", ".join(map(str, shape)) + ")" for shape in shapes]
    return " and ".join(words if len(words) <= 4 else [*words[:3], f"{len(words) - 3} more"])


def _legacy_by_order(stored: LegacyLayers, backbone: keras.Model, info: NetworkInfo) -> Attempt:
    """Layer for layer as Keras does it: those with weights, in order; a nested model counts as one layer."""
    ours = [
        LayerSlot(layer.name, layer, layer.trainable_weights + layer.non_trainable_weights)
        for layer in backbone.layers
        if layer.weights
    ]
    theirs = [[array for _, array in weights] for _, weights in stored.layers]
    return _compare(ours, [theirs[index] if index < len(theirs) else [] for index in range(len(ours))], info)
