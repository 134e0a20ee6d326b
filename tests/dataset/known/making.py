"""Small downloads in the original formats, written without the code under test."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnncli.recipes.data_prepare import prepare_dataset
from cnncli.terminal.console import Console
from tests.images.making import write_tree

Arrays = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def arrays(n_train: int = 40, n_test: int = 20, classes: int = 10, shape: tuple[int, ...] = (28, 28)) -> Arrays:
    """Return random pixels and labels of train and test; every class occurs equally often."""
    random = np.random.default_rng(7)
    sizes = {"train": n_train, "test": n_test}
    return {
        split: (random.integers(0, 256, (n, *shape), np.uint8), np.arange(n, dtype=np.uint8) % classes)
        for split, n in sizes.items()
    }


def idx(values: NDArray[np.uint8]) -> bytes:
    """Return an array as an IDX file."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def idx_files(data: Arrays, packed: bool = True) -> dict[str, bytes]:
    """Return the four files of MNIST by name."""
    files = {}
    for split, (pixels, labels) in data.items():
        part = {"train": "train", "test": "t10k"}[split]
        files[f"{part}-images-idx3-ubyte"] = idx(pixels)
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
    return {f"{name}.gz": gzip.compress(file) for name, file in files.items()} if packed else files


def npz(data: Arrays) -> bytes:
    """Return Keras's form of MNIST."""
    file = io.BytesIO()
    (x_train, y_train), (x_test, y_test) = data["train"], data["test"]
    np.savez_compressed(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return file.getvalue()


def prepared(name: str, source: Path | Mapping[str, bytes] | None, out: Path, **options: Any) -> Path:
    """Prepare a dataset from files without printing anything, and return the new folder."""
    path = write_tree(out.with_name("source"), source) if isinstance(source, Mapping) else source
    prepare_dataset(name, path, out, Console(quiet=True, live=False, stream=io.StringIO()), **options)
    return out


def pixels_by_name(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the pixels of all images below a folder by relative path without suffix."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).with_suffix("").as_posix(): np.asarray(Image.open(path)) for path in paths}


def tarred(files: Mapping[str, bytes]) -> bytes:
    """Return a packed tar of the given files as bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return color images as rows of red, green and blue planes, shape (n, 3072)."""
    return np.stack([np.concatenate([one[..., k].ravel() for k in range(3)]) for one in pixels])


def cifar_batches(data: Arrays, classes: int) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the values and labels of each batch by the name of its file without suffix."""
    rows = {split: (planes(pixels), labels) for split, (pixels, labels) in data.items()}
    if classes == 100:
        return dict(rows)
    values, labels = rows["train"]
    n = len(labels) // 5
    parts = {f"data_batch_{k + 1}": (values[k * n : (k + 1) * n], labels[k * n : (k + 1) * n]) for k in range(5)}
    return {**parts, "test_batch": rows["test"]}


def cifar_binary(data: Arrays, classes: int) -> dict[str, bytes]:
    """Return the files of the binary version; coarse labels are all 7."""
    files = {}
    for name, (values, labels) in cifar_batches(data, classes).items():
        columns = (
            [labels[:, None], values] if classes == 10 else [np.full_like(labels, 7)[:, None], labels[:, None], values]
        )
        files[f"cifar-binary/{name}.bin"] = np.hstack(columns).astype(np.uint8).tobytes()
    return files


def cifar_python(data: Arrays, classes: int, protocol: int = 2) -> dict[str, bytes]:
    """Return the files of the Python version."""
    key = b"labels" if classes == 10 else b"fine_labels"
    return {
        f"cifar-python/{name}": pickle.dumps({b"data": values, key: labels.tolist(), b"batch_label": b"x"}, protocol)
        for name, (values, labels) in cifar_batches(data, classes).items()
    }
