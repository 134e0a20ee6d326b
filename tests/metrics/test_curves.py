"""Curves and the areas under them equal those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from cnncli.metrics.curves import MAX_POINTS, Ranking, class_curves, mean_of


def draw(seed: int, n: int, distinct: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, of which some are equal, and which images are positive."""
    random = np.random.default_rng(seed)
    return random.integers(0, distinct, n) / distinct, random.random(n) < 0.4


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 50))
def test_areas_are_those_of_scikit_learn(seed: int, n: int, distinct: int) -> None:
    """Average precision and the area under the ROC curve equal scikit-learn's, also with ties."""
    scores, positive = draw(seed, n, distinct)
    positive[:2] = (True, False)
    ranking = Ranking.of(scores, positive)

    assert ranking.average_precision == pytest.approx(oracle.average_precision_score(positive, scores), rel=1e-12)
    assert ranking.roc_auc == pytest.approx(oracle.roc_auc_score(positive, scores), rel=1e-12)


def test_curves_are_those_of_scikit_learn() -> None:
    """The points of both curves are scikit-learn's, which lists precision and recall from the other end."""
    scores, positive = draw(0, 100, 1000)
    (curves,) = class_curves(np.stack([1 - scores, scores], axis=1), positive.astype(int), ("no", "yes"))
    x, y, _ = oracle.roc_curve(positive, scores, drop_intermediate=False)
    precision, recall, _ = oracle.precision_recall_curve(positive, scores)

    np.testing.assert_allclose(curves.roc, np.stack([x, y], axis=1))
    np.testing.assert_allclose(curves.precision_recall[1:], np.stack([recall, precision], axis=1)[-2::-1])
    assert curves.name == "yes"


def test_a_perfect_ranking_has_areas_of_1() -> None:
    """A perfect ranking has areas of 1, and the reverse one has those that follow from the definitions."""
    scores, positive = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    best, worst = Ranking.of(scores, positive), Ranking.of(-scores, positive)

    assert (best.average_precision, best.roc_auc) == (1.0, 1.0)
    assert (worst.average_precision, worst.roc_auc) == (pytest.approx((1 / 3 + 2 / 4) / 2), 0.0)


def test_there_is_no_area_without_both_kinds_of_images() -> None:
    """Without positive images, nothing is ranked, and without negative ones there is no ROC curve."""
    scores = np.array([0.3, 0.7])
    none, all_positive = Ranking.of(scores, np.zeros(2, bool)), Ranking.of(scores, np.ones(2, bool))

    assert (none.average_precision, none.roc_auc) == (None, None)
    assert (all_positive.average_precision, all_positive.roc_auc) == (1.0, None)
    assert class_curves(np.eye(3), np.array([0, 0, 0]), "abc") == ()


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    """A curve of thousands of images has few points, from nothing predicted to everything predicted."""
    scores, positive = draw(1, 5000, 10**6)
    curves = class_curves(np.stack([scores] * 2, axis=1), np.stack([positive] * 2, axis=1).astype(np.uint8), "ab")

    assert [len(one.roc) for one in curves] == [MAX_POINTS] * 2
    assert (curves[0].roc[0], curves[0].roc[-1]) == ((0.0, 0.0), (1.0, 1.0))


def test_a_mean_leaves_out_what_is_unknown() -> None:
    """Values that do not exist do not count in a mean."""
    assert (mean_of([0.5, None, 1.0]), mean_of([None])) == (0.75, None)
