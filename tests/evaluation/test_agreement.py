"""Paired comparisons: the exact McNemar test, its interval, and the images on which runs disagree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.dataset.records import ImageRecord
from cnncli.evaluation.agreement import (
    RunPredictions,
    compare_pairs,
    compare_predictions,
    holm,
    mcnemar_p,
    shared_images,
)
from cnncli.images.verify import ImageFacts


def _image(number: int, label: str = "cats") -> ImageRecord:
    return ImageRecord(f"/data/{number}.jpg", (label,), "test", ImageFacts(f"{number:064x}", 1, 1, 1))


def _run(name: str, images: list[ImageRecord], predictions: str, confidence: float = 0.9) -> RunPredictions:
    """Return the predictions of a run: c for cats, d for dogs."""
    names = [("cats",) if letter == "c" else ("dogs",) for letter in predictions]
    return RunPredictions(name, images, names, np.full(len(images), confidence))


def test_mcnemars_p_is_that_of_a_published_example() -> None:
    """The exact test of 2 and 9 discordant pairs gives p = 0.06543 (Fay, The R Journal 2 (2010) 53)."""
    assert mcnemar_p(2, 9) == pytest.approx(0.06543, abs=5e-6)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_p_is_scipys_binomial_test(only_first: int, only_second: int) -> None:
    """The p-value is that of a two-sided binomial test of the discordant pairs, and 1 without any."""
    from scipy.stats import binomtest

    n = only_first + only_second
    expected = binomtest(only_first, n).pvalue if n else 1.0

    assert mcnemar_p(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_p_values_are_adjusted_by_holms_method() -> None:
    """Of three pairs, the smallest p counts three times, the next twice, and none is below a smaller one."""
    rng = np.random.default_rng(0)
    correct = {name: rng.random(200) < rate for name, rate in (("a", 0.6), ("b", 0.75), ("c", 0.9))}
    tests = sorted(compare_pairs(correct), key=lambda test: test.p)

    expected = [min(1.0, 3 * tests[0].p)]
    expected.append(max(expected[0], min(1.0, 2 * tests[1].p)))
    expected.append(max(expected[1], tests[2].p))
    assert [test.p_holm for test in tests] == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.data())
def test_some_p_values_of_many_are_adjusted_at_least_as_much_as_with_the_others(
    p_values: list[float], data: st.DataObject
) -> None:
    """Without the p-values of the other tests, no adjusted value is below the one with them."""
    some = data.draw(st.lists(st.sampled_from(range(len(p_values))), min_size=1, unique=True))
    everything, bound = holm(p_values), holm([p_values[place] for place in some], n=len(p_values))

    assert all(high >= everything[place] for place, high in zip(some, bound, strict=True))


def test_the_interval_of_the_difference_contains_the_truth() -> None:
    """Of 500 experiments with 200 images, about 95 % of the intervals contain the true difference."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(500):
        kinds = rng.choice(4, size=200, p=[0.8, 0.03, 0.07, 0.1])  # both right, only one, only the other, none
        (test,) = compare_pairs({"a": kinds <= 1, "b": (kinds == 0) | (kinds == 2)})
        low, high = test.ci95
        hits += low <= 0.04 <= high

    assert 0.92 <= hits / 500 <= 0.98


def test_the_difference_is_that_of_the_accuracies() -> None:
    """The difference is the accuracy of the second run minus that of the first, inside its interval."""
    images = [_image(number) for number in range(10)]
    found = compare_predictions("test", [_run("a", images, "ccccccdddd"), _run("b", images, "cccccccccd")])
    (test,) = found.tests

    assert (found.n, found.n_correct, test.only_first, test.only_second) == (10, (6, 9), 0, 3)
    assert test.difference == pytest.approx(0.3)
    assert test.ci95[0] < test.difference < test.ci95[1]
    assert test.p == pytest.approx(0.25)


def test_images_are_shared_by_their_bytes_and_labels() -> None:
    """An image counts once, whatever its path; with another label, or in one run only, it is left out."""
    one = [_image(1), _image(2), _image(3), _image(3)]
    copy = ImageRecord("/elsewhere/1.jpg", ("cats",), "test", one[0].facts)
    other = [copy, _image(2, "dogs"), _image(3), _image(4)]

    assert [image.digest for image in shared_images([one, other])] == [one[0].digest, one[2].digest]
    found = compare_predictions("test", [_run("a", one, "cccc"), _run("b", other, "cccc")])
    assert (found.n, found.n_left_out) == (2, 2)


def test_the_most_confident_disagreements_come_first() -> None:
    """Images with different predictions are listed by the confidence of the less certain run."""
    images = [_image(number) for number in range(4)]
    first = RunPredictions("a", images, [("cats",)] * 4, np.array([0.6, 0.9, 0.99, 0.7]))
    second = RunPredictions("b", images, [("dogs",), ("dogs",), ("cats",), ("dogs",)], np.array([0.9, 0.95, 0.9, 0.8]))
    found = compare_predictions("test", [first, second])

    assert [one.image.file for one in found.disagreements] == ["/data/1.jpg", "/data/3.jpg", "/data/0.jpg"]
    assert [found.disagreements[0].is_correct(place) for place in (0, 1)] == [True, False]
    assert found.to_dict()["disagreements"][0].to_dict()["predictions"] == [
        {"labels": ["cats"], "confidence": 0.9},
        {"labels": ["dogs"], "confidence": 0.95},
    ]


def test_runs_without_shared_images_have_no_test() -> None:
    """Runs on different images share none, and no pair is tested."""
    found = compare_predictions("test", [_run("a", [_image(1)], "c"), _run("b", [_image(2)], "c")])

    assert (found.n, found.tests, found.n_left_out) == (0, (), 2)
