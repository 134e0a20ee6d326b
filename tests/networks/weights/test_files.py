"""A file of weights that is damaged or laid out to harm is refused in one line, unread."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cnncli.catalogue.networks import network
from cnncli.errors import WeightsError
from cnncli.networks.backend import import_keras
from cnncli.networks.weights import hdf5_names, safe_hdf5
from cnncli.networks.weights.files import LegacyLayers, open_weights
from cnncli.networks.weights.load import load_file
from tests.fault_injection.hostile_weights import write_one_long_name

Change = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def convnet() -> Any:
    """A network of one convolution, (3, 3, 3, 4)."""
    keras = import_keras()
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])


def _weights(path: Path, change: Change | None = None) -> Path:
    """A file of Keras 3 for that network, then changed."""
    with h5py.File(path, "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables["0"] = np.zeros((3, 3, 3, 4), np.float32)
        variables["1"] = np.zeros(4, np.float32)
        if change is not None:
            change(file)
    return path


def _replace(dataset: Callable[[h5py.Group], None]) -> Change:
    """Put something else in the kernel's place."""

    def change(file: h5py.File) -> None:
        del file["layers/conv2d/vars/0"]
        dataset(file["layers/conv2d/vars"])

    return change


def _loading(path: Path, model: Any) -> str:
    with pytest.raises(WeightsError) as error:
        load_file(model, path, network("ConvNet"))
    assert len(error.value.problems) == 1
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_whole_file_loads(convnet: Any, tmp_path: Path) -> None:
    """What the other tests change is in order."""
    load_file(convnet, _weights(tmp_path / "x.weights.h5"), network("ConvNet"))


def test_missing_file_is_one_line(convnet: Any, tmp_path: Path) -> None:
    """The system's own word for it."""
    assert _loading(tmp_path / "none.h5", convnet) == (
        "cannot be read (No such file or directory): copy or download it again"
    )


def test_folder_is_one_line(convnet: Any, tmp_path: Path) -> None:
    """A folder in a file's place."""
    assert _loading(tmp_path, convnet) == "cannot be read (Is a directory): copy or download it again"


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"<html>captive portal</html>", b"\x89PNG\r\n\x1a\n" * 9])
def test_file_of_another_kind_is_refused(content: bytes, convnet: Any, tmp_path: Path) -> None:
    """The content counts, not the name."""
    (tmp_path / "x.h5").write_bytes(content)
    assert _loading(tmp_path / "x.h5", convnet) == (
        "neither HDF5 nor a .keras archive; expected .weights.h5 (Keras 3), .h5 (legacy) or .keras"
    )


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_file_that_was_cut_off_is_refused(share: float, convnet: Any, tmp_path: Path) -> None:
    """At any place: HDF5 notes its own length."""
    path = _weights(tmp_path / "x.weights.h5")
    path.write_bytes(path.read_bytes()[: max(16, int(path.stat().st_size * share))])
    assert _loading(path, convnet).startswith("cannot be read (")


def test_damage_in_the_middle_is_found_when_it_is_read(convnet: Any, tmp_path: Path) -> None:
    """Packed data that no longer unpack; the array is named, nothing is assigned."""
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
    assert _loading(path, convnet).startswith("/layers/conv2d/vars/0 cannot be read (")
    np.testing.assert_array_equal(convnet.layers[0].get_weights()[0], before)


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bytes_never_end_in_a_traceback(seed: int, convnet: Any, tmp_path: Path) -> None:
    """Noise anywhere in the file: it loads, or cnncli's own error says why not."""
    path = _weights(tmp_path / "x.weights.h5")
    random, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    for place in random.integers(8, len(data), 20):
        data[place] = int(random.integers(256))
    path.write_bytes(data)
    with suppress(WeightsError):
        load_file(convnet, path, network("ConvNet"))


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


def test_link_out_of_the_file_is_not_even_looked_at(convnet: Any, tmp_path: Path) -> None:
    """A pipe that nobody writes to would hold whoever opens it for ever."""
    os.mkfifo(tmp_path / "pipe")
    for place in ("model_weights", "layers/conv2d", "layers/conv2d/vars", "layers/conv2d/vars/0", "layers/x"):

        def link(file: h5py.File, place: str = place) -> None:
            if place in file:
                del file[place]
            file[place] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")

        assert "is a link to somewhere else: refused" in _loading(_weights(tmp_path / "x.weights.h5", link), convnet)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_external_link, "/layers/conv2d/vars/0 is a link to somewhere else: refused"),
        (_external_group, "/layers/conv2d is a link to somewhere else: refused"),
        (_soft_link, "/layers/conv2d/vars/0 is a link to somewhere else: refused"),
        (_circle, "/layers/conv2d/layers leads round in a circle: refused"),
        (_replace(_external_data), "/layers/conv2d/vars/0 has its data in another file: refused"),
        (_replace(_virtual), "/layers/conv2d/vars/0 has its data in another file: refused"),
        (_replace(_words), "/layers/conv2d/vars/0 is not an array of numbers: refused"),
        (_replace(_references), "/layers/conv2d/vars/0 is not an array of numbers: refused"),
        (_replace(_records), "/layers/conv2d/vars/0 is not an array of numbers: refused"),
        (_replace(_nothing), "/layers/conv2d/vars/0 is not an array of numbers: refused"),
        (_replace(_a_group), "not a file of weights as Keras writes it ('0')"),
        (_replace(_huge_chunk), "/layers/conv2d/vars/0 is packed as Keras never does: refused"),
    ],
)
def test_what_keras_never_writes_is_refused(change: Change, problem: str, convnet: Any, tmp_path: Path) -> None:
    """Nothing outside of the file is opened, nothing but numbers is read."""
    assert _loading(_weights(tmp_path / "x.weights.h5", change), convnet) == problem


