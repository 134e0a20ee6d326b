"""Hostile weights files, checkpoints and pickles."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from tests.fault_injection.kinds import (
    NO_CHECKPOINT,
    Kind,
    Refusal,
    load_weights,
    newest_checkpoint,
    rewrite_checksums,
)
from tests.fault_injection.sandbox import FORBIDDEN

KERNEL = "layers/conv2d/vars/0"
Change = Callable[[h5py.File, Path], object]


def _hdf5(change: Change, mentions: str | None, code: str = "weights-unreadable") -> Kind:
    """Return a kind of weights, which `change` modifies; it gets the open file and the forbidden folder."""

    def make(here: Path) -> None:
        with h5py.File(_weights(here), "a") as file:
            change(file, here.parent / FORBIDDEN)

    return Kind(make, load_weights, None if mentions is None else _refused(mentions, code))


def _refused(mentions: str, code: str = "weights-unreadable") -> Refusal:
    return Refusal(code, rf"weights\.weights\.h5.*(?:{mentions})")


def write_legacy(path: Path) -> None:
    """Write the weights of the run's backbone in the format of Keras 2."""
    layers: dict[str, Sequence[tuple[int, ...]]] = {"block1_conv": [(3, 3, 3, 4)], "block1_conv_bn": [(4,)] * 4}
    layers |= {"block2_conv": [(3, 3, 4, 8)], "block2_conv_bn": [(8,)] * 4}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for name, shapes in layers.items():
            names = [f"{name}/{number}:0" for number in range(len(shapes))]
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([one.encode() for one in names])
            for one, shape in zip(names, shapes, strict=True):
                group[one] = np.ones(shape, np.float32)


def _legacy(here: Path) -> None:
    _weights(here).unlink()
    write_legacy(here / "weights.h5")


def _weights(here: Path) -> Path:
    return here / "weights.weights.h5"


def _in_place(make: Callable[[h5py.Group, Path], object]) -> Change:
    """Replace a kernel with a different dataset."""

    def change(file: h5py.File, outside: Path) -> None:
        del file[KERNEL]
        make(file["layers/conv2d/vars"], outside)

    return change


