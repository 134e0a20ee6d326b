"""A damaged or malicious weights file is refused with one message, before it is read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.errors import Message, WeightsError
from cnncli.networks.backend import import_keras
from cnncli.networks.weights import hdf5
from cnncli.networks.weights.files import open_weights
from cnncli.networks.weights.load import load_file
from tests.fault_injection.hostile_weights import write_one_long_name

Change = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def convnet() -> Any:
    """Return a network of one convolution with a kernel of shape (3, 3, 3, 4)."""
    keras = import_keras()
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])


def _weights(path: Path, change: Change | None = None) -> Path:
    """Write a Keras 3 weights file for that network, and change it."""
    with h5py.File(path, "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables["0"] = np.zeros((3, 3, 3, 4), np.float32)
        variables["1"] = np.zeros(4, np.float32)
        if change is not None:
            change(file)
    return path


def _replace(dataset: Callable[[h5py.Group], None]) -> Change:
    """Replace the kernel."""

    def change(file: h5py.File) -> None:
        del file["layers/conv2d/vars/0"]
        dataset(file["layers/conv2d/vars"])

    return change


def _refusal(path: Path, model: Any) -> Message:
    """Return the only problem of a file, whose message starts with its path."""
    with pytest.raises(WeightsError) as error:
        load_file(model, path, NETWORKS["ConvNet"])
    (problem,) = error.value.problems
    assert len(problem.splitlines()) == 1
    assert problem.startswith(f"{path}: ")
    assert problem.facts["path"] == path
    return problem


def _unreadable(path: Path, model: Any) -> str:
    """Return the reason why a file is refused before its arrays are compared with the network."""
    problem = _refusal(path, model)
    assert problem.code == "weights-unreadable"
    return str(problem.facts["reason"])


def test_unchanged_file_loads(convnet: Any, tmp_path: Path) -> None:
    """The file that the other tests modify is valid."""
    load_file(convnet, _weights(tmp_path / "x.weights.h5"), NETWORKS["ConvNet"])


def _missing(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _truncated(fraction: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, max(16, int(path.stat().st_size * fraction)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_missing, "No such file or directory"),
        (_folder, "Is a directory"),
        (_pipe, "not a regular file"),
        *((_truncated(fraction), "") for fraction in (0.01, 0.3, 0.9, 0.999)),
        *(
            (lambda path, content=content: path.write_bytes(content), "neither HDF5 nor a .keras archive")
            for content in (b"", b"\x80\x02}q\x00.", b"<html>captive portal</html>", b"\x89PNG\r\n\x1a\n" * 9)
        ),
    ],
)
def test_file_of_another_kind_or_a_truncated_one_is_refused(
    change: Callable[[Path], object], reason: str, convnet: Any, tmp_path: Path
) -> None:
    """Files that are not HDF5, truncated files and pipes are refused, whatever their suffix."""
    path = _weights(tmp_path / "x.weights.h5")
    change(path)
    assert _unreadable(path, convnet).startswith(reason)


def test_damage_in_the_middle_is_found_when_it_is_read(convnet: Any, tmp_path: Path) -> None:
    """Compressed data may be damaged although shapes and names are not; nothing is assigned."""
    path = _weights(
        tmp_path / "x.weights.h5",
        _replace(lambda group: group.create_dataset("0", data=np.random.rand(3, 3, 3, 4), compression="gzip")),
    )
    with h5py.File(path) as file:
        chunk = file["layers/conv2d/vars/0"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(data)
    before = convnet.layers[0].get_weights()[0].copy()
    assert _unreadable(path, convnet)
    np.testing.assert_array_equal(convnet.layers[0].get_weights()[0], before)


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bytes_never_end_in_a_traceback(seed: int, convnet: Any, tmp_path: Path) -> None:
    """A file with random bytes anywhere loads or is refused with a WeightsError."""
    path = _weights(tmp_path / "x.weights.h5")
    random, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    for place in random.integers(8, len(data), 20):
        data[place] = int(random.integers(256))
    path.write_bytes(data)
    with suppress(WeightsError):
        load_file(convnet, path, NETWORKS["ConvNet"])


def _external_link(file: h5py.File) -> None:
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/passwd", "/layers")


def _external_group(file: h5py.File) -> None:
    del file["layers/conv2d"]
    file["layers/conv2d"] = h5py.ExternalLink("other.h5", "/")


def _soft_link(file: h5py.File) -> None:
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/1")


def _circle(file: h5py.File) -> None:
    file["layers/conv2d/layers"] = file["layers"]


def _many(file: h5py.File) -> None:
    for number in range(40):
        file[f"layers/sequential_{number}/layers"] = file["layers/conv2d"]


def _external_data(group: h5py.Group) -> None:
    group.create_dataset("0", (3, 3, 3, 4), "f4", external=[("/etc/passwd", 0, 432)])


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 3, 3, 4))
    group.create_virtual_dataset("0", layout)


def _words(group: h5py.Group) -> None:
    group.create_dataset("0", (3, 3, 3, 4), h5py.string_dtype())


def _references(group: h5py.Group) -> None:
    group.create_dataset("0", (3, 3, 3, 4), h5py.ref_dtype)


def _records(group: h5py.Group) -> None:
    group.create_dataset("0", (3, 3, 3, 4), np.dtype([("a", "f4"), ("b", "f4")]))


def _nothing(group: h5py.Group) -> None:
    group["0"] = h5py.Empty("f4")


def _a_group(group: h5py.Group) -> None:
    group.create_group("0")


def _huge_chunk(group: h5py.Group) -> None:
    group.create_dataset("0", (3, 3, 3, 4), "f4", chunks=(3, 3, 3, 10**7), maxshape=(None,) * 4, compression="gzip")


def _long_names(file: h5py.File) -> None:
    file.attrs.create("layer_names", ["x" * 3000] * 9, dtype=h5py.string_dtype())


def _long_name(file: h5py.File) -> None:
    file["layers/conv2d/vars"].attrs["name"] = "x" * 3000


def test_link_out_of_the_file_is_not_even_looked_at(convnet: Any, tmp_path: Path) -> None:
    """External links are not opened; opening a pipe without a writer would block forever."""
    os.mkfifo(tmp_path / "pipe")
    for place in ("model_weights", "layers/conv2d", "layers/conv2d/vars", "layers/conv2d/vars/0", "layers/x"):

        def link(file: h5py.File, place: str = place) -> None:
            if place in file:
                del file[place]
            file[place] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")

        reason = _unreadable(_weights(tmp_path / "x.weights.h5", link), convnet)
        assert reason.startswith(f"/{place} is a link")


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        (_external_link, "/layers/conv2d/vars/0", "link"),
        (_external_group, "/layers/conv2d", "link"),
        (_soft_link, "/layers/conv2d/vars/0", "link"),
        (_circle, "/layers/conv2d/layers", "link"),
        (_many, "/layers/sequential_0/layers", "link"),
        (_replace(_external_data), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_virtual), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_words), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_references), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_records), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_nothing), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_a_group), "/layers/conv2d/vars/0", "numbers"),
        (_replace(_huge_chunk), "/layers/conv2d/vars/0", "numbers"),
        (_long_names, "/", "1,000 bytes"),
        (_long_name, "/layers/conv2d/vars", "1,000 bytes"),
    ],
)
def test_content_that_keras_never_writes_is_refused(
    change: Change, place: str, reason: str, convnet: Any, tmp_path: Path
) -> None:
    """Nothing outside of the file is opened, and nothing but numbers and short names is read."""
    found = _unreadable(_weights(tmp_path / "x.weights.h5", change), convnet)
    assert found.startswith(place)
    assert reason in found


def test_names_that_fill_the_memory_are_refused(convnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of variable-length strings that refer to one long string a thousand times is refused."""
    path = _weights(tmp_path / "x.weights.h5")
    write_one_long_name(path, length=400_000, count=1_000)
    monkeypatch.setattr(hdf5, "MAX_TEXT_BYTES", 10_000_000)

    assert "1,000 names" in _unreadable(path, convnet)


