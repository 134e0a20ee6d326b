"""A sample of the training images' features, from which the distance of a new image is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.errors import Message, RunError, reason_of
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import replacing
from cnncli.storage.zips import ARCHIVE_ERRORS, read_arrays

FILE = "reference.npz"
LEAST_IMAGES, MOST_IMAGES, PER_CLASS = 1_000, 4_000, 20
"""Number of training images in the sample: `PER_CLASS`, between two bounds. A sample of half of 2,000 images of two
classes recognizes images of neither class as well as all of them."""
NEIGHBORS = 5
"""The distance of an image is that to this nearest training image."""


@dataclass(frozen=True)
class FeatureReference:
    """Features of training images, float16 (m, d), each of length 1.

    The distance of an image is the cosine distance to its `NEIGHBORS`-th nearest training image: Y. Sun et al.,
    Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022, arXiv 2204.06507.
    """

    vectors: NDArray[np.float16]

    @classmethod
    def of(cls, tensors: Sequence[Array]) -> Self:
        """Return the reference of training images with features at the cut, each (m, …)."""
        return cls(unit_vectors(tensors).astype(np.float16))

    @classmethod
    def concatenate(cls, parts: Sequence[FeatureReference]) -> Self:
        """Join the references of several batches of images."""
        return cls(np.concatenate([part.vectors for part in parts]))

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.vectors.T, np.float32)

    def distances(self, tensors: Sequence[Array]) -> NDArray[np.float64]:
        """Return the distances (n,), in 0-2, of images with features at the cut, each (n, …).

        Raises:
            RunError: The reference has features of another length.
        """
        vectors = unit_vectors(tensors)
        if vectors.shape[1] != self.vectors.shape[1]:
            text = f"the run's reference has features of length {self.vectors.shape[1]}, expected {vectors.shape[1]}."
            facts = {"received": self.vectors.shape[1], "expected": vectors.shape[1]}
            raise RunError(Message("run-file-damaged", text, **facts))
        similarities = vectors @ self._columns
        k = min(NEIGHBORS, similarities.shape[1])
        return np.asarray(1.0 - np.partition(similarities, -k, axis=1)[:, -k].astype(np.float64))

    def save(self, folder: Path) -> None:
        """Write the features to their file in a run's engine folder."""
        with replacing(folder / FILE) as temporary:
            np.savez(temporary, vectors=self.vectors)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read the features of a run's engine folder, or return None if it has none. Raises RunError on damage."""
        if not (folder / FILE).is_file():
            return None
        try:
            vectors = read_arrays(folder / FILE)["vectors"]
            if vectors.dtype != np.float16 or vectors.ndim != 2 or not 0 < len(vectors) <= MOST_IMAGES:
                raise ValueError(f"{vectors.dtype} values of shape {vectors.shape}")
        except (*ARCHIVE_ERRORS, KeyError) as error:
            raise damaged(folder / FILE, reason_of(error)) from None
        return cls(vectors)


def sample_size(n_classes: int) -> int:
    """Return the maximum number of training images in the sample."""
    return min(max(LEAST_IMAGES, PER_CLASS * n_classes), MOST_IMAGES)


def unit_vectors(tensors: Sequence[Array]) -> NDArray[np.float32]:
    """Return features (n, …) as one vector per image: averaged over places, each tensor scaled to the same length."""
    scale, vectors = len(tensors) ** -0.5, []
    for tensor in tensors:
        pooled = tensor.astype(np.float32).reshape(len(tensor), -1, tensor.shape[-1]).mean(axis=1)
        length = np.linalg.norm(pooled, axis=1, keepdims=True)
        vectors.append(pooled * (scale / np.maximum(length, np.float32(1e-12))))
    return np.concatenate(vectors, axis=1)
