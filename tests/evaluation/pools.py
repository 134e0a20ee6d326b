"""Pools of images with drawn features, which no file needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.schema import Config
from cnncli.dataset.records import ImageRecord
from cnncli.evaluation.cross_validation import Pool
from cnncli.images.verify import ImageFacts
from tests.support.drawing import tiny_config

WIDTH = 10


def draw_pool(labels: NDArray[Any], groups: Sequence[str] = (), separation: float = 1.0, **settings: Any) -> Pool:
    """Return a pool of images with labels, whose features are normal around the centers of their classes.

    Args:
        labels: int64 (n,) class of each image, or uint8 (n, classes).
        groups: Name of each image's group; empty if there are none.
        separation: Distance of the centers in standard deviations, approximately; 0: features say nothing.
        settings: Groups of settings of the config.
    """
    rng, n = np.random.default_rng(3), len(labels)
    one_hot = labels if labels.ndim == 2 else np.eye(int(labels.max()) + 1)[labels]
    centers = separation * rng.normal(size=(one_hot.shape[1], WIDTH)) / np.sqrt(2)
    features = (one_hot @ centers + rng.normal(size=(n, WIDTH))).astype(np.float32)
    images = [
        ImageRecord(
            f"/data/{number}.jpg",
            tuple(f"class{place}" for place in np.flatnonzero(row)),
            "train",
            ImageFacts(hashlib.sha256(str(number).encode()).hexdigest(), 1, 1, 1),
            groups[number] if groups else "",
        )
        for number, row in enumerate(one_hot)
    ]
    classes = tuple(f"class{place}" for place in range(one_hot.shape[1]))
    return Pool(config(**settings), classes, images, labels, (features,))


def config(**settings: Any) -> Config:
    """Return a config whose head is solved exactly."""
    return tiny_config(Path("/data"), **{"training": {}, **settings})
