"""Folds are stratified, keep groups together, and do not depend on the order of the images."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncli.training.solvers.folds import stratified_folds


def _digests(n: int) -> list[str]:
    return [hashlib.sha256(str(index).encode()).hexdigest() for index in range(n)]


@given(st.lists(st.integers(0, 3), min_size=10, max_size=60), st.integers(2, 5), st.integers(0, 5))
def test_every_class_is_spread_evenly(classes: list[int], n_folds: int, seed: int) -> None:
    """The numbers of images of a class in two folds differ by at most one."""
    labels = np.array(classes)
    folds = stratified_folds(labels, _digests(len(labels)), [], n_folds, seed)

    for label in np.unique(labels):
        counts = np.bincount(folds[labels == label], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=20, max_size=60), st.integers(0, 5))
def test_a_group_is_in_one_fold(images: list[tuple[int, int]], seed: int) -> None:
    """All images of a group are in the same fold."""
    labels, groups = np.array([label for label, _ in images]), [f"patient {group}" for _, group in images]
    folds = stratified_folds(labels, _digests(len(images)), groups, 3, seed)

    for group in set(groups):
        assert len({int(fold) for fold, name in zip(folds, groups, strict=True) if name == group}) == 1


def test_equal_images_are_in_one_fold() -> None:
    """Copies of an image are never in training and held-out images at once."""
    digests = _digests(10) * 2
    folds = stratified_folds(np.zeros(20, np.int64), digests, [], 4, 0)

    np.testing.assert_array_equal(folds[:10], folds[10:])


def test_equal_images_of_different_groups_are_in_one_fold() -> None:
    """A copy of an image in another group joins the two groups, as it does in splits."""
    groups = [f"patient {index}" for index in range(20)]
    folds = stratified_folds(np.arange(20) % 2, _digests(10) * 2, groups, 3, 0)

    np.testing.assert_array_equal(folds[:10], folds[10:])


def test_folds_do_not_depend_on_the_order_of_the_images() -> None:
    """Images listed in another order are in the same folds; another seed gives other folds."""
    labels, digests, order = np.arange(40) % 3, _digests(40), np.random.default_rng(0).permutation(40)
    folds = stratified_folds(labels, digests, [], 5, 0)

    shuffled = stratified_folds(labels[order], [digests[index] for index in order], [], 5, 0)
    np.testing.assert_array_equal(shuffled, folds[order])
    assert (stratified_folds(labels, digests, [], 5, 1) != folds).any()


def test_several_labels_are_spread_evenly() -> None:
    """With several labels per image, each label is in every fold about as often."""
    labels = (np.random.default_rng(0).random((100, 4)) < 0.4).astype(np.uint8)
    folds = stratified_folds(labels, _digests(100), [], 5, 0)
    counts = np.array([labels[folds == fold].sum(axis=0) for fold in range(5)])

    assert (counts.max(axis=0) - counts.min(axis=0) <= 4).all()
