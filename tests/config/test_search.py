"""Values of a sweep: lists, ranges, and draws from them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.config.search import Axis, all_combinations, draw_combinations, read_axis
from cnncli.errors import ConfigError

RATE = read_axis("training.optimizer.learning_rate=1e-4..1e-1")


def test_a_range_has_two_ends() -> None:
    """`LOW..HIGH` is a range of integers if both are integers; paths and other words with dots are values."""
    assert RATE.range
    assert (RATE.range.low, RATE.range.high, RATE.range.is_integer) == (1e-4, 0.1, False)
    units = read_axis("head.layers.0.dense=16..64").range
    assert units is not None
    assert units.is_integer
    assert read_axis("data.path=../a,../b") == Axis("data.path", ("../a", "../b"))


@pytest.mark.parametrize("text", ["a=5..1", "a=1..1", "a=0.1,1..2", "a=1..2,3..4"])
def test_a_range_goes_upward_and_stands_alone(text: str) -> None:
    """A range whose ends are not in order, or which is one of several values, is refused."""
    with pytest.raises(ConfigError) as caught:
        read_axis(text)
    assert (caught.value.code, caught.value.facts["key"]) == ("usage-sweep-range", "a")


def test_a_grid_has_no_ranges() -> None:
    """Without a number of draws, a range is refused."""
    with pytest.raises(ConfigError) as caught:
        all_combinations([Axis("b", ("1", "2")), RATE])
    assert caught.value.facts["received"] == "1e-4..1e-1"


@given(st.integers(0, 1_000), st.sampled_from(["1e-4..1e-1", "0..0.9", "-2..3", "16..512", "1..1000", "0.12345..0.2"]))
def test_draws_lie_in_their_range(seed: int, text: str) -> None:
    """Draws are numbers from one end to the other, and integers if the ends are."""
    axis = read_axis(f"a={text}")
    assert axis.range
    for (value,) in draw_combinations([axis], 20, seed):
        assert axis.range.low <= float(value) <= axis.range.high
        assert not axis.range.is_integer or str(int(value)) == value


def test_wide_ranges_are_drawn_by_magnitude() -> None:
    """Over three powers of ten, a third of the draws lies in each; a narrow range is uniform."""
    draws = draw_combinations([RATE, read_axis("training.optimizer.momentum=0..0.9")], 3_000, seed=1)
    decades = [math.floor(math.log10(float(rate))) for rate, _ in draws]
    momenta = [float(momentum) for _, momentum in draws]

    assert all(900 < decades.count(power) < 1_100 for power in (-4, -3, -2))
    assert sum(momenta) / len(momenta) == pytest.approx(0.45, abs=0.02)


@given(st.integers(0, 100))
def test_more_draws_only_add_to_fewer(seed: int) -> None:
    """The same seed gives the same draws, and a larger number begins with them; another seed gives others."""
    axes = [RATE, Axis("head.pooling", ("avg", "max"))]
    draws = draw_combinations(axes, 12, seed)

    assert draw_combinations(axes, 5, seed) == draws[:5]
    assert draw_combinations(axes, 12, seed + 1) != draws
    assert len(set(draws)) == 12


def test_there_are_no_more_draws_than_combinations() -> None:
    """Combinations are drawn without repetition, at most all of them."""
    axes = [Axis("a", ("1", "2", "3")), Axis("b", ("x", "y"))]

    assert sorted(draw_combinations(axes, 100, seed=0)) == all_combinations(axes)
    assert len(set(draw_combinations(axes, 4, seed=0))) == 4
