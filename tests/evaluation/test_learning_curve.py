"""Learning curves: nested training sets, the power law, and intervals that contain the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.errors import DataError
from cnncli.evaluation.cross_validation import cross_validate
from cnncli.evaluation.learning_curve import (
    EXPONENTS,
    Estimate,
    LearningCurve,
    Measurements,
    extrapolate,
    fit_power_law,
    measure_learning_curve,
    nested_order,
)
from tests.evaluation.pools import draw_pool

SIZES = np.array([800.0, 400.0, 200.0, 100.0, 50.0, 25.0])


def _curve(floor: float, scale: float, exponent: float, n: int, seed: int) -> LearningCurve:
    """Return the curve of n images whose errors are drawn with a power law; hard images are hard at every size."""
    rng = np.random.default_rng(seed)
    difficulty, noise = rng.random(n), rng.random((len(SIZES), n))
    rates = floor + scale * SIZES**-exponent
    errors = (np.where(rng.random(n) < 0.7, difficulty, noise) < rates[:, None]).astype(float)
    found = Measurements(SIZES, errors, [one.mean(keepdims=True) for one in errors], np.arange(n))
    return extrapolate(found, "images per class", 5, seed)


@pytest.mark.parametrize("exponent", EXPONENTS[[0, 15, 30]])
def test_an_exact_power_law_is_found(exponent: float) -> None:
    """Errors that follow a power law give its floor, scale and exponent, and thus its prediction."""
    errors = 0.03 + 0.4 * SIZES**-exponent
    law = fit_power_law(SIZES, errors[None], np.full(len(SIZES), 1e-4))

    assert law.floor[0] == pytest.approx(0.03, abs=1e-6)
    assert law.errors(3200)[0] == pytest.approx(0.03 + 0.4 * 3200**-exponent, abs=1e-6)
    assert law.sizes(0.03 + 0.4 * 1600**-exponent)[0] == pytest.approx(1600, rel=1e-3)
    assert law.sizes(0.02)[0] == np.inf


def test_floor_and_scale_are_never_negative() -> None:
    """Errors that rise with more images give a flat law, and those that fall to 0 have no floor."""
    rising, vanishing = np.linspace(0.2, 0.1, len(SIZES)), 4.0 / SIZES - 0.004
    law = fit_power_law(SIZES, np.array([rising, vanishing.clip(0)]), np.full(len(SIZES), 1e-4))

    assert law.scale[0] == 0
    assert law.floor[0] == pytest.approx(rising.mean())
    assert (law.floor >= 0).all()
    assert (law.scale >= 0).all()


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.05, 1.0, 0.5), (0.0, 0.6, 0.3), (0.1, 0.0, 1.0)])
def test_intervals_contain_the_truth(floor: float, scale: float, exponent: float) -> None:
    """The 95 % intervals of four times as many images contain the accuracy of the law in most of 40 experiments."""
    hits = 0
    for seed in range(40):
        forecast = _curve(floor, scale, exponent, 1000, seed).forecasts[2]
        hits += forecast.accuracy.low <= 1 - floor - scale * forecast.size**-exponent <= forecast.accuracy.high

    assert hits >= 34


def test_a_flat_curve_says_that_more_images_help_little() -> None:
    """Errors that do not depend on the number of images give no gain; those of a steep law do."""
    flat, steep = _curve(0.1, 0.0, 1.0, 2000, 0), _curve(0.0, 2.0, 0.5, 2000, 0)

    assert not flat.would_help
    assert flat.forecasts[1].gain.value < 0.01
    assert steep.would_help
    assert steep.forecasts[1].gain.low > 0


def test_without_errors_more_images_remove_none() -> None:
    """Where every image is classified correctly at every size, nothing would help, and each accuracy is reached."""
    errors = np.zeros((len(SIZES), 500))
    measured = Measurements(SIZES, errors, [one.mean(keepdims=True) for one in errors], np.arange(500))
    found = extrapolate(measured, "images per class", 5, 0, 1.0)

    assert found.removed_by_doubling == Estimate(0.0, 0.0, 0.0)
    assert not found.would_help
    assert found.target == (1.0, Estimate(0.0, 0.0, 0.0))


def test_more_images_are_better_and_the_largest_size_is_the_cross_validation() -> None:
    """With all images, the accuracy is that of the cross-validation with the same folds."""
    pool = draw_pool(np.arange(600) % 2)
    curve = measure_learning_curve(pool, 5, 0)
    accuracies = [point.accuracy.value for point in curve.points]

    assert accuracies[-1] == cross_validate(pool, 5, [0]).accuracy
    assert accuracies[0] < accuracies[-1]
    sizes = [240 / 2**rung for rung in reversed(range(len(curve.points)))]
    assert [point.size for point in curve.points] == pytest.approx(sizes, rel=0.05)
    assert [forecast.size for forecast in curve.forecasts] == pytest.approx([300, 600, 1200, 3000])
    assert curve.forecasts[0].gain.value == 0


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=60, max_size=120),
    st.integers(0, 3),
    st.booleans(),
)
def test_training_sets_are_nested_and_have_the_proportions(
    images: list[tuple[int, int]], draw: int, has_groups: bool
) -> None:
    """Each beginning of the order has nearly the fraction of every class that all images have."""
    labels = np.array([label for label, _ in images])
    pool = draw_pool(labels, [f"patient {group}" for _, group in images] if has_groups else [])
    order = nested_order(pool, pool.folds(4, 0), 0, draw)

    assert sorted(order.tolist()) == list(range(len(labels)))
    for n in (len(labels) // 2, len(labels) // 4):
        for label in np.unique(labels):
            expected = (labels == label).mean() * n
            assert abs((labels[order[:n]] == label).sum() - expected) <= 2


def test_the_folds_take_turns() -> None:
    """Each beginning of the order has nearly the same number of images of every fold, so that none is empty."""
    pool = draw_pool(np.arange(300) % 3)
    folds = pool.folds(5, 0)
    order = nested_order(pool, folds, 0, 0)

    for n in (15, 30, 75, 150):
        counts = np.bincount(folds[order[:n]], minlength=5)
        assert counts.max() - counts.min() <= 3, n


def test_too_few_images_are_refused() -> None:
    """Images that do not suffice for three sizes are refused with their number."""
    with pytest.raises(DataError) as caught:
        measure_learning_curve(draw_pool(np.arange(24) % 2), 5, 0)
    assert (caught.value.code, caught.value.facts["received"]) == ("data-too-few-for-curve", 24)


def test_a_target_is_answered_with_an_interval() -> None:
    """The number of images for an accuracy is that of the law; an accuracy above its floor is never reached."""
    curve = measure_learning_curve(draw_pool(np.arange(600) % 2, separation=1.5), 5, 0, target=0.9999)
    assert curve.target is not None
    accuracy, needed = curve.target

    assert accuracy == 0.9999
    assert needed.high == np.inf
    assert needed.low <= needed.value <= needed.high
