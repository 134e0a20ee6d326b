"""Patience, early stopping and plateaus count as Keras counts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.config.schema import EarlyStoppingConfig, PlateauConfig
from cnncli.training.callbacks import EarlyStopping, Plateau, is_better

# Keras 3.15 asks TensorFlow's variables for arrays in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
VALUES = st.lists(st.integers(0, 40).map(lambda n: n / 40), min_size=1, max_size=20)


def _epochs_until_stop(settings: EarlyStoppingConfig, values: list[float]) -> int:
    stopping = EarlyStopping(settings)
    for epoch, value in enumerate(values, start=1):
        if stopping.should_stop({settings.monitor: value}):
            return epoch
    return len(values)


def test_losses_fall_and_accuracies_rise() -> None:
    """And a tie is no improvement."""
    assert is_better("val_loss", 0.1, 0.2)
    assert is_better("val_accuracy", 0.2, 0.1)
    assert not is_better("val_loss", 0.2, 0.2)
    assert not is_better("val_loss", 0.15, 0.2, min_delta=0.1)


def test_early_stopping_waits_its_patience() -> None:
    """Two epochs without improvement after the second, which is the best."""
    settings = EarlyStoppingConfig(monitor="val_loss", patience=2)

    assert _epochs_until_stop(settings, [0.5, 0.4, 0.45, 0.41, 0.3]) == 4


@settings(deadline=None)  # the first example imports Keras
@given(values=VALUES, patience=st.integers(1, 4), min_delta=st.sampled_from([0.0, 0.06]))
def test_early_stopping_stops_where_keras_stops(values: list[float], patience: int, min_delta: float) -> None:
    """The same values, the same patience, the same epoch."""
    import keras

    callback = keras.callbacks.EarlyStopping("val_loss", min_delta=min_delta, patience=patience)
    model = keras.Sequential()
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin()
    expected = len(values)
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        if model.stop_training:
            expected = epoch + 1
            break
    stopping = EarlyStoppingConfig(monitor="val_loss", patience=patience, min_delta=min_delta)

    assert _epochs_until_stop(stopping, values) == expected


@settings(deadline=None)  # the first example imports Keras
@given(values=VALUES, patience=st.integers(1, 3), cooldown=st.integers(0, 2))
def test_a_plateau_lowers_the_rate_where_keras_does(values: list[float], patience: int, cooldown: int) -> None:
    """Cooldown and the lowest rate included."""
    import keras

    callback = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=0.5, patience=patience, cooldown=cooldown, min_delta=1e-4, min_lr=0.2
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    callback.set_model(model)
    callback.on_train_begin()
    plateau = Plateau(PlateauConfig(factor=0.5, patience=patience, cooldown=cooldown, min_learning_rate=0.2))
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        plateau.see({"val_loss": value}, learning_rate=1.0)

        assert plateau.factor == pytest.approx(float(model.optimizer.learning_rate))
