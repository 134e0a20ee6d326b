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
        n_classes_in_names: Number of classes in the names of the files.
    """

    name: str
    title: str
    summary: str
    forms: str
    files: tuple[PublishedFile, ...]
    module: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    n_classes_in_names: int = 0

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes) or self.n_classes_in_names

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
_PETS_URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
_FLOWERS_URL = "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz"
_MICROSOFT_URL = (
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip"
)
_CIFAR_100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


def _packed(url: str, *md5: str) -> tuple[PublishedFile, ...]:
    return tuple(PublishedFile(f"{name}.gz", f"{url}{name}.gz", one) for name, one in zip(_IDX, md5, strict=True))


def _unpacked(*md5: str) -> dict[str, str]:
    return dict(zip(_IDX, md5, strict=True))


def _cifar(name: str, md5: str) -> PublishedFile:
    return PublishedFile(name, f"{_CIFAR_URL}{name}", md5)


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
    DatasetInfo(
        "cifar10",
        "CIFAR-10",
        "60,000 color images of 10 classes, 32 × 32 px: 50,000 to train and 10,000 to test",
        _CIFAR_FORMS,
        (_cifar("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        "cifar",
        {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    DatasetInfo(
        "cifar100",
        "CIFAR-100",
        "60,000 color images of 100 classes, 32 × 32 px: 50,000 to train and 10,000 to test",
        _CIFAR_FORMS,
        (_cifar("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
        "cifar",
        {"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
        tuple(_CIFAR_100.split()),
    ),
    DatasetInfo(
        "pets",
        "Oxford-IIIT Pets",
        "7,349 photographs of 37 breeds of cats and dogs: 3,680 to train and 3,669 to test",
        "a folder with images.tar.gz and annotations.tar.gz, or with their contents",
        (
            PublishedFile("images.tar.gz", f"{_PETS_URL}images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            PublishedFile("annotations.tar.gz", f"{_PETS_URL}annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f"),
        ),
        "pets",
        n_classes_in_names=37,
    ),
    DatasetInfo(
        "flowers",
        "TensorFlow's flower photos",
        "3,670 photographs of five flowers, without splits",
        "flower_photos.tgz, or the folder in it",
        (PublishedFile("flower_photos.tgz", _FLOWERS_URL, "6f87fb78e9cc9ab41eff2015b380011d"),),
        "class_folders",
        {},
        ("daisy", "dandelion", "roses", "sunflowers", "tulips"),
    ),
    DatasetInfo(
        "dogs-vs-cats",
        "Dogs vs. Cats",
        "25,000 photographs",
        "cat.0.jpg … as from Kaggle, PetImages/Cat/0.jpg … as from Microsoft, or train/cats …",
        (
            PublishedFile(
                "kagglecatsanddogs_5340.zip",
                _MICROSOFT_URL,
                "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
            ),
        ),
        "dogs_vs_cats",
        n_classes_in_names=2,
    ),
)

DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _KNOWN}
"""The datasets by name."""
