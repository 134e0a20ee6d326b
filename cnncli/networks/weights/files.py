"""Keras weights files as arrays by layer, without building, running or unpickling anything.

Keras 3 (`.weights.h5`, and `model.weights.h5` in a `.keras` archive) places a layer by its class and its number among
the layers of this class: `layers/conv2d_3/vars/0`; a nested model has its own `layers`. Legacy HDF5 (`.h5`, weights
only or a whole model with `model_weights`) lists layers and their weights in order. The content determines the format.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.errors import Message, WeightsError, printable, reason_of
from cnncli.networks.weights.hdf5 import as_array, longest_text_in, name_in, names_in, open_hdf5
from cnncli.storage.safe_io import open_regular
from cnncli.storage.zips import ARCHIVE_ERRORS, most_unpacked, open_zip, unpack_entry

if TYPE_CHECKING:
    import h5py

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"
MAX_MODELS = 32
_WEIGHT = re.compile(r"((?:layers/[^/]+/)*layers/[^/]+)/vars/([0-9]+)")
_KERAS_2_13_LAYERS = "_layer_checkpoint_dependencies/"


@dataclass(frozen=True)
class StoredModel:
    """The layers of a model in a file, or of a model nested in it; layers without arrays are omitted.

    Attributes:
        by_place: Place → arrays. Keras 3: path in the model (`layers/conv2d_3`). Legacy: position (`0`, `1` …), where a
            nested model counts as one layer.
        by_name: Layer name → arrays, for layers whose names are in the file; legacy: including those of nested models.
        is_legacy: Whether the file has the legacy format.
    """

    by_place: Mapping[str, Sequence[h5py.Dataset]]
    by_name: Mapping[str, Sequence[h5py.Dataset]]
    is_legacy: bool


@contextmanager
def open_weights(path: Path) -> Iterator[list[StoredModel]]:
    """Open a weights file with a model and the models nested in it. Arrays can be read inside the block.

    Raises:
        WeightsError: The file is missing, neither HDF5 nor a `.keras` archive, damaged, truncated or malicious, or the
            block raised the error; the messages start with the path.
    """
    name = printable(path)
    try:
        with _open(path) as models:
            yield models
    except WeightsError as error:
        raise WeightsError(
            [Message(one.code, f"{name}: {one}", **{**one.facts, "path": path}) for one in error.problems]
        ) from error
    except (*ARCHIVE_ERRORS, KeyError, TypeError, AttributeError) as error:
        text = f"{name}: cannot be read as a weights file ({reason_of(error)})"
        raise WeightsError(Message("weights-unreadable", text, path=path, reason=reason_of(error))) from error


@contextmanager
def _open(path: Path) -> Iterator[list[StoredModel]]:
    with open_regular(path) as start:
        signature = start.read(len(HDF5_SIGNATURE))
    if signature == HDF5_SIGNATURE:
        with open_hdf5(path) as file:
            root = file["model_weights" if "model_weights" in file else "/"]
            is_legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
            yield [_legacy_model(root, longest_text_in(path))] if is_legacy else _keras_models(file)
    elif signature.startswith(ZIP_SIGNATURE):
        with open_zip(path) as archive, tempfile.TemporaryFile() as unpacked:  # HDF5 must be able to seek
            entry = archive.getinfo("model.weights.h5")
            unpack_entry(archive, entry, unpacked, most_unpacked(path.stat().st_size))
            with open_hdf5(unpacked) as file:
                yield _keras_models(file)
    else:
        raise ValueError("neither HDF5 nor a .keras archive; expected .weights.h5 (Keras 3), .h5 (legacy) or .keras")


def _legacy_model(root: h5py.Group, longest_text: int) -> StoredModel:
    in_order: list[list[h5py.Dataset]] = []
    by_name: dict[str, list[h5py.Dataset]] = {}
    for layer_name in names_in(root, "layer_names", longest_text):
        arrays = []
        for weight_name in names_in(root[layer_name], "weight_names", longest_text):
            arrays.append(as_array(root[layer_name][weight_name]))
            # A weight of a nested model is called `layer/weight`.
            _, owner, _ = f"/{layer_name}/{weight_name}".rsplit("/", 2)
            by_name.setdefault(owner, []).append(arrays[-1])
        if arrays:
            in_order.append(arrays)
    return StoredModel({str(number): arrays for number, arrays in enumerate(in_order)}, by_name, is_legacy=True)


def _keras_models(file: h5py.File) -> list[StoredModel]:
    """Return the model and its nested models."""
    places: list[str] = []
    file.visit(places.append)
    weights: dict[str, dict[int, h5py.Dataset]] = {}
    for place in places:
        if match := _WEIGHT.fullmatch(place.replace(_KERAS_2_13_LAYERS, "layers/")):
            weights.setdefault(match[1], {})[int(match[2])] = as_array(file[place])
    if not weights:
        raise ValueError("HDF5, but not weights that Keras wrote: it has neither layers nor layer_names")
    layers = {place: [array for _, array in sorted(numbered.items())] for place, numbered in weights.items()}
    names = {place: name_in(arrays[0].parent, "name") for place, arrays in layers.items()}
    prefixes = sorted({place[: place.rindex("layers/")] for place in layers} | {""})
    if len(prefixes) > MAX_MODELS:
        raise ValueError(f"{len(layers):,} layers in {len(prefixes):,} models")
    return [
        StoredModel(
            by_place={place.removeprefix(prefix): layers[place] for place in layers if place.startswith(prefix)},
            by_name={name: layers[place] for place, name in names.items() if name and place.startswith(prefix)},
            is_legacy=False,
        )
        for prefix in prefixes
    ]
