"""Images for the benchmarks: find them, copy some, and write many that differ in a few pixels."""

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
"""Folder of photographs and weights."""


@dataclass(frozen=True)
class Images:
    """A folder with train, validation and test folders of class folders, and its name in the table."""

    folder: Path
    name: str


def find_images(given: Path | None = None) -> Images:
    """Return the given folder, else the shared photographs, else the project's sample."""
    if given is not None:
        return Images(given.resolve(), given.resolve().name)
    photographs = SHARED / "data" / "dogs-vs-cats"
    if photographs.is_dir():
        return Images(photographs, "dogs-vs-cats")
    return Images(ROOT / "data" / "sample", "the sample drawn by scripts/make_sample_data.py")


def part(images: Images, counts: Mapping[str, int], out: Path) -> Path:
    """Copy some of the images to a new folder.

    Args:
        images: Source.
        counts: Number of images by split, balanced between classes. Smaller splits are copied completely.
        out: Folder, which is replaced.
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
    """Return all files in a folder and its subfolders, sorted by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_many(images: Images, count: int, out: Path, side: int = 200) -> Path:
    """Write class folders with `count` small JPEGs: copies of training images with their number in the first pixels."""
    sources = {path.name: _some(path, side) for path in sorted((images.folder / "train").iterdir()) if path.is_dir()}
    labels = sorted(sources)
    for label in labels:
        (out / label).mkdir(parents=True)

    def write(number: int) -> None:
        label = labels[number % len(labels)]
        originals = sources[label]
        pixels = originals[number % len(originals)].copy()
        # 16 bits as blocks of 8 × 8 pixels, the blocks of JPEG
        for bit in range(16):
            pixels[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
        Image.fromarray(pixels).save(out / label / f"{label}.{number:05}.jpg", quality=75)

    for _ in map_ordered(write, range(count)):
        pass
    return out


def _some(folder: Path, side: int, count: int = 64) -> list[np.ndarray]:
    """Read the first images of a class folder as uint8 of shape (side, side, 3)."""
    paths = islice(files_below(folder), count)
    return [np.asarray(Image.open(path).convert("RGB").resize((side, side))) for path in paths]