def test_pipe_is_refused_at_once(convnet: Any, tmp_path: Path) -> None:
    """Whoever opens it waits until somebody writes into it."""
    os.mkfifo(tmp_path / "x.h5")
    assert _loading(tmp_path / "x.h5", convnet) == "cannot be read (not a regular file): copy or download it again"


def _long_names(file: h5py.File) -> None:
    file.attrs.create("layer_names", ["x" * 3000] * 9, dtype=h5py.string_dtype())


def _long_name(file: h5py.File) -> None:
    file["layers/conv2d/vars"].attrs["name"] = "x" * 3000


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_long_names, "/ has a name of more than 1,000 characters: refused"),
        (_long_name, "/layers/conv2d/vars has a name of more than 1,000 characters: refused"),
    ],
)
def test_names_that_take_more_than_they_are_worth_are_refused(
    change: Change, problem: str, convnet: Any, tmp_path: Path
) -> None:
    """Keras's own names are those of layers and variables."""
    assert _loading(_weights(tmp_path / "x.weights.h5", change), convnet) == problem


def test_names_that_fill_the_memory_are_refused(convnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of texts of any length can name one long text a thousand times."""
    path = _weights(tmp_path / "x.weights.h5")
    write_one_long_name(path, length=400_000, count=1_000)
    monkeypatch.setattr(safe_hdf5, "MAX_TEXT_BYTES", 10_000_000)
    monkeypatch.setattr(hdf5_names, "MOST_BYTES", 100_000_000)

    assert _loading(path, convnet) == (
        "/ has 1,000 names that could fill the memory: refused; save the model again with "
        "model.save_weights('NAME.weights.h5')"
    )


def test_names_beside_a_long_text_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras 3 writes the description of the model beside the names of its layers: a megabyte for a thousand layers."""
    layers = {f"layer_{number}": [f"layer_{number}/{name}" for name in ("kernel", "bias")] for number in range(100)}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        weights = file.create_group("model_weights")
        weights.attrs.create("layer_names", list(layers), dtype=h5py.string_dtype())
        for layer, names in layers.items():
            weights.create_group(layer).attrs.create("weight_names", names, dtype=h5py.string_dtype())
            for name in names:
                weights[layer][name] = np.zeros(3)
        file.attrs["model_config"] = "x" * 50_000
    monkeypatch.setattr(safe_hdf5, "MAX_TEXT_BYTES", 100_000)

    with open_weights(tmp_path / "x.h5") as stored:
        assert isinstance(stored, LegacyLayers)
        assert {layer: [name for name, _ in arrays] for layer, arrays in stored.layers} == layers


def test_where_memory_cannot_be_bounded_no_such_list_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody tries whether it fills it: the process that would ends without a word."""
    path = _weights(tmp_path / "x.weights.h5", _long_names)
    monkeypatch.setattr(hdf5_names, "limited", lambda _: nullcontext(False))
    monkeypatch.setattr(sys, "argv", ["hdf5_names", str(path), "1000000"])

    with pytest.raises(SystemExit) as end:
        hdf5_names.main()
    assert (end.value.code, capsys.readouterr().out) == (1, "")


def test_file_of_more_models_than_any_network_has_is_refused(convnet: Any, tmp_path: Path) -> None:
    """Each would be looked through for each of the others."""

    def nest(file: h5py.File) -> None:
        for number in range(40):
            file[f"layers/sequential_{number}/layers/dense/vars/0"] = np.zeros(2)

    assert _loading(_weights(tmp_path / "x.weights.h5", nest), convnet) == "it has 41 layers in 41 models: refused"


def test_group_that_many_names_lead_to_is_refused(convnet: Any, tmp_path: Path) -> None:
    """Links upon links would make a small file a long walk."""
    assert "leads round in a circle" in _loading(_weights(tmp_path / "x.weights.h5", _many), convnet)


@pytest.mark.parametrize("shape", [(2**20, 2**20, 3, 4), (10**15,), (0, 3, 3, 4)])
def test_absurd_size_is_compared_before_anything_is_read(shape: tuple[int, ...], convnet: Any, tmp_path: Path) -> None:
    """A kilobyte of file declares terabytes: the shapes differ, that is all."""
    path = _weights(
        tmp_path / "x.weights.h5",
        _replace(lambda group: group.create_dataset("0", shape, "f4", chunks=True, compression="gzip")),
    )
    assert path.stat().st_size < 20_000
    assert "layer conv takes a kernel of shape (3, 3, 3, 4), the file has (" in _loading(path, convnet)


def test_hdf5_of_something_else_is_refused(convnet: Any, tmp_path: Path) -> None:
    """An HDF5 file without layers."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["spectra"] = np.zeros(3)
    assert _loading(tmp_path / "x.h5", convnet) == (
        "HDF5, but not weights that Keras wrote: it has neither layers nor layer_names"
    )


def test_legacy_list_of_names_that_are_not_there_is_refused(convnet: Any, tmp_path: Path) -> None:
    """The list names a layer, the file has none."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"conv"])
    assert _loading(tmp_path / "x.h5", convnet) == "not a file of weights as Keras writes it ('conv')"


def test_long_list_of_names_is_read_from_its_parts(tmp_path: Path) -> None:
    """Keras spreads a list over several attributes when it is too long for one."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names0"] = np.array([b"a", b"b"])
        file.attrs["layer_names1"] = np.array([b"c"])
        for name in "abc":
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/kernel:0".encode()])
            group[f"{name}/kernel:0"] = np.zeros(2)
    with open_weights(tmp_path / "x.h5") as stored:
        assert [name for name, _ in stored.layers] == ["a", "b", "c"]  # type: ignore[union-attr]


