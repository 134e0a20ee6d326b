"""Arrange images on a plane by their features: PCA, t-SNE, and UMAP if it is installed."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import CnncliError, Message
from cnncli.evaluation.components import principal_components

Method = Literal["pca", "tsne", "umap"]

COMPONENTS = 50
"""Number of principal components to which features are reduced before t-SNE and UMAP, which removes noise."""
PERPLEXITY = 30.0
LEAST_FOR_SPECTRAL = 10
"""Number of images above which UMAP starts from eigenvectors, which do not exist for few of them."""
PARAMETRIC = "umap.parametric_umap"


def project(vectors: NDArray[np.float32], method: Method, seed: int) -> NDArray[np.float64]:
    """Return the places of images on a plane, (n, 2), in 0-1 along the longer axis.

    Args:
        vectors: Features (n, features), at least 3 images.
        method: pca, the two directions of largest variance; tsne (van der Maaten and Hinton 2008), which keeps
            neighbors together and says nothing about large distances; or umap.
        seed: Seed of t-SNE and UMAP.

    Raises:
        CnncliError: UMAP is not installed.
    """
    components = principal_components(vectors, 2 if method == "pca" else COMPONENTS)
    if method == "tsne":
        places = _tsne(components, seed)
    elif method == "umap":
        places = _umap(components, seed)
    else:
        places = components
    centered = places - places.min(axis=0)
    return np.asarray(centered / max(float(centered.max()), 1e-12))


def _tsne(components: NDArray[np.float64], seed: int) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, max(1.0, (len(components) - 1) / 3))
    model = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    return np.asarray(model.fit_transform(components.astype(np.float32)), np.float64)


def _umap(components: NDArray[np.float64], seed: int) -> NDArray[Any]:
    modules: dict[str, Any] = sys.modules
    # For a class that is not used here, the package would import TensorFlow, which takes seconds and logs to stderr.
    modules.setdefault(PARAMETRIC, None)
    try:
        with warnings.catch_warnings(action="ignore", category=ImportWarning):
            from umap import UMAP
    except ImportError:
        text = "method: umap needs umap-learn. Install it with: pip install 'cnncli[umap]', or use tsne."
        raise CnncliError(Message("usage-umap-not-installed", text, received="umap")) from None
    finally:
        if modules[PARAMETRIC] is None:
            del modules[PARAMETRIC]
    n = len(components)
    init = "spectral" if n > LEAST_FOR_SPECTRAL else "random"
    model = UMAP(n_neighbors=min(15, n - 1), init=init, random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(components), np.float64)
