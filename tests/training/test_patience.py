"""Early stopping and plateaus count epochs as Keras does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cnncli.config.training_settings import EarlyStoppingConfig, PlateauConfig
from cnncli.training.optimizer import Patience, Plateau

# Keras 3.15 asks TensorFlow's variables for arrays in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
VALUES = st.lists(st.integers(0, 40).map(lambda n: n / 40), min_size=1, max_size=20)


def _epochs_until_stop(settings: EarlyStoppingConfig, values: list[float]) -> int:
    patience = Patience()
    for epoch, value in enumerate(values, start=1):
        if patience.update(settings, {settings.monitor: value}) >= settings.patience:
            return epoch
    return len(values)


def test_early_stopping_waits_its_patience() -> None:
    """With a patience of 2, training stops two epochs after the best one."""
    settings = EarlyStoppingConfig(monitor="val_loss", patience=2)

    assert _epochs_until_stop(settings, [0.5, 0.4, 0.45, 0.41, 0.3]) == 4


@hypothesis_settings(deadline=None)  # the first example imports Keras
@given(values=VALUES, patience=st.integers(1, 4), min_delta=st.sampled_from([0.0, 0.06]))
def test_early_stopping_stops_where_keras_stops(values: list[float], patience: int, min_delta: float) -> None:
    """Training stops at the same epoch for the same values and patience."""
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


@hypothesis_settings(deadline=None)  # the first example imports Keras
@given(values=VALUES, patience=st.integers(1, 3), cooldown=st.integers(0, 2))
def test_a_plateau_lowers_the_rate_where_keras_does(values: list[float], patience: int, cooldown: int) -> None:
    """The factor follows ReduceLROnPlateau, including cooldown and the minimum rate."""
    import keras

    callback = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=0.5, patience=patience, cooldown=cooldown, min_delta=1e-4, min_lr=0.2
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    callback.set_model(model)
    callback.on_train_begin()
    settings = PlateauConfig(factor=0.5, patience=patience, cooldown=cooldown, min_learning_rate=0.2)
    plateau = Plateau()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        plateau.update(settings, {"val_loss": value}, learning_rate=1.0)

        assert plateau.factor == pytest.approx(float(model.optimizer.learning_rate))
