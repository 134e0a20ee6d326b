"""Faults planted in a folder of images: all have to be told before training, and none of a clean folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from cnncli.config.schema import DataConfig
from cnncli.dataset.build import build_manifest, scan_folder
from cnncli.errors import DataError

CLASSES = ("cats", "dogs", "owls")
PER_CLASS = {"train": 24, "validation": 10, "test": 10}
WIDTH_PX, HEIGHT_PX = 96, 72


def once(work: Path, random: np.random.Generator) -> None:
    """One kind of fault, the one whose number is that of the try; first the folder without it."""
    folder = work / "images"
    write_clean(folder, random)
    heard = told(folder)
    if heard:
        raise AssertionError(f"told of a clean folder: {heard}")
    name, fault = list(FAULTS.items())[int(work.name) % len(FAULTS)]
    expected = fault(Tree(folder, random))
    heard = told(folder)
    for lines in heard or [[]]:
        if not any(all(word in line for word in expected) for line in lines):
            raise AssertionError(f"{name}: nothing was said with {expected}, but {lines}")


def told(folder: Path) -> list[list[str]]:
    """What `train` and what `data check` say of a folder; empty where neither says anything."""
    index = folder.parent / "index.sqlite"
    try:
        manifest = build_manifest(DataConfig(path=folder), 0, index)
        by_train = [*manifest.warnings, *manifest.notes]
    except DataError as error:
        by_train = list(error.problems)
    facts = scan_folder(folder, index_path=index)
    by_check = [*facts.problems, *facts.warnings, *facts.notes]
    return [by_train, by_check] if by_train or by_check else []


def write_clean(folder: Path, random: np.random.Generator) -> None:
    """Class folders in split folders, of images that have nothing in common."""
    for split, count in PER_CLASS.items():
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                draw(random).save(folder / split / label / f"{number}.jpg", quality=90)


def draw(random: np.random.Generator) -> Image.Image:
    """Clouds in random colors."""
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Tree:
    """The folder in which a fault is planted."""

    folder: Path
    random: np.random.Generator

    def any(self, split: str, label: str | None = None) -> Path:
        """An image of a split."""
        label = label or str(self.random.choice(CLASSES))
        return Path(str(self.random.choice(sorted(map(str, (self.folder / split / label).iterdir())))))

    def beside(self, split: str, label: str, name: str) -> Path:
        """A new name in a class folder."""
        return self.folder / split / label / name

    def two_splits(self) -> tuple[str, str]:
        """Any two different splits."""
        one, other = self.random.permutation(list(PER_CLASS))[:2]
        return str(one), str(other)


Fault = Callable[[Tree], tuple[str, ...]]
"""Plants itself; gives words that all have to be in one line."""


def _copied(name: str, label: str | None = None) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        one, other = tree.two_splits()
        source = tree.any(one, "cats")
        target = tree.beside(other, label or "cats", name)
        shutil.copyfile(source, target)
        return str(source), str(target), "the same image in"

    return plant


def _changed(change: Callable[[Image.Image], Image.Image], name: str = "like.jpg", quality: int = 80) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        one, other = tree.two_splits()
        source = tree.any(one)
        target = tree.beside(other, source.parent.name, name)
        with Image.open(source) as image:
            change(image.convert("RGB")).save(target, quality=quality)
        return str(source), str(target), "look alike in different splits: 1,"

    return plant


def _turned(tree: Tree) -> tuple[str, ...]:
    one, other = tree.two_splits()
    source = tree.any(one)
    target = tree.beside(other, source.parent.name, "turned.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen as it lies, it has to be turned by a quarter
    with Image.open(source) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(target, exif=exif, quality=90)
    return str(source), str(target), "look alike"


def _two_labels(tree: Tree) -> tuple[str, ...]:
    source = tree.any("train", "cats")
    target = tree.beside("train", "dogs", "again.jpg")
    shutil.copyfile(source, target)
    return str(source), str(target), "two labels"


def _missing(split: str) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        label = str(tree.random.choice(CLASSES))
        shutil.rmtree(tree.folder / split / label)
        return str(tree.folder / split), "lacks the class", label

    return plant


def _renamed(name: str, split: str) -> Fault:
    def plant(tree: Tree) -> tuple[str, ...]:
        (tree.folder / split / "cats").rename(tree.folder / split / name)
        return str(tree.folder / split), f'"{name}"', '"cats"'

    return plant


def _shifted(tree: Tree) -> tuple[str, ...]:
    for number, label in enumerate(CLASSES):
        (tree.folder / "test" / label).rename(tree.folder / "test" / f"class {number}")
    return str(tree.folder / "test"), "has no class of train", "cats", "class 0"


def _added(tree: Tree) -> tuple[str, ...]:
    target = tree.folder / "test" / "mice"
    target.mkdir()
    draw(tree.random).save(target / "0.jpg")
    return str(tree.folder / "test"), "holds the class mice"


def _twins(tree: Tree) -> tuple[str, ...]:
    for split in PER_CLASS:
        (tree.folder / split / "Cats").mkdir()
        for number in range(12):
            draw(tree.random).save(tree.folder / split / "Cats" / f"{number}.jpg")
    return '"Cats"', '"cats"', "one class"


def _emptied(tree: Tree) -> tuple[str, ...]:
    for path in (tree.folder / "train" / "owls").iterdir():
        path.unlink()
    return str(tree.folder / "train" / "owls"), "no readable image"


def _single(tree: Tree) -> tuple[str, ...]:
    for path in sorted((tree.folder / "train" / "owls").iterdir())[1:]:
        path.unlink()
    return "fewer than 10 images to train on", "owls 1"


def _swapped(tree: Tree) -> tuple[str, ...]:
    (tree.folder / "train").rename(tree.folder / "aside")
    (tree.folder / "test").rename(tree.folder / "train")
    (tree.folder / "aside").rename(tree.folder / "test")
    return "test has 72 images and train only 30", "swapped"


def _other_shares(tree: Tree) -> tuple[str, ...]:
    for label in CLASSES[1:]:
        for path in sorted((tree.folder / "test" / label).iterdir())[1:]:
            path.unlink()
    return "test", "another share", "dogs"


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
    "turned, as EXIF says": _turned,
    "class missing in validation": _missing("validation"),
    "class missing in test": _missing("test"),
    "class of test alone": _added,
    "class with another case": _renamed("Cats", "validation"),
    "class with a space": _renamed("cats ", "test"),
    "classes shifted": _shifted,
    "classes that sound alike": _twins,
    "empty class": _emptied,
    "class of one image": _single,
    "splits swapped": _swapped,
    "shares shifted": _other_shares,
}
