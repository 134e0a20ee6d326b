"""The lead of the best settings of a sweep over the others."""

from __future__ import annotations

import numpy as np
from scipy import stats

from cnncli.evaluation.lead import ImageResults, measure_lead
from cnncli.evaluation.predictions import PredictedImage

IMAGES = tuple((f"{number}.png", ("a",)) for number in range(100))


def wrong_on(*places: int) -> ImageResults:
    """Return the results of a classifier with mistakes on some of 100 images."""
    return ImageResults.of_mistakes(IMAGES, places)


def test_a_large_lead_is_told_from_chance() -> None:
    """One setting has two mistakes more than the best one, which chance explains, another has thirty more."""
    found = measure_lead([wrong_on(1)], [{"near": wrong_on(1, 2, 3)}, {"far": wrong_on(*range(1, 32))}])

    assert found
    assert (found.n_images, found.n_others, found.n_better_than, found.n_undecided) == (100, 2, 1, 1)
    assert found.undecided == ("near",)


def test_p_values_are_adjusted_for_the_number_of_settings() -> None:
    """Six images that only the best settings get right are more than chance for one other, not for ten others."""
    other = wrong_on(*range(6))

    assert stats.binomtest(6, 6).pvalue < 0.05 < 10 * stats.binomtest(6, 6).pvalue
    for n, n_undecided in ((1, 0), (10, 10)):
        found = measure_lead([wrong_on()], [{str(number): other} for number in range(n)])
        assert found
        assert found.n_undecided == n_undecided


def test_an_image_counts_once_whatever_the_number_of_seeds() -> None:
    """Three seeds with the same six mistakes do not make them eighteen."""
    once = measure_lead([wrong_on()], [{"a": wrong_on(*range(5))}])
    best, other = [wrong_on()] * 3, {str(seed): wrong_on(*range(5)) for seed in range(3)}
    three = measure_lead(best, [other])

    assert once
    assert three
    assert once.n_undecided == three.n_undecided == 1
    assert three.undecided == ("0", "1", "2")


def test_only_shared_images_are_compared() -> None:
    """Settings with other validation images are compared on those that all of them have; the order is not important."""
    images = [PredictedImage(name, "validation", labels, ("b",), 0.9) for name, labels in reversed(IMAGES[50:])]
    found = measure_lead([wrong_on(99)], [{"a": ImageResults.of_predictions(images)}])
    elsewhere = ImageResults.of_mistakes((("other.png", ("a",)),), ())

    assert found
    assert (found.n_images, found.n_better_than) == (50, 1)
    assert measure_lead([wrong_on()], [{"a": elsewhere}]) is None
    assert measure_lead([wrong_on()], []) is None
    assert np.array_equal(wrong_on(3).on(IMAGES[2:5]), [True, False, True])


def test_equally_good_settings_have_no_lead() -> None:
    """Of 100 sweeps over 12 settings of the same accuracy, at most 5 find that the luckiest one is better."""
    rng, n_leads = np.random.default_rng(0), 0
    images = tuple((f"{number}.png", ("a",)) for number in range(1000))
    for _ in range(100):
        settings = [ImageResults(images, right) for right in rng.random((12, 1000)) < 0.9]
        best = max(settings, key=lambda one: one.right.sum())
        found = measure_lead([best], [{"other": one} for one in settings if one is not best])
        assert found
        n_leads += found.n_better_than > 0

    assert n_leads <= 5


def test_settings_that_are_more_accurate_than_the_chosen_ones_are_counted() -> None:
    """Settings chosen by their loss can be less accurate than others, which are counted and reported."""
    settings = {"better": wrong_on(), "equal": wrong_on(*range(1, 31)), "worse": wrong_on(*range(60))}
    found = measure_lead([wrong_on(*range(30))], [{name: one} for name, one in settings.items()])

    assert found
    assert (found.n_better_than, found.n_worse_than, found.n_undecided) == (1, 1, 1)
    assert found.undecided == ("equal",)
    assert found.text.startswith("Significantly more accurate than the chosen settings")
    assert "1 of 3 other settings" in found.text
    assert "not distinguishable: 1 " in found.text
