"""Load a weights file into a backbone: match arrays with weights, and report differences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.networks import NetworkInfo
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.errors import Message, WeightsError
from cnncli.networks.weights.files import StoredModel, open_weights
from cnncli.networks.weights.hdf5 import read_array

if TYPE_CHECKING:
    import h5py
    import keras

IMAGENET_MEANS = (0.485, 0.456, 0.406)


@dataclass(frozen=True)
class _Slot:
    """A layer, its place in a file (see `StoredModel.by_place`), and its weights in the order of the file."""

    place: str
    layer: keras.layers.Layer
    variables: Sequence[keras.Variable]


@dataclass(frozen=True)
class _Match:
    """Matching layers with their arrays, and a description of the first layer that does not match."""

    layers: Sequence[tuple[_Slot, Sequence[h5py.Dataset]]]
    problem: Message | None


def load_file(backbone: keras.Model, path: Path, info: NetworkInfo, part: keras.Model | None = None) -> None:
    """Load the weights of a file into a network without top, or into a part of it, after comparing all shapes.

    The file may end at the output layer of the part.

    Raises:
        WeightsError: The file cannot be read, or contains a different network; no weights were assigned.
    """
    models = [backbone] if part is None else [backbone, part]
    with open_weights(path) as stored:
        attempts = [attempt for model in models for attempt in _attempts(stored, model, backbone, info)]
        match = max(attempts, key=lambda attempt: (attempt.problem is None, len(attempt.layers)))
        if match.problem is not None:
            raise WeightsError(match.problem)
        values = [(slot, _read(slot, arrays)) for slot, arrays in match.layers]
    for slot, arrays in values:
        for variable, value in zip(slot.variables, arrays, strict=True):
            variable.assign(value)
        if hasattr(slot.layer, "finalize_state"):  # Normalization computes with constants made of its variables
            slot.layer.finalize_state()


def _read(slot: _Slot, arrays: Sequence[h5py.Dataset]) -> list[NDArray[np.float32]]:
    values = [read_array(array) for array in arrays]
    if not all(np.isfinite(value).all() for value in values):
        text = f"layer {slot.layer.name} has weights that are NaN or Inf"
        raise WeightsError(Message("weights-not-finite", text, layer=slot.layer.name))
    return values


def wants_imagenet_graph(info: NetworkInfo, config: BackboneConfig) -> bool:
    """Return whether the network must be built as Keras builds it for its ImageNet weights.

    This is the case for `imagenet`, and for files with weights derived from it: EfficientNetB0–B7 then have an
    additional layer that corrects the normalization of the pixels, which Keras builds only with weights="imagenet".

    Raises:
        WeightsError: The file cannot be read.
    """
    if config.weights == "imagenet":
        return info.imagenet_problem(config.options) is None
    if config.weights == "none" or info.preprocessing != "none":
        return False
    with open_weights(Path(config.weights)) as stored:
        first_arrays = [arrays[0] for model in stored for arrays in [*model.by_place.values(), *model.by_name.values()]]
        return any(
            array.shape == (3,) and np.allclose(read_array(array), IMAGENET_MEANS, atol=1e-3) for array in first_arrays
        )


def _attempts(
    stored: Sequence[StoredModel], backbone: keras.Model, whole: keras.Model, info: NetworkInfo
) -> Iterator[_Match]:
    """Match the arrays of each model in a file with the weights of a backbone, or of a part of the `whole` backbone.

    By name if all names exist, and by order, as in Keras. Layers above the backbone (its top, a different head) are
    skipped.
    """
    slots = list(_keras_slots(backbone))
    # Keras numbers generated names (`conv2d_7`) throughout a session, so the same network can have other numbers.
    for model in stored:
        missing = {_stem_and_number(slot.layer.name)[0] for slot in slots if slot.layer.name not in model.by_name}
        by_name = {**model.by_name, **_renumbered(model.by_name, missing)}
        if all(slot.layer.name in by_name for slot in slots):
            yield _compare(slots, [by_name[slot.layer.name] for slot in slots], model, whole, info)
        in_order = _legacy_slots(backbone) if model.is_legacy else slots
        arrays = [model.by_place.get(slot.place, ()) for slot in in_order]
        yield _compare(in_order, arrays, model, backbone, info)


def _keras_slots(model: keras.Model, prefix: str = "") -> Iterator[_Slot]:
    """Yield the layers with weights, including those of nested models, with their places in Keras 3's format."""
    from keras.src.utils.naming import to_snake_case

    used: Counter[str] = Counter()
    for layer in model.layers:
        name = to_snake_case(type(layer).__name__)
        place = f"{prefix}layers/{name}_{used[name]}" if used[name] else f"{prefix}layers/{name}"
        used[name] += 1
        if hasattr(layer, "layers"):
            yield from _keras_slots(layer, f"{place}/")
        elif layer.weights:
            yield _Slot(place, layer, layer.weights)


