"""Train on one and on two devices in this process, which has two logical CPUs, and print what differs as JSON."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.config.training_settings import OptimizerConfig
from cnncli.networks.backend import import_keras
from cnncli.recipes.resume import resume
from cnncli.recipes.train import train
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.terminal.console import Console
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.replicas import ONE_DEVICE, Replicas, build_replicas
from cnncli.training.steps import TrainStep
from cnncli.training.update import UpdateSettings
from tests.support.drawing import tiny_config
from tests.support.interrupted import dying_after

SGD: dict[str, Any] = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}
CASES: dict[str, tuple[dict[str, Any], UpdateSettings]] = {
    "plain": ({}, UpdateSettings()),
    "clipped": ({"clipnorm": 0.05}, UpdateSettings()),
    "accumulated and clipped": ({"global_clipnorm": 0.1}, UpdateSettings(accumulation=2)),
    "averaged, with rates per layer and penalties": (
        {"clipvalue": 0.01},
        UpdateSettings(ema=0.9, factors={"conv": 0.5}, l1=1e-3, l2=1e-2),
    ),
}
SIZES = (8, 8, 5, 1)
"""Images of each step: the last batches cannot be divided evenly, and the last one leaves a device without an image."""


def build_tail(dropout: float = 0.0, seed: int = 1) -> Any:
    """Build a convolution with batch normalization, a penalty and a dense layer."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv", kernel_regularizer=keras.regularizers.L2(1e-2))(x)
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(dropout, name="drop")(x)
    return keras.Model([inputs], keras.layers.Dense(3, name="logits")(x))


def step_on(
    replicas: Replicas, tail: Any, arguments: dict[str, Any] | None = None, update: UpdateSettings | None = None
) -> TrainStep:
    """Return the training step of a tail on devices."""
    with replicas.scope():
        optimizer = build_optimizer(OptimizerConfig.model_validate(SGD | (arguments or {})))
    step = TrainStep(tail, optimizer, Objective("softmax", 3), update=update, replicas=replicas)
    step.seed(0, "stage")
    return step


def batches(seed: int = 0) -> list[Any]:
    """Draw the batches of an epoch."""
    random = np.random.default_rng(seed)
    return [([random.normal(size=(n, 6, 6, 3)).astype("float32")], random.integers(0, 3, n)) for n in SIZES]


def difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Return the largest difference of two lists of weights."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def compare(two: Replicas, arguments: dict[str, Any], update: UpdateSettings) -> dict[str, float]:
    """Return the differences between one and two devices after three epochs, and how far the weights have moved."""
    steps = [step_on(replicas, build_tail(), arguments, update) for replicas in (ONE_DEVICE, two)]
    start = steps[0].weights()
    totals = [
        [step.train_epoch(batches(epoch), iter([1.0] * len(SIZES)), "here") for epoch in range(3)] for step in steps
    ]
    logits = [np.concatenate(one[-1].logits) for one in totals] if totals[0][-1].logits else [np.zeros(1)] * 2
    evaluated = [step.evaluate(batches(9), "here") for step in steps]
    return {
        "weights": difference(steps[0].weights(), steps[1].weights()),
        "moved": difference(start, steps[0].weights()),
        "loss": abs(totals[0][-1].loss - totals[1][-1].loss),
        "n_correct": abs(totals[0][-1].n_correct - totals[1][-1].n_correct),
        "logits": float(np.abs(logits[0] - logits[1]).max()),
        "evaluated": max(abs(evaluated[0][name] - evaluated[1][name]) for name in evaluated[0]),
    }


def dropout(two: Replicas) -> dict[str, Any]:
    """Return whether devices drop other units, and whether a copy of a step continues with the same bits."""
    step = step_on(two, build_tail(dropout=0.5))
    image = np.random.default_rng(0).normal(size=(1, 6, 6, 3)).astype("float32")
    same = ([image.repeat(8, axis=0)], np.zeros(8, np.int64))
    logits = step._functions(same[0])[0](*same)[3].numpy()
    arrays, copy = step.arrays(), step_on(two, build_tail(dropout=0.5, seed=2))
    copy.load_arrays(arrays)
    for one in (step, copy):
        one.train_epoch(batches(), iter([1.0] * len(SIZES)), "here")
    return {
        "parts_differ": bool(np.abs(logits[:4] - logits[4:]).max() > 1e-3),
        "resumed": difference(step.weights(), copy.weights()),
    }


def weights_of(run: RunFolder) -> list[np.ndarray]:
    """Return the weights of a run's model."""
    weights: list[np.ndarray] = import_keras().models.load_model(run.model).get_weights()
    return weights


def runs(data: Path, folder: Path) -> dict[str, Any]:
    """Train a network on one and on two devices, and once more with an interruption after the first epoch."""
    console, save = Console(quiet=True), Checkpoints.save
    training = {"epochs": 2, "batch_size": 8, "optimizer": SGD, "early_stopping": None}
    backbone = {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}}
    one, two = (
        tiny_config(data, mode="from-scratch", backbone=backbone, training={**training, "devices": n}) for n in (1, 2)
    )
    straight, single = train(two, folder / "straight", console), train(one, folder / "single", console)
    Checkpoints.save = dying_after(2, save)  # type: ignore[method-assign]
    with suppress(KeyboardInterrupt):
        train(two, folder / "stopped", console)
    Checkpoints.save = save  # type: ignore[method-assign]
    (stopped,) = run_folders(folder / "stopped")
    state = stopped.read_facts()["state"]
    resumed = resume(stopped, console)
    return {
        "weights": difference(weights_of(straight.folder), weights_of(single.folder)),
        "state": state,
        "resumed": difference(weights_of(straight.folder), weights_of(resumed.folder)),
    }


def main() -> None:
    """Print the differences of all cases."""
    import_keras()
    import tensorflow as tf

    logical = tf.config.LogicalDeviceConfiguration
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [logical(), logical()])
    data, folder = map(Path, sys.argv[1:])
    two = build_replicas(tiny_config(data, mode="from-scratch", training={"epochs": 1, "devices": 2}))
    found: dict[str, Any] = {name: compare(two, *case) for name, case in CASES.items()}
    second = build_replicas(tiny_config(data, mode="from-scratch", training={"epochs": 1, "devices": [1]}))
    found["the second alone"] = compare(second, *CASES["plain"])
    found["places"] = {"the second alone": list(second.strategy.extended.worker_devices)}
    print(json.dumps({**found, "dropout": dropout(two), "runs": runs(data, folder)}))


if __name__ == "__main__":
    main()
