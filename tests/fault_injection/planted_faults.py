"""Plant faults in a folder of images: each is reported before training, and nothing is reported for a clean folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import build_manifest, report_on_data
from cnncli.errors import DataError, Message

CLASSES = ("cats", "dogs", "owls")
PER_CLASS = {"train": 24, "validation": 10, "test": 10}
WIDTH_PX, HEIGHT_PX = 96, 72


def once(work: Path, random: np.random.Generator) -> None:
    """Check a clean folder, then plant the fault whose number is the name of the work directory."""
    folder = work / "images"
    write_clean(folder, random)
    found = reports(folder)
    if found:
        raise AssertionError(f"reported about a clean folder: {found}")
    name, fault = list(FAULTS.items())[int(work.name) % len(FAULTS)]
    expected = fault(Tree(folder, random))
    code, *words = expected
    for messages in reports(folder) or [[]]:
        if not any(one.code == code and all(word in one for word in words) for one in messages):
            raise AssertionError(f"{name}: no report with {expected}, but {messages}")


def reports(folder: Path) -> list[list[Message]]:
    """Return what `train` and `data check` report about a folder, or an empty list if neither reports anything."""
    try:
        by_train = [issue.message for issue in build_manifest(DataConfig(path=folder), 0).issues]
    except DataError as error:
        by_train = list(error.problems)
    by_check = [issue.message for issue in report_on_data(DataConfig(path=folder))[1]]
    return [by_train, by_check] if by_train or by_check else []


def write_clean(folder: Path, random: np.random.Generator) -> None:
    """Write split folders of class folders with dissimilar images."""
    for split, count in PER_CLASS.items():
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                draw(random).save(folder / split / label / f"{number}.jpg", quality=90)


def draw(random: np.random.Generator) -> Image.Image:
    """Draw an image of smooth random colors."""
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Tree:
    """A folder in which a fault is planted."""

    folder: Path
    random: np.random.Generator

    def any(self, split: str, label: str | None = None) -> Path:
        """Return a random image of a split."""
        label = label or str(self.random.choice(CLASSES))
        return Path(str(self.random.choice(sorted(map(str, (self.folder / split / label).iterdir())))))

    def beside(self, split: str, label: str, name: str) -> Path:
        """Return the path of a new file in a class folder."""
        return self.folder / split / label / name

    def two_splits(self) -> tuple[str, str]:
        """Return two random splits."""
        one, other = self.random.permutation(list(PER_CLASS))[:2]
        return str(one), str(other)


Fault = Callable[[Tree], tuple[str, ...]]
"""Plants a fault, and returns the code of the expected message and texts that it must contain."""


def _copied(name: str, label: str | None = None) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        one, other = tree.two_splits()
        source = tree.any(one, "cats")
        target = tree.beside(other, label or "cats", name)
        shutil.copyfile(source, target)
        return "data-leak", str(source), str(target), label or "cats"

    return plant


def _changed(change: Callable[[Image.Image], Image.Image], name: str = "like.jpg", quality: int = 80) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        one, other = tree.two_splits()
        source = tree.any(one)
        target = tree.beside(other, source.parent.name, name)
        with Image.open(source) as image:
            change(image.convert("RGB")).save(target, quality=quality)
        return "data-near-duplicates", str(source), str(target)

    return plant


def _rotated(tree: Tree) -> tuple[str, ...]:
    one, other = tree.two_splits()
    source = tree.any(one)
    target = tree.beside(other, source.parent.name, "rotated.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: rotate by 90 degrees to display
    with Image.open(source) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(target, exif=exif, quality=90)
    return "data-near-duplicates", str(source), str(target)


def _two_labels(tree: Tree) -> tuple[str, ...]:
    source = tree.any("train", "cats")
    target = tree.beside("train", "dogs", "again.jpg")
    shutil.copyfile(source, target)
    return "data-two-labels", str(source), str(target)


def _missing(split: str) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        label = str(tree.random.choice(CLASSES))
        shutil.rmtree(tree.folder / split / label)
        return "data-classes-differ", str(tree.folder / split), label

    return plant


def _renamed(name: str, split: str) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        (tree.folder / split / "cats").rename(tree.folder / split / name)
        return "data-classes-differ", str(tree.folder / split), f'"{name}"', '"cats"'

    return plant


def _shifted(tree: Tree) -> tuple[str, ...]:
    for number, label in enumerate(CLASSES):
        (tree.folder / "test" / label).rename(tree.folder / "test" / f"class {number}")
    return "data-classes-differ", str(tree.folder / "test"), "cats", "class 0"


def _added(tree: Tree) -> tuple[str, ...]:
    target = tree.folder / "test" / "mice"
    target.mkdir()
    draw(tree.random).save(target / "0.jpg")
    return "data-classes-differ", str(tree.folder / "test"), "mice"


def _twins(tree: Tree) -> tuple[str, ...]:
    for split in PER_CLASS:
        (tree.folder / split / "Cats").mkdir()
        for number in range(12):
            draw(tree.random).save(tree.folder / split / "Cats" / f"{number}.jpg")
    return "data-class-names-similar", '"Cats"', '"cats"'


def _emptied(tree: Tree) -> tuple[str, ...]:
    for path in (tree.folder / "train" / "owls").iterdir():
        path.unlink()
    return "data-empty-class", str(tree.folder / "train" / "owls")


def _single(tree: Tree) -> tuple[str, ...]:
    for path in sorted((tree.folder / "train" / "owls").iterdir())[1:]:
        path.unlink()
    return "data-few-images", "owls 1"


def _swapped(tree: Tree) -> tuple[str, ...]:
    (tree.folder / "train").rename(tree.folder / "aside")
    (tree.folder / "test").rename(tree.folder / "train")
    (tree.folder / "aside").rename(tree.folder / "test")
    return "data-splits-swapped", "72", "30"


def _shifted_distribution(tree: Tree) -> tuple[str, ...]:
    for path in sorted((tree.folder / "train" / "owls").iterdir())[2:]:
        path.unlink()
    return "data-class-distribution", "test", "owls"


FAULTS: dict[str, Fault] = {
    "equal file": _copied("copy.jpg"),
    "equal file, other suffix": _copied("COPY.png"),
    "equal file under another label": _copied("copy.jpg", "dogs"),
    "equal files under two labels": _two_labels,
    "recompressed": _changed(lambda one: one, quality=40),
    "half the size": _changed(lambda one: one.resize((one.width // 2, one.height // 2))),
    "twice the size, as PNG": _changed(lambda one: one.resize((one.width * 2, one.height * 2)), "like.png"),
    "brighter": _changed(lambda one: ImageEnhance.Brightness(one).enhance(1.2)),
    "without colors": _changed(lambda one: one.convert("L")),
    "cropped": _changed(lambda one: one.crop((1, 1, one.width - 1, one.height - 1))),
    "rotated, as EXIF says": _rotated,
    "class missing in validation": _missing("validation"),
    "class missing in test": _missing("test"),
    "class only in test": _added,
    "class in another case": _renamed("Cats", "validation"),
    "class with a space": _renamed("cats ", "test"),
    "classes shifted": _shifted,
    "classes that differ in case": _twins,
    "empty class": _emptied,
    "class of one image": _single,
    "splits swapped": _swapped,
    "class distribution shifted": _shifted_distribution,
}
