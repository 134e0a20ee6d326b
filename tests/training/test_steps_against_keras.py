"""A training step equals Keras's `train_on_batch` for every optimizer, output, penalty and class weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.config.head_settings import DenseLayer, DropoutLayer, HeadConfig
from cnncli.config.training_settings import OptimizerConfig
from cnncli.networks.backend import import_keras
from cnncli.networks.head import build_head, output_units
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep

CHANNELS, IMAGES, BATCH, EPOCHS = 6, 20, 8, 2
"""Twenty images in eights: the third batch of each epoch has four."""


@dataclass(frozen=True)
class Problem:
    """Features with labels from unequal classes."""

    features: np.ndarray
    labels: np.ndarray
    n_classes: int

    @classmethod
    def draw(cls, n_classes: int) -> Problem:
        """Draw a problem from a seed; the first class has about half of the images."""
        random = np.random.default_rng(n_classes)
        labels = random.integers(0, n_classes, IMAGES) * (random.random(IMAGES) < 0.7)
        features = random.normal(size=(IMAGES, CHANNELS)) + labels[:, None] * np.linspace(-1, 1, CHANNELS)
        return cls(features.astype(np.float32), labels.astype(np.int64), n_classes)

    def batches(self) -> list[slice]:
        """Rows of each step."""
        return [slice(start, start + BATCH) for _ in range(EPOCHS) for start in range(0, IMAGES, BATCH)]


def _ours(
    problem: Problem, head: HeadConfig, optimizer: OptimizerConfig, smoothing: float = 0.0, balanced: bool = False
) -> tuple[TrainStep, list[np.ndarray]]:
    """Return the training step of a head, and its initial weights."""
    keras = import_keras()
    features = keras.Input((CHANNELS,))
    scores = build_head(features, head, problem.n_classes, seed=3)
    logits = scores if head.activation == "linear" else scores._keras_history.operation.input
    tail = keras.Model([features], logits)
    weights = balanced_weights(problem.labels, problem.n_classes) if balanced else None
    objective = Objective(head.activation, problem.n_classes, smoothing, weights)
    return TrainStep(tail, build_optimizer(optimizer), objective), [weight.numpy() for weight in tail.weights]


def _train(step: TrainStep, problem: Problem) -> None:
    for rows in problem.batches():
        step.train_epoch([([problem.features[rows]], problem.labels[rows])], iter([1.0]), "a step")


def _keras_model(problem: Problem, head: HeadConfig, start: list[np.ndarray]) -> Any:
    """Return the same head as a Keras user would write it, with the activation in the last layer."""
    layers, regularizers = import_keras().layers, import_keras().regularizers
    stack: list[Any] = [import_keras().Input((CHANNELS,))]
    for layer in head.layers:
        if isinstance(layer, DenseLayer):
            penalty = regularizers.L1L2(layer.l1, layer.l2)
            stack.append(layers.Dense(layer.dense, activation=layer.activation, kernel_regularizer=penalty))
    stack.append(
        layers.Dense(
            output_units(head, problem.n_classes),
            activation=head.activation,
            kernel_regularizer=regularizers.L1L2(head.l1, head.l2),
        )
    )
    model = import_keras().Sequential(stack)
    model.set_weights(start)
    return model


def _keras_loss(head: HeadConfig, smoothing: float) -> Any:
    losses = import_keras().losses
    if head.activation == "sigmoid":
        return losses.BinaryCrossentropy(label_smoothing=smoothing)
    return losses.CategoricalCrossentropy(label_smoothing=smoothing, from_logits=head.activation == "linear")


def _keras_targets(problem: Problem, head: HeadConfig) -> np.ndarray:
    if output_units(head, problem.n_classes) == 1:
        return problem.labels[:, None].astype(np.float32)
    return np.asarray(np.eye(problem.n_classes, dtype=np.float32)[problem.labels])


def _fit_keras(model: Any, problem: Problem, targets: np.ndarray, class_weight: dict[int, float] | None) -> None:
    for rows in problem.batches():
        model.train_on_batch(problem.features[rows], targets[rows], class_weight=class_weight)


def _same(step: TrainStep, model: Any, start: list[np.ndarray]) -> None:
    """Check that the weights agree and differ from the initial ones."""
    pairs = list(zip(step.tail.weights, model.weights, start, strict=True))
    assert any(np.abs(theirs.numpy() - before).max() > 1e-4 for _, theirs, before in pairs)
    for ours, theirs, _ in pairs:
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=2e-6)


HEADS = [
    pytest.param(HeadConfig(), 3, id="softmax"),
    pytest.param(HeadConfig(), 2, id="softmax of two"),
    pytest.param(HeadConfig(activation="sigmoid"), 2, id="one sigmoid unit for two"),
    pytest.param(HeadConfig(activation="sigmoid"), 3, id="three sigmoid units"),
    pytest.param(HeadConfig(activation="linear"), 3, id="linear"),
    pytest.param(HeadConfig(layers=(DenseLayer(dense=5, l1=0.02, l2=0.01),), l1=0.01, l2=0.1), 3, id="penalties"),
]


PLAIN = pytest.param(False, id="plain", marks=pytest.mark.slow)
WEIGHTED = pytest.param(True, id="smoothed and balanced")


@pytest.mark.parametrize("weighted", [PLAIN, WEIGHTED])
@pytest.mark.parametrize(("head", "n_classes"), HEADS)
def test_outputs_train_as_in_keras(head: HeadConfig, n_classes: int, weighted: bool) -> None:
    """Each kind of output trains as in Keras, with penalties, label smoothing and class weights."""
    problem, smoothing = Problem.draw(n_classes), 0.1 if weighted else 0.0
    step, start = _ours(problem, head, OptimizerConfig(name="sgd", learning_rate=0.05), smoothing, balanced=weighted)
    model = _keras_model(problem, head, start)
    model.compile(import_keras().optimizers.SGD(0.05), _keras_loss(head, smoothing))
    class_weight = dict(enumerate(balanced_weights(problem.labels, n_classes))) if weighted else None

    _train(step, problem)
    _fit_keras(model, problem, _keras_targets(problem, head), class_weight)

    _same(step, model, start)


@pytest.mark.parametrize(("head", "n_classes"), HEADS[:-1])
def test_scores_are_what_keras_evaluates(head: HeadConfig, n_classes: int) -> None:
    """Accuracy and unpenalized loss over batches of unequal size equal the results of Keras's `evaluate`."""
    problem = Problem.draw(n_classes)
    step, start = _ours(problem, head, OptimizerConfig())
    model = _keras_model(problem, head, start)
    metric = "binary_accuracy" if output_units(head, n_classes) == 1 else "categorical_accuracy"
    model.compile(loss=_keras_loss(head, 0.0), metrics=[metric])
    expected = model.evaluate(
        problem.features, _keras_targets(problem, head), batch_size=BATCH, verbose=0, return_dict=True
    )

    batches = [([problem.features[rows]], problem.labels[rows]) for rows in problem.batches()[:3]]
    found = step.evaluate(batches, "here")

    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["accuracy"] == pytest.approx(expected[metric])


