"""Principal components of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_EXACT = 2_048
"""Smaller side of the features up to which components are exact."""
SPARE, ITERATIONS = 16, 4
"""Additional components and power iterations of the randomized method (Halko, Martinsson and Tropp 2011)."""


def principal_components(vectors: Array, n: int) -> NDArray[np.float64]:
    """Return the first n principal components of vectors (n_images, features), or as many as there are.

    The largest entry of each is positive. If images and features are many, the components are approximate, and still
    the same for the same vectors.
    """
    centered = vectors - vectors.mean(axis=0, dtype=np.float64).astype(vectors.dtype)
    n = min(n, *centered.shape)
    basis = _largest_directions(centered, n)
    found = centered.astype(np.float64) @ basis
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(n)])
    return np.asarray(found * np.where(signs == 0, 1, signs))


def _largest_directions(centered: Array, n: int) -> NDArray[np.float64]:
    """Return the n directions of largest variance, (features, n)."""
    rows, columns = centered.shape
    if min(rows, columns) > MAX_EXACT:
        basis = np.random.default_rng(0).normal(size=(columns, n + SPARE)).astype(centered.dtype)
        for _ in range(ITERATIONS):
            basis = np.linalg.qr(centered.T @ (centered @ basis))[0]
        projected = (centered @ basis).astype(np.float64)
        return np.asarray(basis @ _leading(projected.T @ projected, n))
    wide = centered.astype(np.float64)
    if columns <= rows:
        return _leading(wide.T @ wide, n)
    directions = wide.T @ _leading(wide @ wide.T, n)
    return np.asarray(directions / np.maximum(np.linalg.norm(directions, axis=0), 1e-12))


def _leading(gram: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the eigenvectors of the n largest eigenvalues, the largest first."""
    return np.asarray(np.linalg.eigh(gram)[1][:, ::-1][:, :n])
