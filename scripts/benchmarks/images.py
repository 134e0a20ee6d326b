"""The images that are measured with: where they are, parts of them, and many that differ in a few pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from cnncli.runtime.threads import map_ordered

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
"""Where photographs and weights are looked for."""


@dataclass(frozen=True)
class Images:
    """A folder with train, validation and test, each with class folders; and its name in the table."""

    folder: Path
    name: str


def find_images(given: Path | None = None) -> Images:
    """The folder that was named, else the shared photographs, else the drawings that come with the project."""
    if given is not None:
        return Images(given.resolve(), given.resolve().name)
    photographs = SHARED / "data" / "dogs-vs-cats"
    if photographs.is_dir():
        return Images(photographs, "dogs-vs-cats")
    return Images(ROOT / "data" / "sample", "the sample drawn by scripts/make_sample_data.py")


def part(images: Images, counts: Mapping[str, int], out: Path) -> Path:
    """Copy so many images of each split, as many of each class, into a folder that can be changed.

    A split that has fewer is copied whole. What the folder held before is gone.
    """
    shutil.rmtree(out, ignore_errors=True)
    for split, count in counts.items():
        classes = sorted(path for path in (images.folder / split).iterdir() if path.is_dir())
        for source in classes:
            target = out / split / source.name
            target.mkdir(parents=True)
            for path in islice(files_below(source), count // len(classes)):
                shutil.copyfile(path, target / path.name)
    return out


def files_below(folder: Path) -> Iterable[Path]:
    """The files of a folder and those below it, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_many(images: Images, count: int, out: Path, side: int = 200) -> Path:
    """Class folders with `count` small JPEGs: copies of training images that differ in a few pixels.

    No two have the same bytes: each has its number written into its first pixels.
    """
    sources = {path.name: _some(path, side) for path in sorted((images.folder / "train").iterdir()) if path.is_dir()}
    labels = sorted(sources)
    for label in labels:
        (out / label).mkdir(parents=True)

    def write(number: int) -> None:
        label = labels[number % len(labels)]
        originals = sources[label]
        pixels = originals[number % len(originals)].copy()
        # 16 bits as blocks of 8 × 8, which survive JPEG's own blocks.
        for bit in range(16):
            pixels[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
        Image.fromarray(pixels).save(out / label / f"{label}.{number:05}.jpg", quality=75)

    for _ in map_ordered(write, range(count)):
        pass
    return out


def _some(folder: Path, side: int, count: int = 64) -> list[np.ndarray]:
    """The first images of a class folder, uint8 (side, side, 3)."""
    paths = islice(files_below(folder), count)
    return [np.asarray(Image.open(path).convert("RGB").resize((side, side))) for path in paths]
