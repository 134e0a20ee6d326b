"""Ensembles combine probabilities by mean or by vote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cnncli.inference.ensemble import combine, to_logits
from cnncli.metrics.classification import label_probabilities, probabilities_of

NONE: tuple[float, ...] = ()
Scores = NDArray[np.float64]


def _normalized(raw: Scores) -> list[Scores]:
    """Return probabilities of several runs from positive numbers (runs, n, classes)."""
    return list(raw / raw.sum(axis=2, keepdims=True))


RUNS = arrays(np.float64, (3, 4, 5), elements=st.floats(0.01, 1.0)).map(_normalized)


@given(RUNS)
def test_the_mean_is_numpys(runs: list[Scores]) -> None:
    """The probabilities of an ensemble by mean are the mean of those of its members."""
    combined, thresholds = combine(runs, [NONE] * 3, "mean")

    np.testing.assert_allclose(combined, np.mean(runs, axis=0))
    assert thresholds == ()


@given(RUNS)
def test_a_vote_is_won_by_the_class_with_most_votes(runs: list[Scores]) -> None:
    """The first class has the most votes and, among those with as many, the largest mean probability."""
    combined, _ = combine(runs, [NONE] * 3, "vote")

    np.testing.assert_allclose(combined.sum(axis=1), 1)
    for image in range(4):
        votes = np.bincount([int(run[image].argmax()) for run in runs], minlength=5)
        winner = combined[image].argmax()
        assert votes[winner] == votes.max()
        tied = np.flatnonzero(votes == votes.max())
        assert np.mean(runs, axis=0)[image, winner] == pytest.approx(np.mean(runs, axis=0)[image, tied].max())


def test_two_votes_against_one_win_however_certain_the_one_is() -> None:
    """A vote counts the same whatever its probability, unlike in the mean."""
    runs = [np.array([[0.51, 0.49]]), np.array([[0.51, 0.49]]), np.array([[0.01, 0.99]])]

    assert combine(runs, [NONE] * 3, "vote")[0].argmax() == 0
    assert combine(runs, [NONE] * 3, "mean")[0].argmax() == 1


def test_labels_are_voted_for_one_by_one() -> None:
    """With several labels per image, a label is predicted if most runs predict it at their own thresholds."""
    runs = [np.array([[0.4, 0.6, 0.9]]), np.array([[0.35, 0.55, 0.1]]), np.array([[0.1, 0.1, 0.1]])]
    thresholds = [(0.3, 0.5, 0.5), (0.3, 0.6, 0.5), (0.5, 0.5, 0.5)]
    voted, limits = combine(runs, thresholds, "vote")
    mean, means = combine(runs, thresholds, "mean")

    assert (voted >= np.array(limits)).tolist() == [[True, False, False]]
    np.testing.assert_allclose(mean, np.mean(runs, axis=0))
    np.testing.assert_allclose(means, np.mean(thresholds, axis=0))


@given(RUNS)
def test_logits_give_the_probabilities_back(runs: list[Scores]) -> None:
    """Softmax and sigmoid of the logits are the probabilities, so that metrics can be computed from them."""
    np.testing.assert_allclose(probabilities_of(to_logits(runs[0], is_multi_label=False), "softmax"), runs[0])
    np.testing.assert_allclose(label_probabilities(to_logits(runs[0], is_multi_label=True)), runs[0], atol=1e-12)
