"""What is in a file of weights: arrays by layer, without building, running or unpickling anything.

Three layouts occur. Keras 3 (`.weights.h5`, and `model.weights.h5` inside a `.keras` archive) names a layer after its
class and its position among the layers of this class: `layers/conv2d_3/vars/0`; a nested model has `layers` of its
own. Legacy HDF5 (`.h5`, weights alone or a whole model with `model_weights`) lists layers and their weights in order.
The content decides, not the file's name.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cnncli.errors import Message, WeightsError, printable
from cnncli.networks.weights.layer_paths import paths_by_name
from cnncli.networks.weights.safe_hdf5 import (
    HDF5_SIGNATURE,
    StoredArray,
    array_in,
    group_in,
    has_child,
    name_in,
    names_in,
    one_line,
    open_hdf5,
)
from cnncli.storage.safe_io import open_regular, parse_json
from cnncli.storage.zips import ARCHIVE_ERRORS, most_unpacked, open_zip, read_entry, unpack_entry

if TYPE_CHECKING:
    import h5py

ZIP_SIGNATURE = b"PK\x03\x04"
MAX_CONFIG_BYTES = 8 * 2**20
MAX_DEPTH = 16
MAX_LAYERS = 20_000
MAX_MODELS = 32


@dataclass(frozen=True)
class KerasLayers:
    """The layers of a model, or of one nested in it, in Keras 3's layout.

    Attributes:
        arrays: path within the model (`layers/conv2d_3`) → its arrays; layers without arrays are left out.
        names: layer name → path, as far as the file says.
    """

    arrays: Mapping[str, Sequence[StoredArray]]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LegacyLayers:
    """The layers of a model in the legacy layout: `(layer name, [(weight name, array)])` in order, none empty."""

    layers: Sequence[tuple[str, Sequence[tuple[str, StoredArray]]]]


Stored = Sequence[KerasLayers] | LegacyLayers


@contextmanager
def open_weights(path: Path) -> Iterator[Stored]:
    """Open a weights file: a model and the models nested in it. Arrays can be read inside the block.

    Raises:
        WeightsError: missing, neither HDF5 nor a `.keras` archive, damaged, truncated, or malicious.
    """
    with ExitStack() as stack:
        with naming_file(path):
            stored = _open(path, stack)
        yield stored


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Turn any failure inside the block into a WeightsError whose messages begin with the path."""
    name = printable(path)
    try:
        yield
    except WeightsError as error:
        problems = [Message(one.code, f"{name}: {one}", **{**one.facts, "path": path}) for one in error.problems]
        raise WeightsError(problems) from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        text = f"{name}: cannot be read ({_reason(error)}): copy or download it again"
        raise WeightsError(Message("weights-unreadable", text, path=path, reason=_reason(error))) from error
    except (*ARCHIVE_ERRORS, KeyError, TypeError, AttributeError) as error:
        text = f"{name}: not a file of weights as Keras writes it ({one_line(error)})"
        raise WeightsError(Message("weights-wrong-format", text, path=path, reason=one_line(error))) from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)


def _open(path: Path, stack: ExitStack) -> Stored:
    with open_regular(path) as file:
        signature = file.read(len(HDF5_SIGNATURE))
    if signature == HDF5_SIGNATURE:
        return _contents(stack.enter_context(open_hdf5(path)))
    if signature.startswith(ZIP_SIGNATURE):
        archive = stack.enter_context(open_zip(path))
        config = _read_config(archive)
        unpacked = stack.enter_context(_unpacked(archive, "model.weights.h5", path.stat().st_size))
        return _keras_models(stack.enter_context(open_hdf5(unpacked)), config)
    text = "neither HDF5 nor a .keras archive; expected .weights.h5 (Keras 3), .h5 (legacy) or .keras"
    raise WeightsError(Message("weights-wrong-format", text))


def _contents(file: h5py.File) -> Stored:
    root = group_in(file, "model_weights") if has_child(file, "model_weights") else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return LegacyLayers(list(_legacy_layers(root)))
    return _keras_models(file, None)


