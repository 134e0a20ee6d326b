"""Scores of probabilities equal those of scikit-learn and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from cnncli.metrics.reliability import calibration_error, measure_reliability, reliability_bins


@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(2, 6))
def test_log_loss_and_brier_score_are_those_of_scikit_learn(seed: int, n: int, n_classes: int) -> None:
    """Both equal scikit-learn's, which halves the Brier score of two classes."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(n_classes), n)
    labels = random.integers(0, n_classes, n)
    found = measure_reliability(probabilities, labels)
    names = list(range(n_classes))
    given_brier = probabilities[:, 1] if n_classes == 2 else probabilities

    assert found.log_loss == pytest.approx(oracle.log_loss(labels, probabilities, labels=names), rel=1e-9)
    assert found.brier_score == pytest.approx(oracle.brier_score_loss(labels, given_brier, labels=names), rel=1e-9)


def test_scores_of_labels_are_averages_over_the_labels() -> None:
    """With several labels per image, each label is scored like two classes, and the results are averaged."""
    probabilities, labels = np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1, 0], [0, 1]], np.uint8)
    found = measure_reliability(probabilities, labels)
    columns = [(labels[:, k], probabilities[:, k]) for k in range(2)]

    assert found.log_loss == pytest.approx(np.mean([oracle.log_loss(*one, labels=[0, 1]) for one in columns]))
    assert found.brier_score == pytest.approx(np.mean([oracle.brier_score_loss(*one) for one in columns]))


def test_a_calibration_error_computed_by_hand() -> None:
    """Two bins: in one, 90 % confidence and one of two right; in the other, 60 % and both right."""
    confidence, right = np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, False, True, True])
    bins = reliability_bins(confidence, right, 10)
    used = {round(one.high, 1): (one.confidence, one.accuracy, one.n) for one in bins if one.n}

    assert used == {0.9: (pytest.approx(0.9), 0.5, 2), 0.6: (pytest.approx(0.6), 1.0, 2)}
    assert calibration_error(bins) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)


def test_honest_probabilities_have_a_small_calibration_error() -> None:
    """If labels are drawn from the probabilities, the error is small, and overconfidence increases it."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (honest.cumsum(axis=1) < random.random((len(honest), 1))).sum(axis=1)
    sharp = honest**3 / (honest**3).sum(axis=1, keepdims=True)

    assert measure_reliability(honest, labels).calibration_error < 0.015
    assert measure_reliability(sharp, labels).calibration_error > 0.1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_every_prediction_is_in_one_bin(confidences: list[float]) -> None:
    """No prediction is lost, also at the bounds of bins, and the mean confidence of a bin lies inside it."""
    bins = reliability_bins(np.array(confidences), np.ones(len(confidences), bool))

    assert sum(one.n for one in bins) == len(confidences)
    assert all(one.low - 1e-9 <= one.confidence <= one.high + 1e-9 for one in bins if one.n)