QUICK = {"adam", "rmsprop", "adadelta", "schedulefreeadamw"}
"""Optimizers of courses, and the one whose slots begin as copies of the weights. SGD is tested with arguments."""
OPTIMIZER_SETTINGS = [
    *(pytest.param({"name": name}, marks=[] if name in QUICK else [pytest.mark.slow]) for name in OPTIMIZERS),
    {"name": "sgd", "momentum": 0.9},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "adam", "amsgrad": True, "beta_1": 0.8},
    {"name": "sgd", "global_clipnorm": 0.05},
    {"name": "adam", "gradient_accumulation_steps": 2},
    *(
        pytest.param(settings, marks=pytest.mark.slow)
        for settings in (
            {"name": "sgd", "weight_decay": 0.1},
            {"name": "sgd", "clipnorm": 0.05},
            {"name": "sgd", "clipvalue": 0.01},
            {"name": "sgd", "use_ema": True, "ema_overwrite_frequency": 2},
        )
    ),
]


@pytest.mark.parametrize("settings", OPTIMIZER_SETTINGS, ids=lambda settings: " ".join(map(str, settings.values())))
def test_optimizers_step_as_in_keras(settings: dict[str, Any]) -> None:
    """Every optimizer, and each argument that affects gradients or weights, steps as in Keras.

    Row 121: RMSprop. Row 122: Adam. Row 123: Adadelta, SGD with momentum.
    """
    problem, head = Problem.draw(3), HeadConfig()
    step, start = _ours(problem, head, OptimizerConfig(**settings, learning_rate=0.01))
    model = _keras_model(problem, head, start)
    arguments = {name: value for name, value in settings.items() if name != "name"}
    optimizer = getattr(import_keras().optimizers, OPTIMIZERS[settings["name"]].class_name)
    model.compile(optimizer(learning_rate=0.01, **arguments), "sparse_categorical_crossentropy")
    # Left to its first step, Keras 3.15 builds the slots while tracing: ScheduleFreeAdamW's, which begin as copies of
    # the weights, then begin as zeros, and the first step throws the weights away.
    model.optimizer.build(model.trainable_variables)

    _train(step, problem)
    _fit_keras(model, problem, problem.labels, None)

    _same(step, model, start)


def test_a_last_batch_of_one_counts_once() -> None:
    """Epoch metrics are means over images, whatever the size of the last batch."""
    problem = Problem.draw(3)
    step, _ = _ours(problem, HeadConfig(), OptimizerConfig())
    rows = [slice(0, IMAGES - 1), slice(IMAGES - 1, IMAGES)]
    whole = step.evaluate([([problem.features], problem.labels)], "here")
    parts = step.evaluate([([problem.features[part]], problem.labels[part]) for part in rows], "here")

    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert parts["accuracy"] == pytest.approx(whole["accuracy"])


def test_dropout_is_drawn_again_at_each_step_and_never_in_validation() -> None:
    """Two training steps from the same weights differ, and two validations do not."""
    problem, head = Problem.draw(3), HeadConfig(layers=(DropoutLayer(dropout=0.5),))
    step, _ = _ours(problem, head, OptimizerConfig(name="sgd", learning_rate=1e-30))
    batch = ([problem.features], problem.labels)
    steps = [step.train_epoch([batch], iter([1.0]), "a step").loss for _ in range(3)]

    assert len(set(steps)) == 3
    assert step.evaluate([batch], "here") == step.evaluate([batch], "here")
