"""Wrong labels are found from the features of the images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.evaluation.label_errors import (
    find_confident_errors,
    out_of_fold_probabilities,
    review_labels,
    score_labels,
)

CLEANLAB = json.loads((Path(__file__).parents[1] / "data" / "cleanlab.json").read_text())
"""Results of cleanlab 2.9.0 for the examples of `noisy_probabilities`, written by `record_cleanlab` below."""


def noisy_probabilities(n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities of 300 images, unevenly divided between the classes, with a tenth of the labels random."""
    random = np.random.default_rng(n_classes)
    truth = np.minimum(random.geometric(0.4, 300) - 1, n_classes - 1)
    logits = 2.0 * np.eye(n_classes)[truth] + random.normal(0, 1, (300, n_classes))
    labels = np.where(random.random(300) < 0.1, random.integers(0, n_classes, 300), truth)
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def record_cleanlab() -> dict[str, dict[str, list[float]]]:
    """Return what cleanlab finds in the examples."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    found = {}
    for n_classes in (2, 3, 6):
        probabilities, labels = noisy_probabilities(n_classes)
        issues = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
        quality = get_label_quality_scores(labels, probabilities, method="normalized_margin")
        found[str(n_classes)] = {"issues": np.flatnonzero(issues).tolist(), "quality": quality.round(9).tolist()}
    return found


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_flags_and_scores_are_those_of_cleanlab(n_classes: int) -> None:
    """Confident errors are those of cleanlab's confident learning, and the score is 1 minus its normalized margin."""
    probabilities, labels = noisy_probabilities(n_classes)
    expected = CLEANLAB[str(n_classes)]
    review = score_labels(probabilities, labels)

    assert np.flatnonzero(review.flagged).tolist() == expected["issues"]
    np.testing.assert_allclose(review.scores, 1 - np.array(expected["quality"]), atol=1e-8)


def test_the_recorded_results_are_cleanlabs() -> None:
    """The recorded values are those of cleanlab, if it is installed."""
    pytest.importorskip("cleanlab")
    assert record_cleanlab() == CLEANLAB


def _features(n: int, n_classes: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features around one center per class, and the classes."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    centers = random.normal(0, 1, (n_classes, 20))
    return (centers[truth] + random.normal(0, 0.6, (n, 20))).astype(np.float32), truth


def _digests(n: int) -> list[str]:
    return [f"{number:016x}" for number in np.random.default_rng(1).permutation(n)]


@pytest.mark.parametrize("n_classes", [2, 5])
def test_flipped_labels_rank_first(n_classes: int) -> None:
    """Of 12 flipped labels among 300, at least 11 are the first 12 of the ranking, with the true class suggested."""
    features, truth = _features(300, n_classes)
    flipped = np.random.default_rng(2).choice(300, 12, replace=False)
    labels = truth.copy()
    labels[flipped] = (labels[flipped] + 1) % n_classes
    review = review_labels(features, labels, _digests(300), (), n_classes, seed=0)
    first = review.ranking[:12]

    assert len({*first} & {*flipped}) >= 11
    assert (review.suggested[first] == truth[first]).mean() > 0.9
    assert 8 <= review.flagged.sum() <= 25
    assert ((review.scores >= 0) & (review.scores <= 1)).all()


def test_wrong_labels_of_several_are_found() -> None:
    """With several labels per image, a missing and a superfluous label are found and corrected in the suggestion."""
    features, truth = _features(240, 4)
    labels = np.stack([truth % 2, truth // 2], axis=1).astype(np.uint8)
    wrong = [3, 50, 100, 201]
    given = labels.copy()
    given[wrong, [0, 1, 0, 1]] ^= 1
    review = review_labels(features, given, _digests(240), (), 2, seed=0)

    assert {*review.ranking[:4]} == {*wrong}
    assert (review.suggested[wrong] == labels[wrong]).all()
    assert review.flagged[wrong].sum() >= 3


def test_the_suggestion_does_not_depend_on_the_own_label() -> None:
    """The most probable class of an image stays the same if only its own label changes."""
    features, labels = _features(60, 2)
    folds, use = np.arange(60) // 2 % 5, np.ones(60, bool)
    before = out_of_fold_probabilities(features, labels, folds, 2, use).argmax(axis=1)
    for image in range(0, 60, 7):
        changed = labels.copy()
        changed[image] = 1 - labels[image]
        assert out_of_fold_probabilities(features, changed, folds, 2, use)[image].argmax() == before[image]


def test_images_that_are_not_used_change_nothing() -> None:
    """The labels of images that are left out change how certain all probabilities are, and not their order."""
    features, labels = _features(60, 2)
    folds, use = np.arange(60) // 2 % 5, np.arange(60) % 7 != 0
    before = out_of_fold_probabilities(features, labels, folds, 2, use)
    after = out_of_fold_probabilities(features, np.where(use, labels, 1 - labels), folds, 2, use)

    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    np.testing.assert_array_equal(np.argsort(after[:, 0]), np.argsort(before[:, 0]))


def test_images_of_a_group_do_not_vouch_for_each_other() -> None:
    """Copies with the same wrong label are more suspicious if they are in one group."""
    features, truth = _features(100, 2, seed=4)
    features = np.hstack([features, np.random.default_rng(5).normal(0, 2, (100, 80)).astype(np.float32)])
    features[10:30:2], labels = features[10], truth.copy()
    labels[10:30:2] = 1 - truth[10]
    names = ["copies" if 10 <= n < 30 and n % 2 == 0 else f"{n}" for n in range(100)]
    together, apart = (
        review_labels(features, labels, _digests(100), groups, 2, seed=0).scores[10:30:2] for groups in (names, ())
    )

    assert (together > 0.5).all()
    assert (apart < 0.5).all()


def test_a_class_without_images_flags_nothing() -> None:
    """A class that no label names is no reason to flag labels."""
    probabilities = np.array([[0.1, 0.2, 0.7], [0.9, 0.05, 0.05], [0.2, 0.8, 0.0]])
    assert not find_confident_errors(probabilities, np.array([0, 0, 1])).any()
