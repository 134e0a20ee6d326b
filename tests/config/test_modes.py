"""The training stages of each mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnncli.config.modes import Stage, fine_tuning_stage, stages_of
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.config.training_settings import EarlyStoppingConfig, OptimizerConfig, PlateauConfig, ScheduleConfig


def config_of(**settings: Any) -> Config:
    """Return the config with the given settings."""
    return config_from_mapping({"data": {"path": "."}, **settings}, environment={})


HEAD = Stage("head", 0, 20, OptimizerConfig(), ScheduleConfig(), None, EarlyStoppingConfig(), "frozen")


def changed(stage: Stage, **changes: Any) -> Stage:
    """Return a copy of a stage with some fields changed."""
    return Stage(**{**vars(stage), **changes})


@pytest.mark.parametrize(
    ("mode", "stages"),
    [
        ("feature-extraction", (HEAD,)),
        (
            "fine-tuning",
            (
                changed(HEAD, epochs=10),
                changed(
                    HEAD, name="fine-tune", unfreeze=4, epochs=10, optimizer=OptimizerConfig(learning_rate=1e-3 * 0.1)
                ),
            ),
        ),
        ("from-scratch", (changed(HEAD, name="scratch", unfreeze="all", batch_norm="train"),)),
    ],
)
def test_each_mode_has_its_stages(mode: str, stages: tuple[Stage, ...]) -> None:
    """By default, fine-tuning has two stages of 10 epochs with different learning rates; other modes have one of 20."""
    assert stages_of(config_of(mode=mode)) == stages


def test_the_recipe_of_alexnet_is_a_config() -> None:
    """SGD with momentum, L2 on all layers, and a tenth of the rate on a plateau of the accuracy. Row 124."""
    config = config_of(
        mode="from-scratch",
        training={
            "batch_size": 128,
            "l2": 5e-4,
            "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
            "reduce_on_plateau": {"monitor": "val_accuracy", "factor": 0.1},
        },
    )
    (stage,) = stages_of(config)

    assert (config.training.batch_size, config.training.l2, stage.unfreeze) == (128, 5e-4, "all")
    assert (stage.optimizer.learning_rate, stage.optimizer.arguments) == (0.01, {"momentum": 0.9})
    assert stage.reduce_on_plateau == PlateauConfig(monitor="val_accuracy", factor=0.1)


@pytest.mark.parametrize(("epochs", "batch_size"), [(15, 10), (5, 64), (10, 20)])
def test_epochs_and_batch_size_are_those_of_the_config(epochs: int, batch_size: int) -> None:
    """Any number of epochs and images per step can be set. Row 126."""
    config = config_of(training={"epochs": epochs, "batch_size": batch_size})

    assert [stage.epochs for stage in stages_of(config)] == [epochs]
    assert config.training.batch_size == batch_size


@pytest.mark.parametrize("mode", ["feature-extraction", "fine-tuning", "from-scratch"])
def test_training_settings_reach_every_stage(mode: str) -> None:
    """Settings under `training`, such as epochs and optimizer, apply to every stage of a mode."""
    training: dict[str, Any] = {
        "epochs": 7,
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "schedule": {"name": "cosine"},
        "reduce_on_plateau": {"patience": 2},
        "early_stopping": None,
        "batch_norm": "train",
    }
    for stage in stages_of(config_of(mode=mode, training=training)):
        assert (stage.epochs, stage.optimizer.name, stage.optimizer.arguments) == (7, "sgd", {"momentum": 0.9})
        assert stage.schedule == ScheduleConfig(name="cosine")
        assert stage.reduce_on_plateau == PlateauConfig(patience=2)
        assert stage.early_stopping is None
        assert stage.batch_norm == "train"


def test_unfreeze_applies_to_the_second_stage() -> None:
    """`training.unfreeze`, a number, layer name or `all`, applies only to the second stage of fine-tuning."""
    for unfreeze in (9, "block5_conv1", "all"):
        config = config_of(mode="fine-tuning", training={"unfreeze": unfreeze})
        assert [stage.unfreeze for stage in stages_of(config)] == [0, unfreeze]
        assert fine_tuning_stage(config) == stages_of(config)[1]


def test_listed_stages_replace_those_of_the_mode() -> None:
    """Listed stages replace the mode's stages and inherit all settings under `training` except `unfreeze`."""
    stages = [
        {"name": "one"},
        {"name": "two", "unfreeze": "all", "epochs": 2, "optimizer": {"learning_rate": 0.5}, "batch_norm": "train"},
    ]
    training = {"epochs": 7, "optimizer": {"name": "sgd"}, "unfreeze": 3, "stages": stages}
    one, two = stages_of(config_of(training=training))
    assert one == changed(HEAD, name="one", epochs=7, optimizer=OptimizerConfig(name="sgd"))
    assert (two.name, two.unfreeze, two.epochs, two.batch_norm) == ("two", "all", 2, "train")
    assert two.optimizer == OptimizerConfig(learning_rate=0.5)


@pytest.mark.parametrize(("mode", "epochs"), [("feature-extraction", 20), ("fine-tuning", 10)])
def test_a_listed_stage_without_epochs_uses_the_default_of_the_mode(mode: str, epochs: int) -> None:
    """A listed stage uses the mode's default number of epochs if neither it nor `training` sets one."""
    (stage,) = stages_of(config_of(mode=mode, training={"stages": [{"name": "one"}]}))
    assert stage.epochs == epochs


def test_null_in_a_listed_stage_disables_early_stopping() -> None:
    """In a listed stage, null disables early stopping; for other settings, null means inherited."""
    stages = [{"name": "one", "early_stopping": None, "epochs": None}, {"name": "two"}]
    one, two = stages_of(config_of(training={"epochs": 3, "stages": stages}))
    assert (one.early_stopping, one.epochs) == (None, 3)
    assert two.early_stopping == EarlyStoppingConfig()


def test_batch_norm_is_trained_with_random_weights(tmp_path: Path) -> None:
    """Batch normalization is trained if weights are random, but not if they are loaded or a stage freezes it."""
    weights = tmp_path / "w.weights.h5"
    weights.touch()
    frozen = {"name": "a", "batch_norm": "frozen"}
    assert {stage.batch_norm for stage in stages_of(config_of(mode="fine-tuning", backbone={"weights": "none"}))} == {
        "train"
    }
    (stage,) = stages_of(config_of(backbone={"weights": "none"}, training={"stages": [frozen]}))
    assert stage.batch_norm == "frozen"
    (stage,) = stages_of(config_of(backbone={"weights": str(weights)}))
    assert stage.batch_norm == "frozen"
