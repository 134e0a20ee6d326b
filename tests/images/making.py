"""Draw tiny images, and folders of them, for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth colors with asymmetric brightness, so that tests detect any rotation or swap of channels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    bands = [Image.fromarray(coarse[..., k]).resize((width, height), Image.Resampling.BICUBIC) for k in range(channels)]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


def drawn_image(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    """Return an RGB image."""
    return Image.fromarray(pixels(height, width, 3, seed))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image encoded as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int = 0, height: int = 24, width: int = 32) -> bytes:
    """Return a JPEG that differs for every seed."""
    return encoded(drawn_image(height, width, seed), "JPEG", quality=90)


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files to their paths below a folder, and return the folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_classes(root: Path, counts: Mapping[str, int], first_seed: int = 0) -> Path:
    """Write class folders with the given numbers of distinct JPEGs, and return the root."""
    seed = first_seed
    for label, n in counts.items():
        for k in range(n):
            write_tree(root, {f"{label}/{label.replace('/', '-')}.{k}.jpg": jpeg(seed, 12, 16)})
            seed += 1
    return root
