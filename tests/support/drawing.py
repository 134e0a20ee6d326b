"""Tiny datasets and configs for the tests: seeded drawings that a small network can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnncli.config.schema import Config
from cnncli.config.solver import choose_solver

CLASSES = ("stripes", "dots")


def draw_image(label: str, seed: int, size: int = 32) -> np.ndarray:
    """Draw stripes or dots in random colors with noise, uint8 of shape (size, size, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size]
    period, phase = rng.integers(5, 8), rng.integers(0, 5)
    inside = (x + phase) % period < period // 2
    if label != "stripes":
        inside &= (y + phase) % period < period // 2
    dark, light = rng.integers(0, 100, 3), rng.integers(150, 256, 3)
    noisy = np.where(inside[..., None], light, dark) + rng.normal(0, 12, (size, size, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def draw_dataset(
    root: Path, train: int = 12, validation: int = 6, test: int = 6, size: int = 32, classes: tuple[str, ...] = CLASSES
) -> Path:
    """Write split folders of class folders with PNGs.

    Args:
        root: Folder of the dataset.
        train: Number of images of each class for training.
        validation: Number of images of each class for validation.
        test: Number of images of each class for the test.
        size: Width and height in pixels.
        classes: Class names.

    Returns:
        The folder of the dataset.
    """
    seed = 0
    for split, count in {"train": train, "validation": validation, "test": test}.items():
        for label in classes:
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                Image.fromarray(draw_image(label, seed, size)).save(folder / f"{label}-{number:02}.png")
    return root


def tiny_config(path: Path, **changes: Any) -> Config:
    """Return the config of a small ConvNet on 32 px images in float32; `changes` replace whole groups of settings."""
    settings: dict[str, Any] = {
        "data": {"path": path, "image_size": 32},
        "backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}},
        "training": {"epochs": 3},
        "engine": "openvino",
        "precision": "float32",
    }
    config = Config.model_validate({**settings, **changes})
    solver = choose_solver(config, config.training.model_fields_set)  # as the reader does
    return config.model_copy(update={"training": config.training.model_copy(update={"solver": solver})})
