"""Multi-label metrics equal those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from cnncli.metrics.multilabel import DEFAULT_THRESHOLD, best_threshold, evaluate_labels


def draw(seed: int, n: int, labels: int, distinct: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities, of which some are equal, and multi-hot targets."""
    random = np.random.default_rng(seed)
    return random.integers(0, distinct, (n, labels)) / distinct, random.integers(0, 2, (n, labels)).astype(np.uint8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6), st.integers(2, 50))
def test_all_values_are_those_of_scikit_learn(seed: int, n: int, labels: int, distinct: int) -> None:
    """This holds with ties, labels without images, and images without labels."""
    probabilities, targets = draw(seed, n, labels, distinct)
    thresholds = np.random.default_rng(seed).random(labels).tolist()
    found = evaluate_labels(probabilities, targets, thresholds)
    predicted = (probabilities >= np.array(thresholds)).astype(int)

    expected = sklearn_metrics.precision_recall_fscore_support(targets, predicted, average=None, zero_division=0)
    if labels > 1:
        columns = [[getattr(one, name) for one in found.per_label] for name in ("precision", "recall", "f1", "n")]
        np.testing.assert_allclose(columns, expected, rtol=1e-12)
        micro, macro = (
            sklearn_metrics.f1_score(targets, predicted, average=average, zero_division=0)
            for average in ("micro", "macro")
        )
        assert (found.micro_f1, found.macro_f1) == (pytest.approx(micro), pytest.approx(macro))
    assert found.n_exact == (targets == predicted).all(axis=1).sum()
    averages = [
        sklearn_metrics.average_precision_score(targets[:, label], probabilities[:, label])
        for label in range(labels)
        if targets[:, label].any()
    ]
    ours = [one.average_precision for one in found.per_label if one.average_precision is not None]
    np.testing.assert_allclose(ours, averages, rtol=1e-12)
    assert found.mean_average_precision == pytest.approx(np.mean(averages) if averages else 0.0)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(2, 30))
def test_no_threshold_has_a_higher_f1(seed: int, n: int, distinct: int) -> None:
    """The threshold separates scores, so that it is not a score itself."""
    probabilities, targets = draw(seed, n, 1, distinct)
    scores, positive = probabilities[:, 0], targets[:, 0].astype(bool)
    threshold = best_threshold(scores, positive)

    def f1(cut: float) -> float:
        return float(sklearn_metrics.f1_score(positive, scores >= cut, zero_division=0))

    if 0 < positive.sum() < n:
        assert f1(threshold) == pytest.approx(max(f1(cut) for cut in scores))
    else:
        assert threshold == DEFAULT_THRESHOLD