def _legacy_slots(model: keras.Model) -> list[_Slot]:
    """Return the layers with weights in order; a nested model counts as one layer."""
    layers = enumerate(layer for layer in model.layers if layer.weights)
    return [_Slot(str(n), layer, layer.trainable_weights + layer.non_trainable_weights) for n, layer in layers]


def _renumbered(by_name: Mapping[str, Sequence[h5py.Dataset]], stems: Set[str]) -> dict[str, Sequence[h5py.Dataset]]:
    """Return layers by the names they have in a new session: `conv2d_94`, `conv2d_95` → `conv2d`, `conv2d_1`."""
    renumbered: dict[str, Sequence[h5py.Dataset]] = {}
    for stem in stems:
        numbered = {_stem_and_number(name)[1]: name for name in by_name if _stem_and_number(name)[0] == stem}
        for rank, number in enumerate(sorted(numbered)):
            renumbered[f"{stem}_{rank}" if rank else stem] = by_name[numbered[number]]
    return renumbered


def _stem_and_number(name: str) -> tuple[str, int]:
    """Return (`conv2d`, 94) for `conv2d_94`; a name without a number has the number 0."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and re.fullmatch("[0-9]{1,9}", number) else (name, 0)


def _compare(
    slots: Sequence[_Slot],
    found: Sequence[Sequence[h5py.Dataset]],
    model: StoredModel,
    whole: keras.Model,
    info: NetworkInfo,
) -> _Match:
    """Compare layer by layer, up to the first layer whose arrays have different shapes.

    A file with more convolutions than the network does not match: VGG19 contains all layers of VGG16.
    """
    layers: list[tuple[_Slot, Sequence[h5py.Dataset]]] = []
    for slot, arrays in zip(slots, found, strict=True):
        expected = [tuple(variable.shape) for variable in slot.variables]
        received = [array.shape for array in arrays]
        if expected != received:
            name = slot.layer.name
            text = f"layer {name} takes {_text_of(expected)}, the file has {_text_of(received)}"
            return _Match(layers, _mismatch(info, text, layer=name, expected=expected, received=received))
        layers.append((slot, arrays))
    theirs = sum(len(array.shape) == 4 for arrays in model.by_place.values() for array in arrays)
    ours = sum(len(variable.shape) == 4 for variable in whole.weights)
    if theirs > ours + info.top_convolutions:
        text = f"it has {theirs} convolution kernels, {info.name} has {ours}"
        return _Match(layers[:1], _mismatch(info, text, expected=ours, received=theirs))
    return _Match(layers, None)


def _mismatch(info: NetworkInfo, text: str, **facts: object) -> Message:
    return Message("weights-mismatch", f"is not a weights file for {info.name}: {text}", network=info.name, **facts)


def _text_of(shapes: Sequence[Sequence[int]]) -> str:
    others = [f"{len(shapes) - 4} more"] if len(shapes) > 4 else []
    return " and ".join([*map(str, shapes[:4]), *others]) or "nothing"
