"""Datasets that `cnncli data prepare` arranges: their files on the web, with hashes, and their classes.

The hashes are those that the publishers and Keras state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnncli.storage.download import PublishedFile


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a published dataset.

    Attributes:
        name: Name on the command line.
        title: Name in messages.
        summary: Number and kind of its images.
        forms: Files that are accepted as its source.
        files: Files to download.
        module: Module of `cnncli.dataset.known` that reads it.
        hashes: MD5 or SHA-256 by name of other known files: unpacked ones, and other forms.
        classes: Names of the class folders in the order of the labels; empty if the names of the files contain them.
    """

    name: str
    title: str
    summary: str
    forms: str
    files: tuple[PublishedFile, ...]
    module: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    @property
    def known_hashes(self) -> dict[str, str]:
        """Hashes of all known files by name."""
        return {**{file.name: file.digest for file in self.files if file.digest}, **self.hashes}


_IDX_FORMS = "train-images-idx3-ubyte.gz, the labels and the t10k files next to it, packed or unpacked, or Keras's .npz"
_CIFAR_FORMS = "the -binary.tar.gz or -python.tar.gz, or a folder with its contents"
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # a mirror; yann.lecun.com no longer has the files
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"


def _packed(url: str, *md5: str) -> tuple[PublishedFile, ...]:
    return tuple(PublishedFile(f"{name}.gz", f"{url}{name}.gz", one) for name, one in zip(_IDX, md5, strict=True))


def _unpacked(*md5: str) -> dict[str, str]:
    return dict(zip(_IDX, md5, strict=True))


_KNOWN = (
    DatasetInfo(
        "mnist",
        "MNIST",
        "70,000 handwritten digits, 28 × 28 px, gray: 60,000 to train and 10,000 to test",
        _IDX_FORMS,
        _packed(
            _MNIST_URL,
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        "idx",
        {
            **_unpacked(
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
            "mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        },
        tuple("0123456789"),
    ),
    DatasetInfo(
        "fashion-mnist",
        "Fashion-MNIST",
        "70,000 articles of clothing, 28 × 28 px, gray: 60,000 to train and 10,000 to test",
        _IDX_FORMS,
        _packed(
            _FASHION_URL,
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        "idx",
        _unpacked(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
        ("t-shirt-top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"),
    ),
)

DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _KNOWN}
"""The datasets by name."""