def test_names_beside_a_long_text_are_read(tmp_path: Path) -> None:
    """Names are read even if the heap also contains a model's description, a megabyte for NASNetLarge."""
    names = [f"layer_{number}" for number in range(1_060)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        weights = file.create_group("model_weights")
        weights.attrs.create("layer_names", names, dtype=h5py.string_dtype())
        for layer in names:
            weights.create_group(layer).attrs.create("weight_names", ["kernel", "bias"], dtype=h5py.string_dtype())
            weights[layer]["kernel"] = weights[layer]["bias"] = np.zeros(3)
        file.attrs["model_config"] = "x" * 1_100_000

    with open_weights(tmp_path / "x.h5") as (stored,):
        assert list(stored.by_name) == names
        assert all(len(arrays) == 2 for arrays in stored.by_place.values())


def test_file_of_more_models_than_any_network_has_is_refused(convnet: Any, tmp_path: Path) -> None:
    """A file with many nested models is refused, because each of them requires a walk through all layers."""

    def nest(file: h5py.File) -> None:
        for number in range(40):
            file[f"layers/sequential_{number}/layers/dense/vars/0"] = np.zeros(2)

    assert "41 models" in _unreadable(_weights(tmp_path / "x.weights.h5", nest), convnet)


@pytest.mark.parametrize("shape", [(2**20, 2**20, 3, 4), (10**15,), (0, 3, 3, 4)])
def test_absurd_size_is_compared_before_anything_is_read(shape: tuple[int, ...], convnet: Any, tmp_path: Path) -> None:
    """A kilobyte that declares terabytes is refused by its shape, without reading the data."""
    path = _weights(
        tmp_path / "x.weights.h5",
        _replace(lambda group: group.create_dataset("0", shape, "f4", chunks=True, compression="gzip")),
    )
    assert path.stat().st_size < 20_000
    problem = _refusal(path, convnet)
    assert (problem.code, problem.facts["received"]) == ("weights-mismatch", [shape, (4,)])


def _spectra(file: h5py.File) -> None:
    del file["layers"]
    file["spectra"] = np.zeros(3)


def _names_without_layers(file: h5py.File) -> None:
    file.attrs["layer_names"] = np.array([b"conv"])


@pytest.mark.parametrize("change", [_spectra, _names_without_layers])
def test_hdf5_of_something_else_is_refused(change: Change, convnet: Any, tmp_path: Path) -> None:
    """An HDF5 file without layers, or with names of layers that it does not have, is not a weights file."""
    assert _unreadable(_weights(tmp_path / "x.h5", change), convnet)


def test_long_list_of_names_is_read_from_its_parts(tmp_path: Path) -> None:
    """Names that Keras splits into several attributes, because the list is too long for one, are all read."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names0"] = np.array([b"a", b"b"])
        file.attrs["layer_names1"] = np.array([b"c"])
        for name in "abc":
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/kernel:0".encode()])
            group[f"{name}/kernel:0"] = np.zeros(2)
    with open_weights(tmp_path / "x.h5") as (stored,):
        assert list(stored.by_name) == ["a", "b", "c"]


def test_names_of_layers_from_keras_2_13_are_known(convnet: Any, tmp_path: Path) -> None:
    """Files of Keras 2.13, which call the container of the layers `_layer_checkpoint_dependencies`, are read."""

    def rename(file: h5py.File) -> None:
        file.move("layers", "_layer_checkpoint_dependencies")

    load_file(convnet, _weights(tmp_path / "x.weights.h5", rename), NETWORKS["ConvNet"])


def _archive(path: Path, weights: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model.weights.h5", weights)
    return path


def _content(folder: Path) -> bytes:
    return _weights(folder / "inside.weights.h5").read_bytes()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_may_be_compressed(compression: int, convnet: Any, tmp_path: Path) -> None:
    """An archive that was compressed is read like one that is stored, as Keras writes it."""
    load_file(convnet, _archive(tmp_path / "x.keras", _content(tmp_path), compression), NETWORKS["ConvNet"])


def _without_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_weights, "There is no item named 'model.weights.h5'"),
        (lambda path: os.truncate(path, path.stat().st_size - 200), "File is not a zip file"),
        (_flip_a_byte, "Bad CRC-32 for file 'model.weights.h5'"),
        (
            lambda path: _archive(path, b"\0" * 5_000_000, zipfile.ZIP_DEFLATED),
            "model.weights.h5 would unpack to 5,000,000 bytes",
        ),
    ],
)
def test_damaged_archive_or_bomb_is_refused(
    change: Callable[[Path], object], reason: str, convnet: Any, tmp_path: Path
) -> None:
    """Archives that are truncated, have wrong checksums, or have a member 100 times their size are refused."""
    path = _archive(tmp_path / "x.keras", _content(tmp_path))
    change(path)
    assert _unreadable(path, convnet).startswith(reason)


def test_archive_with_code_in_a_layer_runs_none_of_it(tmp_path: Path) -> None:
    """The weights of a model with a Lambda layer, which Keras refuses, are read without its code."""
    keras = import_keras()
    ran = str(tmp_path / "ran")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda tensor, name=ran: (Path(name).write_text("ran"), tensor)[1])(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="conv")(x))
    Path(ran).unlink()
    model.save(tmp_path / "x.keras")
    with pytest.raises(ValueError, match="unsafe"):
        keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    target = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    load_file(target, tmp_path / "x.keras", NETWORKS["ConvNet"])
    np.testing.assert_array_equal(target.get_weights()[0], model.get_weights()[0])
    assert not Path(ran).exists()
