"""Tiny images and folders of them, drawn for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colors with an asymmetric brightness, so that no turn or swap of channels goes unnoticed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    bands = [Image.fromarray(coarse[..., k]).resize((width, height), Image.Resampling.BICUBIC) for k in range(channels)]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


def drawn_image(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    """An RGB image."""
    return Image.fromarray(pixels(height, width, 3, seed))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int = 0, height: int = 24, width: int = 32) -> bytes:
    """The bytes of a JPEG that no other seed gives."""
    return encoded(drawn_image(height, width, seed), "JPEG", quality=90)


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files by their paths below a folder, and return the folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_classes(root: Path, counts: Mapping[str, int], first_seed: int = 0) -> Path:
    """Write class folders with the given numbers of different JPEGs, and return the root."""
    seed = first_seed
    for label, n in counts.items():
        for k in range(n):
            write_tree(root, {f"{label}/{label.replace('/', '-')}.{k}.jpg": jpeg(seed, 12, 16)})
            seed += 1
    return root
