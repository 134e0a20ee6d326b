"""What is in a file of weights: arrays by layer, read from HDF5 without building, running or unpickling anything.

Three layouts occur. Keras 3 (`.weights.h5`, and `model.weights.h5` inside a `.keras` archive) names a layer after its
class and its position among the layers of this class: `layers/conv2d_3/vars/0`; a nested model has `layers` of its
own. Legacy HDF5 (`.h5`, weights alone or a whole model with `model_weights`) lists layers and their weights in order.

A file may come from anywhere: links that leave it, data stored outside of it and arrays of unknown kind are refused,
and an array is only read after its declared shape was found to be the expected one.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import WeightsError, printable
from cnncli.networks.layer_paths import paths_by_name

if TYPE_CHECKING:
    import h5py

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"
MAX_DEPTH = 16
MAX_CONFIG_BYTES = 64 * 2**20
_FILTERS = frozenset({None, "gzip", "lzf", "szip"})


@dataclass(frozen=True)
class StoredArray:
    """An array in the file, not yet read."""

    shape: tuple[int, ...]
    dataset: h5py.Dataset

    def read(self) -> NDArray[np.float32]:
        """Its values; only call it when `shape` is the expected one."""
        values = self.dataset[()]
        if self.dataset.attrs.get("dtype") == "bfloat16":
            import ml_dtypes

            values = values.view(ml_dtypes.bfloat16)
        return np.asarray(values, np.float32)


@dataclass(frozen=True)
class KerasLayers:
    """The layers of a model, or of one nested in it, in Keras 3's layout.

    Attributes:
        where: the nested model's place in the file, empty for the model itself.
        arrays: path within the model (`layers/conv2d_3`) → arrays; layers without arrays are left out.
        names: layer name → path, as far as the file says.
    """

    where: str
    arrays: Mapping[str, Sequence[StoredArray]]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LegacyLayers:
    """The layers of a model in the legacy layout: `(layer name, [(weight name, array)])` in order, none empty."""

    layers: Sequence[tuple[str, Sequence[tuple[str, StoredArray]]]]


Stored = list[KerasLayers] | LegacyLayers


@contextmanager
def open_weights(path: Path) -> Iterator[Stored]:
    """What a file of weights holds; arrays can be read while the file is open.

    Raises: WeightsError: missing, neither HDF5 nor a `.keras` archive, damaged, cut off, or laid out to harm.
    """
    name = printable(path)
    try:
        signature = _signature(path)
        if signature.startswith(ZIP_SIGNATURE):
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("model.weights.h5") as weights,
                _hdf5(weights) as file,
            ):
                yield _keras_models(file, _read_config(archive))
        elif signature == HDF5_SIGNATURE:
            with _hdf5(path) as file:
                yield _contents(file)
        else:
            raise WeightsError(
                f"{name}: neither HDF5 nor a .keras archive; expected .weights.h5 (Keras 3), .h5 (legacy) or .keras"
            )
    except WeightsError as error:
        raise WeightsError([p if p.startswith(name) else f"{name}: {p}" for p in error.problems]) from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{name}: cannot be read: {_one_line(error)}; copy or download it again") from error
    except (KeyError, ValueError, TypeError, RuntimeError, RecursionError, UnicodeError, NotImplementedError) as error:
        raise WeightsError(f"{name}: not a file of weights that Keras wrote: {_one_line(error)}") from error


def _signature(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(HDF5_SIGNATURE))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _hdf5(source: Path | io.IOBase | Any) -> Iterator[h5py.File]:
    import h5py

    with h5py.File(source, "r") as file:
        yield file


def _contents(file: h5py.File) -> Stored:
    root = _child(file, "model_weights") if "model_weights" in file else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return LegacyLayers(_legacy_layers(root))
    return _keras_models(file, None)


def _keras_models(file: h5py.File, config: Mapping[str, Any] | None) -> list[KerasLayers]:
    """The model and every model nested in it that the file tells apart."""
    # Keras 2.13 called the container of the layers differently.
    container = "layers" if "layers" in file else "_layer_checkpoint_dependencies"
    if container not in file:
        raise WeightsError("HDF5, but not weights that Keras wrote: it has neither layers nor layer_names")
    found: dict[str, list[StoredArray]] = {}
    names: dict[str, str] = {}
    _collect(_child(file, container), "layers", found, names, 0)
    models = ["", *sorted({path[: path.rindex("/layers/")] for path in found if "/layers/" in path})]
    stored = []
    for where in models:
        prefix = f"{where}/" if where else ""
        arrays = {path.removeprefix(prefix): found[path] for path in found if path.startswith(prefix)}
        inner = {name: path.removeprefix(prefix) for name, path in names.items() if path.startswith(prefix)}
        stored.append(KerasLayers(where, arrays, inner | (paths_by_name(config, where) if config else {})))
    return stored


def _collect(
    group: h5py.Group, path: str, found: dict[str, list[StoredArray]], names: dict[str, str], depth: int
) -> None:
    """Gather the arrays of the layers in a container, nested models included."""
    if depth > MAX_DEPTH:
        raise WeightsError(f"more than {MAX_DEPTH} models nested in one another")
    for key in group:
        layer = _child(group, key)
        here = f"{path}/{key}"
        if "vars" in layer:
            variables = _child(layer, "vars")
            arrays = [_array(variables, index) for index in sorted(variables, key=_number)]
            if arrays:
                found[here] = arrays
            name = variables.attrs.get("name")
            if isinstance(name, str) and arrays:
                names[name] = here
        if "layers" in layer:
            _collect(_child(layer, "layers"), f"{here}/layers", found, names, depth + 1)


def _number(key: str) -> int:
    return int(key)


def _child(group: h5py.Group, name: str) -> h5py.Group:
    """A group inside a group, reached by a plain link alone."""
    import h5py

    child = _linked(group, name)
    if not isinstance(child, h5py.Group):
        raise WeightsError(f"{group.name}/{name} is not a group")
    return child


def _linked(group: h5py.Group, name: str) -> Any:
    import h5py

    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise WeightsError(f"{group.name}/{name} is a link to somewhere else, which Keras never writes: refused")
    return group[name]


def _array(group: h5py.Group, name: str) -> StoredArray:
    """An array whose data are inside the file, of numbers."""
    import h5py

    dataset = _linked(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise WeightsError(f"{group.name}/{name} is not an array")
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"{dataset.name} has its data in another file: refused")
    half = dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and dataset.attrs.get("dtype") == "bfloat16"
    if dataset.shape is None or not (dataset.dtype.kind in "fiu" or half):
        raise WeightsError(f"{dataset.name} is not an array of numbers")
    chunk_items = int(np.prod(dataset.chunks or (0,), dtype=np.float64))
    if dataset.compression not in _FILTERS or chunk_items > max(2**24, dataset.size):
        raise WeightsError(f"{dataset.name} is stored in a way that Keras never does: refused")
    return StoredArray(tuple(dataset.shape), dataset)


def _legacy_layers(root: h5py.Group) -> list[tuple[str, list[tuple[str, StoredArray]]]]:
    layers = []
    for layer_name in _words(root, "layer_names"):
        group = _walk(root, layer_name)
        weights = []
        for weight_name in _words(group, "weight_names"):
            *folders, last = weight_name.split("/")
            weights.append((weight_name, _array(_walk(group, "/".join(folders)), last)))
        if weights:
            layers.append((layer_name, weights))
    return layers


def _walk(group: h5py.Group, path: str) -> h5py.Group:
    for part in filter(None, path.split("/")):
        group = _child(group, part)
    return group


def _words(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute; a long one is spread over `name0`, `name1` …, for HDF5 limits an attribute."""
    if attribute in group.attrs:
        return [_text(item) for item in np.ravel(group.attrs[attribute])]
    words: list[str] = []
    number = 0
    while f"{attribute}{number}" in group.attrs:
        words += [_text(item) for item in np.ravel(group.attrs[f"{attribute}{number}"])]
        number += 1
    return words


def _text(item: bytes | str) -> str:
    return item.decode("utf-8") if isinstance(item, bytes) else str(item)


def _read_config(archive: zipfile.ZipFile) -> Mapping[str, Any]:
    """The description of the model in a `.keras` archive, as plain data: nothing in it is built or run."""
    entry = archive.getinfo("config.json")
    if entry.file_size > MAX_CONFIG_BYTES:
        raise WeightsError(f"config.json is {entry.file_size:,} bytes long: refused")
    with archive.open(entry) as file:
        config = json.loads(file.read(MAX_CONFIG_BYTES + 1))
    if not isinstance(config, dict):
        raise WeightsError("config.json does not describe a model")
    return config
