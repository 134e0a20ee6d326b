"""Agreement of an export with its run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cnncli.evaluation.parity import TOLERANCES, Reported
from cnncli.export.parity import ExpectedResults, judge

N = 40


def expected_of(
    scores: NDArray[np.float64], labels: NDArray[np.int64], thresholds: tuple[float, ...] = ()
) -> ExpectedResults:
    """Return what an export has to give if a run in float32 predicts some scores."""
    names = tuple(f"{number}.png" for number in range(len(scores)))
    classes = tuple(f"class {number}" for number in range(scores.shape[1]))
    return ExpectedResults(Reported(names, labels, classes, scores), scores, thresholds, "float32")


def confident(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return probabilities (n, 2) that are right with 0.8."""
    return np.where(np.eye(2)[labels] > 0, 0.8, 0.2)


LABELS = np.arange(N) % 2


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@given(st.integers(0, N - 1), st.floats(0.0, 0.15))
def test_an_export_fails_exactly_if_a_probability_differs_too_much(precision: str, place: int, shift: float) -> None:
    """The same probabilities always agree; one beyond the limit never does, except in int8, which keeps its class."""
    expected = expected_of(confident(LABELS), LABELS)
    found = expected.reported.probabilities.copy()
    found[place] += np.where(np.eye(2)[LABELS[place]] > 0, -shift, shift)
    (as_predict, _), problems = judge("onnx", precision, expected, found, 0.0)

    assert as_predict.largest == pytest.approx(shift)
    if shift == 0 or precision == "int8":
        assert problems == []
    elif shift > TOLERANCES[precision].largest:
        assert {problem.code for problem in problems} == {"export-differs"}
        assert problems[0].facts["path"] == f"{place}.png"


@given(st.integers(0, N), st.sampled_from([0.0, 0.02, 0.1, 1.0]))
def test_int8_may_lose_the_tolerance_and_one_image(n_wrong: int, tolerance: float) -> None:
    """Probabilities may change as they like as long as not more classes do."""
    expected = expected_of(confident(LABELS), LABELS)
    found = np.clip(expected.reported.probabilities, 0.45, 0.55)
    found[:n_wrong] = 1 - found[:n_wrong]
    _, problems = judge("litert", "int8", expected, found, tolerance)

    codes = ["export-accuracy-lost"] if n_wrong > tolerance * N + 1 else []
    assert [problem.code for problem in problems] == codes


def test_int8_is_held_to_its_decisions_if_images_have_several_labels() -> None:
    """A classifier that never has all labels right may not lose single ones either."""
    labels = np.tile([0, 1], (N, 5))
    scores = np.where(labels > 0, 0.9, 0.1)
    scores[:, 0] = 0.9  # wrong for every image, so that the accuracy is 0
    expected = expected_of(scores, labels, (0.5,) * 10)
    worse = scores.copy()
    worse[:, 1] = 0.4

    assert expected.accuracy(scores) == expected.accuracy(worse) == 0
    assert expected.accuracy_lost(worse) == pytest.approx(0.1)
    assert judge("onnx", "int8", expected, scores, 0.02)[1] == []
    assert [one.code for one in judge("onnx", "int8", expected, worse, 0.02)[1]] == ["export-accuracy-lost"]


def test_a_run_in_low_precision_is_compared_with_both() -> None:
    """An export in float32 of a run in bfloat16 may differ from what it predicts, but not from its float32."""
    scores = confident(LABELS)
    in_float32 = scores + np.where(np.arange(N) == 3, 0.1, 0.0)[:, None] * np.array([1, -1])
    run = expected_of(scores, LABELS).reported
    expected = ExpectedResults(run, in_float32, (), "bfloat16")

    assert judge("onnx", "float32", expected, in_float32, 0.0)[1] == []
    assert [one.code for one in judge("onnx", "float32", expected, scores, 0.0)[1]] == ["export-differs"]