def test_names_of_layers_from_keras_2_13_are_known(convnet: Any, tmp_path: Path) -> None:
    """Keras 2.13 called the container of the layers `_layer_checkpoint_dependencies`."""

    def rename(file: h5py.File) -> None:
        file.move("layers", "_layer_checkpoint_dependencies")

    load_file(convnet, _weights(tmp_path / "x.weights.h5", rename), network("ConvNet"))


def _archive(path: Path, weights: bytes, config: str = "{}", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    return path


def _content(folder: Path) -> bytes:
    return _weights(folder / "inside.weights.h5").read_bytes()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_may_be_packed(compression: int, convnet: Any, tmp_path: Path) -> None:
    """Keras stores; an archive that was packed again is read as well."""
    load_file(convnet, _archive(tmp_path / "x.keras", _content(tmp_path), compression=compression), network("ConvNet"))


def test_archive_without_weights_is_refused(convnet: Any, tmp_path: Path) -> None:
    """Any other zip."""
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "There is no item named 'model.weights.h5'" in _loading(tmp_path / "x.keras", convnet)


def test_archive_that_was_cut_off_is_refused(convnet: Any, tmp_path: Path) -> None:
    """The list of a zip is at its end."""
    path = _archive(tmp_path / "x.keras", _content(tmp_path))
    path.write_bytes(path.read_bytes()[:-200])
    assert _loading(path, convnet) == "cannot be read (File is not a zip file): copy or download it again"


def test_damage_inside_an_archive_is_found(convnet: Any, tmp_path: Path) -> None:
    """A zip has a checksum for each of its files."""
    path = _archive(tmp_path / "x.keras", _content(tmp_path))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    assert _loading(path, convnet) == (
        "cannot be read (Bad CRC-32 for file 'model.weights.h5'): copy or download it again"
    )


def test_bomb_in_an_archive_is_not_unpacked(convnet: Any, tmp_path: Path) -> None:
    """A file that would unpack to more than a hundred times the archive."""
    path = _archive(tmp_path / "x.keras", b"\0" * 5_000_000, compression=zipfile.ZIP_DEFLATED)
    assert _loading(path, convnet) == (
        "not a file of weights as Keras writes it (model.weights.h5 would unpack to 5,000,000 bytes)"
    )


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("[1]", "config.json does not describe a model"),
        ("{", "not a file of weights as Keras writes it (Expecting property name"),
        ("[" * 100_000, "not a file of weights as Keras writes it (nested too deeply)"),
        (json.dumps({"class_name": "Functional", "config": {"layers": 3}}), None),
        (json.dumps({"config": [], "class_name": 7}), None),
        (json.dumps({"class_name": "X", "config": {"layers": [{"class_name": "Y", "config": 3}, 4]}}), None),
        (json.dumps({"module": "os", "class_name": "system", "config": "touch ran"}), None),
    ],
)
def test_description_in_an_archive_is_data_and_nothing_else(
    config: str, problem: str | None, convnet: Any, tmp_path: Path
) -> None:
    """It says how layers are called; whatever it names is not built. Where it is no use, the order of layers serves."""
    path = _archive(tmp_path / "x.keras", _content(tmp_path), config)
    if problem is None:
        load_file(convnet, path, network("ConvNet"))
    else:
        assert _loading(path, convnet).startswith(problem)


def test_archive_with_code_in_a_layer_runs_none_of_it(tmp_path: Path) -> None:
    """A Lambda's code stays data: Keras itself would refuse the model, cnncli reads the weights beside it."""
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
    load_file(target, tmp_path / "x.keras", network("ConvNet"))
    np.testing.assert_array_equal(target.get_weights()[0], model.get_weights()[0])
    assert not Path(ran).exists()