def _legacy_layers(root: h5py.Group) -> Iterator[tuple[str, list[tuple[str, StoredArray]]]]:
    for layer_name in names_in(root, "layer_names"):
        group = group_in(root, layer_name)
        weights = []
        for weight_name in names_in(group, "weight_names"):
            folder, _, last = weight_name.rpartition("/")
            weights.append((weight_name, array_in(group_in(group, folder), last)))
        if weights:
            yield layer_name, weights


def _keras_models(file: h5py.File, config: Mapping[str, Any] | None) -> list[KerasLayers]:
    """Return the model and every model nested in it."""
    # Keras 2.13 called the container of the layers differently.
    container = next((name for name in ("layers", "_layer_checkpoint_dependencies") if has_child(file, name)), None)
    if container is None:
        text = "HDF5, but not weights that Keras wrote: it has neither layers nor layer_names"
        raise WeightsError(Message("weights-wrong-format", text))
    collected = _Collected({}, {}, set())
    _collect(group_in(file, container), "layers", collected, 0)
    nested = {path[: path.rindex("/layers/")] for path in collected.arrays if "/layers/" in path}
    if len(collected.arrays) > MAX_LAYERS or len(nested) > MAX_MODELS:
        text = f"it has {len(collected.arrays):,} layers in {len(nested) + 1:,} models: refused"
        raise WeightsError(Message("weights-refused", text))
    return [_model_at(where, collected, config) for where in ["", *sorted(nested)]]


def _model_at(where: str, collected: _Collected, config: Mapping[str, Any] | None) -> KerasLayers:
    prefix = f"{where}/" if where else ""
    arrays = {path: found for path, found in collected.arrays.items() if path.startswith(prefix)}
    names = {name: path for path, name in collected.names.items() if path.startswith(prefix)}
    described = {} if config is None else paths_by_name(config, where)
    return KerasLayers(
        {path.removeprefix(prefix): found for path, found in arrays.items()},
        {name: path.removeprefix(prefix) for name, path in names.items()} | described,
    )


@dataclass(frozen=True)
class _Collected:
    """What a walk through the file has found: path → arrays, path → layer name; and the groups it has been to."""

    arrays: dict[str, list[StoredArray]]
    names: dict[str, str]
    visited: set[int]


def _collect(group: h5py.Group, path: str, collected: _Collected, depth: int) -> None:
    """Gather the arrays of the layers in a container, and those of nested models."""
    _visit(group, collected, depth)
    for key in group:
        layer, here = group_in(group, key), f"{path}/{key}"
        if has_child(layer, "vars"):
            variables = group_in(layer, "vars")
            arrays = [array_in(variables, index) for index in sorted(variables, key=int)]
            name = name_in(variables, "name")
            if arrays:
                collected.arrays[here] = arrays
            if arrays and name is not None:
                collected.names[here] = name
        if has_child(layer, "layers"):
            _collect(group_in(layer, "layers"), f"{here}/layers", collected, depth + 1)


def _visit(group: h5py.Group, collected: _Collected, depth: int) -> None:
    """Visit a group and the groups in it; refuse a group that is linked into itself, or twice."""
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address in collected.visited or depth > MAX_DEPTH:
        raise WeightsError(Message("weights-refused", f"{group.name} leads round in a circle: refused"))
    collected.visited.add(address)


def _read_config(archive: zipfile.ZipFile) -> Mapping[str, Any]:
    """Read the model description of a `.keras` archive as plain data; nothing in it is built or run."""
    config = parse_json(read_entry(archive, archive.getinfo("config.json"), MAX_CONFIG_BYTES))
    if not isinstance(config, dict):
        raise WeightsError(Message("weights-wrong-format", "config.json does not describe a model"))
    return config


@contextmanager
def _unpacked(archive: zipfile.ZipFile, name: str, archive_bytes: int) -> Iterator[BinaryIO]:
    """Unpack a member of an archive into a temporary file, in which HDF5 can seek."""
    with tempfile.TemporaryFile() as file:
        unpack_entry(archive, archive.getinfo(name), file, most_unpacked(archive_bytes))
        file.seek(0)
        yield file
