"""Images with similar features are close on a map."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.errors import CnncliError
from cnncli.evaluation.components import principal_components
from cnncli.explanation.projection import project

needs_umap = pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")


@pytest.mark.parametrize("shape", [(40, 8), (12, 60)])
def test_principal_components_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    """Components are scikit-learn's, apart from the signs, for tall and for wide features."""
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32) * np.linspace(
        3, 0.5, shape[1], dtype="f4"
    )
    expected = PCA(5, svd_solver="full").fit_transform(vectors.astype(np.float64))

    np.testing.assert_allclose(np.abs(principal_components(vectors, 5)), np.abs(expected), atol=1e-4)


def test_components_of_large_features_are_almost_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The randomized method for many images with many features finds the same components."""
    random = np.random.default_rng(0)
    vectors = random.normal(0, 1, (200, 6)) @ random.normal(0, 1, (6, 150)) + random.normal(0, 0.1, (200, 150))
    expected = principal_components(vectors, 4)
    monkeypatch.setattr("cnncli.evaluation.components.MAX_EXACT", 100)

    np.testing.assert_allclose(principal_components(vectors, 4), expected, rtol=1e-3, atol=1e-3)


def _clusters(n: int = 60) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random, labels = np.random.default_rng(1), np.arange(n) % 3
    centers = random.normal(0, 4, (3, 30))
    return (centers[labels] + random.normal(0, 0.5, (n, 30))).astype(np.float32), labels


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=needs_umap)])
def test_clusters_stay_together(method: str) -> None:
    """The nearest neighbor of every image on the map is of its cluster, and places are reproducible in 0-1."""
    vectors, labels = _clusters()
    places = project(vectors, method, seed=0)  # type: ignore[arg-type]
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)

    assert places.shape == (60, 2)
    assert (places.min(), places.max()) == (0, 1)
    assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.95
    np.testing.assert_array_equal(places, project(vectors, method, seed=0))  # type: ignore[arg-type]


def test_equal_images_have_places() -> None:
    """Images with equal features do not fail."""
    assert np.isfinite(project(np.ones((5, 4), np.float32), "pca", seed=0)).all()


@needs_umap
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n", [3, 4, 10, 11])
def test_umap_places_few_images(n: int) -> None:
    """Three images, the fewest of a map, have places with UMAP too."""
    assert np.isfinite(project(_clusters()[0][:n], "umap", seed=0)).all()


@needs_umap
def test_umap_does_not_import_tensorflow() -> None:
    """The package would import TensorFlow for a class that is not used."""
    code = (
        "import sys, numpy as np; from cnncli.explanation.projection import project; "
        "project(np.eye(9, 4, dtype='f4'), 'umap', 0); sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is installed")
def test_umap_says_how_to_install_it() -> None:
    """Without umap-learn, the error names the package."""
    with pytest.raises(CnncliError) as caught:
        project(_clusters()[0], "umap", seed=0)
    assert caught.value.code == "usage-umap-not-installed"
