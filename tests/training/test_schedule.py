"""Learning rate schedules: the factor at each step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.config.training_settings import ScheduleConfig
from cnncli.training.optimizer import learning_rate_factor

STEPS = 10


def _factors(epochs: int, **settings: object) -> list[float]:
    schedule = ScheduleConfig.model_validate(settings)
    return [learning_rate_factor(schedule, step, STEPS, epochs) for step in range(epochs * STEPS)]


def test_constant_is_one() -> None:
    """The factor is 1 from the first step to the last."""
    assert set(_factors(3)) == {1.0}


def test_warmup_rises_linearly_and_never_stands_at_zero() -> None:
    """With ten warm-up steps, the first has a tenth of the rate and the tenth the full rate."""
    factors = _factors(2, warmup_epochs=1.0)

    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert set(factors[10:]) == {1.0}


def test_step_drops_every_so_many_epochs() -> None:
    """The rate drops every few epochs, counted from the end of the warm-up."""
    factors = _factors(5, name="step", every_epochs=2.0, factor=0.5, warmup_epochs=1.0)

    assert [factors[epoch * STEPS + 5] for epoch in range(1, 5)] == [1.0, 1.0, 0.5, 0.5]


def test_a_rate_of_a_hundredth_is_divided_by_ten_in_steps() -> None:
    """From 0.01, the rate falls to 0.001 and 0.0001. Row 125."""
    factors = _factors(6, name="step", every_epochs=2.0, factor=0.1)

    assert [0.01 * factors[epoch * STEPS] for epoch in (0, 1, 2, 4, 5)] == pytest.approx([0.01, 0.01, 1e-3, 1e-4, 1e-4])


def test_exponential_equals_kerass_exponential_decay() -> None:
    """The rate falls smoothly by the factor every `every_epochs` epochs, as Keras's does."""
    import keras

    keras_schedule = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=2 * STEPS, decay_rate=0.3)
    factors = _factors(4, name="exponential", every_epochs=2.0, factor=0.3)

    assert factors == pytest.approx([float(keras_schedule(step)) for step in range(40)], rel=1e-5)


def test_cosine_equals_kerass_cosine_decay() -> None:
    """The rate falls to the final fraction at the last step, as Keras's does."""
    import keras

    keras_schedule = keras.optimizers.schedules.CosineDecay(1.0, decay_steps=4 * STEPS, alpha=0.1)

    assert _factors(4, name="cosine", final_fraction=0.1) == pytest.approx(
        [float(keras_schedule(step)) for step in range(40)], rel=1e-5
    )


@given(
    name=st.sampled_from(["constant", "step", "exponential", "cosine"]),
    warmup=st.floats(0, 6),
    epochs=st.integers(1, 5),
)
def test_a_factor_is_above_zero_and_at_most_one(name: str, warmup: float, epochs: int) -> None:
    """Factors are in (0, 1]; a cosine that ends at 0 approaches it without reaching it."""
    assert all(0 < factor <= 1 for factor in _factors(epochs, name=name, warmup_epochs=warmup))
