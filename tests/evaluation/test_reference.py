"""Distances to training images equal those of scikit-learn's nearest neighbors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import RunError
from cnncli.evaluation.reference import FILE, NEIGHBORS, FeatureReference, unit_vectors


def test_distances_are_those_of_scikit_learn() -> None:
    """The cosine distance to the k-th nearest image equals that of NearestNeighbors."""
    from sklearn.neighbors import NearestNeighbors

    random = np.random.default_rng(0)
    train, images = random.random((200, 16), np.float32), random.random((30, 16), np.float32)
    oracle = NearestNeighbors(n_neighbors=NEIGHBORS, metric="cosine").fit(train)
    expected = oracle.kneighbors(images)[0][:, -1]

    np.testing.assert_allclose(FeatureReference.of([train]).distances([images]), expected, atol=1e-3)


def test_feature_maps_are_averaged_over_places() -> None:
    """A tensor of feature maps counts as its mean over height and width."""
    maps = np.random.default_rng(0).random((12, 4, 4, 8), np.float32)

    np.testing.assert_allclose(unit_vectors([maps]), unit_vectors([maps.mean(axis=(1, 2))]), rtol=1e-6)


def test_several_networks_have_equal_weight() -> None:
    """Vectors of several networks are joined, each with the same length, whatever their scale."""
    random = np.random.default_rng(0)
    one, other = random.random((5, 4), np.float32), 1000 * random.random((5, 6), np.float32)
    joined = unit_vectors([one, other])

    np.testing.assert_allclose(np.square(joined[:, :4]).sum(axis=1), 0.5, rtol=1e-5)
    np.testing.assert_allclose(np.square(joined).sum(axis=1), 1.0, rtol=1e-5)


def test_a_reference_with_few_images_works() -> None:
    """With fewer images than neighbors, the distance is that to the farthest one; zeros are not an error."""
    reference = FeatureReference.of([np.eye(3, dtype=np.float32)])

    np.testing.assert_allclose(reference.distances([np.array([[1, 0, 0], [0, 0, 0]])]), [1.0, 1.0], atol=1e-6)


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Nothing is lost, and a folder without the file has no reference."""
    assert FeatureReference.load(tmp_path) is None
    found = FeatureReference.of([np.random.default_rng(0).random((20, 5), np.float32)])
    found.save(tmp_path)
    read = FeatureReference.load(tmp_path)

    assert read is not None
    np.testing.assert_array_equal(read.vectors, found.vectors)


@pytest.mark.parametrize("vectors", [np.zeros((3, 4)), np.zeros(4, np.float16), np.zeros((0, 4), np.float16)])
def test_other_arrays_are_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    """A file with arrays of another form is reported as damaged."""
    np.savez(tmp_path / FILE, vectors=vectors)
    with pytest.raises(RunError) as caught:
        FeatureReference.load(tmp_path)
    assert caught.value.code == "run-file-damaged"


def test_features_of_another_length_are_refused() -> None:
    """A reference that belongs to another network is reported as damaged."""
    reference = FeatureReference.of([np.eye(12, dtype=np.float32)])
    with pytest.raises(RunError) as caught:
        reference.distances([np.ones((2, 5), np.float32)])
    assert caught.value.code == "run-file-damaged"