def _virtual(group: h5py.Group, outside: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[:] = h5py.VirtualSource(str(outside / "secret.h5"), "0", (3, 3, 3, 4))
    group.create_virtual_dataset("0", layout)


def _external(group: h5py.Group, outside: Path) -> None:
    group.create_dataset("0", (3, 3, 3, 4), "f4", external=[(str(outside / "secret.txt"), 0, 432)])


def _bomb(group: h5py.Group, _: Path) -> None:
    group.create_dataset("0", (2**20, 2**12, 3, 4), "f4", chunks=(2**10, 2**6, 3, 4), compression="gzip")


def _huge_chunk(group: h5py.Group, _: Path) -> None:
    shape = (3, 3, 3, 2 * 10**7)
    group.create_dataset("0", (3, 3, 3, 4), "f4", chunks=shape, maxshape=(None,) * 4, compression="gzip")


def _pickles(group: h5py.Group, _: Path) -> None:
    group.create_dataset("0", (1,), h5py.vlen_dtype(np.uint8))[0] = np.frombuffer(_evil(), np.uint8)


def _circle(file: h5py.File, _: Path) -> None:
    file["layers/conv2d/layers"] = file["layers"]


def _soft_circle(file: h5py.File, _: Path) -> None:
    del file["layers/conv2d"]
    file["layers/conv2d"] = h5py.SoftLink("/layers/conv2d")


def write_one_long_name(path: Path, length: int, count: int) -> None:
    """Write an attribute with `count` names that all refer to the same place in the heap."""
    with h5py.File(path, "a") as file:
        file.attrs.create("layer_names", ["x" * length] + ["y"] * (count - 1), dtype=h5py.string_dtype())
    content = bytearray(path.read_bytes())
    reference_bytes = 16  # length, address of the heap, index in the heap
    first = content.find(length.to_bytes(4, "little"))
    while int.from_bytes(content[first + reference_bytes :][:4], "little") != 1:
        first = content.find(length.to_bytes(4, "little"), first + 1)
    content[first : first + count * reference_bytes] = content[first : first + reference_bytes] * count
    path.write_bytes(content)


def _one_long_name_a_thousand_times(here: Path) -> None:
    write_one_long_name(_weights(here), 4_000_000, 1_000)


def _names_with_parent_folders(file: h5py.File, _: Path) -> None:
    file.attrs.create("layer_names", [b"../../etc/passwd"])


def _user_block(here: Path) -> None:
    path = _weights(here)
    path.write_bytes(b"#!/bin/sh\n".ljust(512, b"\0") + path.read_bytes())


def _pipe(here: Path) -> None:
    _weights(here).unlink()
    os.mkfifo(_weights(here))


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def _evil() -> bytes:
    return pickle.dumps(_Evil())


def _torch_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", _evil())
    return file.getvalue()


def _torch_file(here: Path) -> None:
    _weights(here).unlink()
    (here / "weights.pth").write_bytes(_torch_zip())


def arrays_of(here: Path) -> Path:
    """Return the path of the arrays in the newest checkpoint of the run."""
    return max((here / "run" / "state").iterdir()) / "arrays.npz"


def _arrays(make: Callable[[Path], object]) -> Kind:
    """Return a kind of checkpoint with changed arrays and matching checksums."""

    def change(here: Path) -> None:
        make(arrays_of(here))
        rewrite_checksums(arrays_of(here).parent)

    return Kind(change, newest_checkpoint, Refusal(NO_CHECKPOINT.code))


def _npy(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _npz(data: bytes, method: int = zipfile.ZIP_STORED) -> Kind:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("moved/a/0.npy", data)

    return _arrays(make)


_HUGE = "{{'descr': '{}', 'fortran_order': False, 'shape': ({},), }}"

KINDS: Mapping[str, Kind] = {
    "hdf5 with a link to another file": _hdf5(
        _in_place(lambda group, outside: group.__setitem__("0", h5py.ExternalLink(str(outside / "secret.h5"), "/0"))),
        r"/layers/conv2d/vars/0 .*link",
    ),
    "hdf5 with a soft link": _hdf5(
        _in_place(lambda group, _: group.__setitem__("0", h5py.SoftLink("/layers/conv2d/vars/1"))),
        r"/layers/conv2d/vars/0 .*link",
    ),
    "hdf5 with a link to itself": _hdf5(_soft_circle, "/layers/conv2d .*link"),
    "hdf5 with groups in a circle": _hdf5(_circle, "/layers/conv2d/layers "),
    "hdf5 with data in another file": _hdf5(_in_place(_external), "/layers/conv2d/vars/0 .*numbers"),
    "hdf5 with a virtual dataset": _hdf5(_in_place(_virtual), "/layers/conv2d/vars/0 .*numbers"),
    "hdf5 that declares a terabyte": _hdf5(_in_place(_bomb), r"\(1048576, 4096, 3, 4\)", "weights-mismatch"),
    "hdf5 with a chunk of gigabytes": _hdf5(_in_place(_huge_chunk), "/layers/conv2d/vars/0 "),
    "hdf5 with objects and pickles": _hdf5(_in_place(_pickles), "/layers/conv2d/vars/0 "),
    "hdf5 with one long name a thousand times": Kind(
        _one_long_name_a_thousand_times, load_weights, _refused("1,000 names")
    ),
    "hdf5 with names that lead out": _hdf5(_names_with_parent_folders, ""),
    "hdf5 behind a user block": Kind(_user_block, load_weights, _refused("HDF5")),
    "hdf5 that is a pipe": Kind(_pipe, load_weights, _refused("regular file")),
    "hdf5 of Keras 2, unchanged": Kind(_legacy, load_weights, None),
    "hdf5 unchanged": _hdf5(lambda file, _: file, None),
    "pth for weights": Kind(_torch_file, load_weights, Refusal("weights-unreadable", r"weights\.pth")),
    "npz of pickled objects": _npz(_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + _evil()),
    "npz that declares a petabyte": _npz(_npy(_HUGE.format("<f4", 10**15))),
    "npz of nothing, a billion times": _npz(_npy(_HUGE.format("|V0", 10**18))),
    "npz with a header that is code": _npz(_npy("__import__('os').system('touch ran')")),
    "npz with a bomb": _npz(_npy(_HUGE.format("<f4", 5 * 10**6)) + bytes(2 * 10**7), zipfile.ZIP_DEFLATED),
    "npz that is a pickle": _arrays(lambda path: path.write_bytes(_evil())),
}
