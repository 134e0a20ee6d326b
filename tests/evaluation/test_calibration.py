"""Temperatures make confidences honest; thresholds keep their promises; the most doubtful images are unknown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.errors import RunError
from cnncli.evaluation.calibration import (
    FILE,
    NEVER,
    TEMPERATURES,
    Calibration,
    coverage_curve,
    fit_temperature,
    min_confidences_for,
    min_confidences_of_costs,
    uncertainty_of,
)
from cnncli.metrics.classification import label_probabilities, probabilities_of
from cnncli.metrics.reliability import measure_reliability


def draw(seed: int, n: int, units: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are too large by a factor, the temperature, and labels drawn from the honest ones."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (n, units))
    probabilities = probabilities_of(honest, "softmax")
    labels = (probabilities.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(0, units - 1)
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_drawn_labels_is_found(temperature: float) -> None:
    """If labels are drawn from logits divided by a temperature, that temperature is found."""
    logits, labels = draw(0, 4000, 4, temperature)

    assert fit_temperature(logits, labels, "softmax") == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "labels"])
def test_no_other_temperature_has_a_lower_loss(activation: str) -> None:
    """SciPy's minimizer finds no temperature with a lower cross-entropy."""
    from scipy.optimize import minimize_scalar

    logits, labels = draw(1, 500, 3, 2.5)
    if activation == "sigmoid":
        logits, labels = logits[:, :1] - 1, (labels == 0).astype(int)
    if activation == "labels":
        labels = (np.random.default_rng(2).random(logits.shape) < label_probabilities(logits / 3)).astype(np.uint8)
    kind = "softmax" if activation == "softmax" else "sigmoid"

    def loss(log_temperature: float) -> float:
        z = logits / math.exp(log_temperature)
        probabilities = label_probabilities(z) if activation == "labels" else probabilities_of(z, kind)
        return measure_reliability(probabilities, labels).log_loss

    best = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-8})
    assert loss(math.log(fit_temperature(logits, labels, kind))) <= best.fun + 1e-9


def test_the_calibration_error_falls_with_the_temperature() -> None:
    """On images that were not used to fit it, the temperature of an overconfident classifier lowers ECE and loss."""
    logits, labels = draw(3, 6000, 5, 4.0)
    temperature = fit_temperature(logits[:2000], labels[:2000], "softmax")
    before, after = (
        measure_reliability(probabilities_of(logits[2000:] / t, "softmax"), labels[2000:]) for t in (1.0, temperature)
    )

    assert before.calibration_error > 0.15
    assert after.calibration_error < 0.03
    assert after.log_loss < before.log_loss


@pytest.mark.parametrize(("n", "is_kept"), [(30, False), (3000, True)])
def test_few_images_leave_a_slightly_wrong_temperature_at_1(n: int, is_kept: bool) -> None:
    """Logits that are a little too large are only scaled if there are enough images to tell."""
    assert (fit_temperature(*draw(5, n, 4, 1.2), "softmax") != 1.0) == is_kept


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_few_wrong_images_leave_the_temperature_at_1(activation: str) -> None:
    """Four images of which three are wrong, with small logits, say nothing about the temperature."""
    logits = np.full((4, 1), 0.5) if activation == "sigmoid" else np.tile([0.0, 0.5], (4, 1))

    assert fit_temperature(logits, np.array([0, 0, 0, 1]), activation) == 1.0


def test_honest_logits_rarely_get_a_temperature() -> None:
    """Of 200 samples of honest logits, about 5 % get a temperature other than 1, as the test's level says."""
    assert sum(fit_temperature(*draw(seed, 300, 3), "softmax") != 1.0 for seed in range(200)) <= 20


def test_images_that_do_not_determine_a_temperature_leave_it_at_1() -> None:
    """If every validation image is right, any lower temperature would be better, so it is 1."""
    logits = np.eye(3)[np.arange(30) % 3] * 5

    assert fit_temperature(logits, np.arange(30) % 3, "softmax") == 1.0


def test_worthless_scores_have_the_highest_temperature() -> None:
    """If the scores say nothing about the labels, the confidence is as low as a temperature can make it."""
    logits, _ = draw(0, 400, 3, 5.0)

    assert fit_temperature(logits, np.argsort(logits, axis=1)[:, 0], "softmax") == pytest.approx(TEMPERATURES[1])


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_the_stated_fraction_of_the_validation_images_is_answered(seed: int, coverage: float) -> None:
    """Up to one image, the fraction of the validation images that are answered is the stated coverage."""
    logits, labels = draw(seed, 200, 3)
    distances = np.random.default_rng(seed).random(200)
    found = Calibration.fit(logits, labels, "softmax", distances, coverage)
    doubts = found.doubt(logits, "softmax", distances)
    unknown = found.are_unknown(doubts, probabilities_of(logits, "softmax"))

    assert np.mean(~unknown) == pytest.approx(coverage, abs=0.011)


def test_distant_and_uncertain_images_are_doubtful() -> None:
    """Doubt is that about the distance or that about the scores, whichever is larger."""
    logits, labels = draw(0, 300, 3)
    found = Calibration.fit(logits, labels, "softmax", np.linspace(0, 1, 300), 0.95)
    sure, unsure = np.array([[9.0, 0, 0]]), np.array([[0.1, 0, 0]])
    near, far = np.array([0.1]), np.array([0.9])
    doubts = [float(found.doubt(z, "softmax", d)[0]) for z, d in ((sure, near), (sure, far), (unsure, near))]  # type: ignore[index]

    assert doubts[0] < min(doubts[1:])
    assert uncertainty_of(unsure, "softmax") > uncertainty_of(sure, "softmax")


def test_uncertainty_orders_images_as_their_confidence_does() -> None:
    """With two classes, the order is that of the confidence, also where that saturates."""
    logits = np.random.default_rng(0).normal(0, 3, (100, 2))
    confidence = probabilities_of(logits, "softmax").max(axis=1)
    single = logits[:, 1:] - logits[:, :1]

    np.testing.assert_array_equal(np.argsort(-confidence), np.argsort(uncertainty_of(logits, "softmax")))
    np.testing.assert_array_equal(np.argsort(-confidence), np.argsort(uncertainty_of(single, "sigmoid")))
    assert uncertainty_of(np.array([[800.0, 0]]), "softmax") < uncertainty_of(np.array([[700.0, 0]]), "softmax")


def test_a_run_without_coverage_answers_every_image() -> None:
    """Without a coverage, or at 1, no image is unknown, but doubt is still measured for other coverages."""
    logits, labels = draw(0, 100, 3)
    found = Calibration.fit(logits, labels, "softmax", None, None)
    doubts, probabilities = found.doubt(logits, "softmax", None), probabilities_of(logits, "softmax")

    assert not found.abstains
    assert not found.are_unknown(doubts, probabilities, coverage=1.0).any()
    assert found.are_unknown(doubts, probabilities, coverage=0.5).sum() == 50


def test_several_labels_without_a_frozen_network_have_no_doubt() -> None:
    """With several labels, only the distance measures doubt."""
    logits, labels = np.zeros((20, 3)), np.zeros((20, 3), np.uint8)
    found = Calibration.fit(logits, labels, "sigmoid", None, 0.95)

    assert found.doubt(logits, "sigmoid", None) is None
    assert not found.abstains
    assert Calibration.fit(logits, labels, "sigmoid", np.arange(20.0), 0.95).abstains


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 0.99))
def test_answers_have_the_wanted_precision(seed: int, precision: float) -> None:
    """Of the images of each class that are answered, at least the wanted fraction is right; no lower limit does it."""
    logits, labels = draw(seed, 150, 3)
    probabilities = probabilities_of(logits, "softmax")
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    limits = min_confidences_for(probabilities, labels, precision)

    for place, limit in enumerate(limits):
        of_class = predicted == place
        answered = of_class & (confidence >= limit)
        if answered.any():
            assert np.mean(labels[answered] == place) >= precision
        else:
            assert limit == NEVER or not of_class.any()
        for lower in confidence[of_class & (confidence < limit)]:
            assert np.mean(labels[of_class & (confidence >= lower)] == place) < precision


def test_an_expensive_mistake_needs_a_high_confidence() -> None:
    """At the minimum confidence, a wrong answer costs as much as `unknown`, on average."""
    (limit, none) = min_confidences_of_costs({"mushroom": 50}, ("mushroom", "stone"))

    assert (1 - limit) * 50 == pytest.approx(1)
    assert none == 0.0


def test_images_below_the_confidence_of_their_class_are_unknown() -> None:
    """The minimum confidence of the predicted class applies in addition to the coverage."""
    found = Calibration(1.0, None, None, None, (), min_confidences=(0.9, 0.0))
    unknown = found.are_unknown(None, np.array([[0.8, 0.2], [0.95, 0.05], [0.4, 0.6]]))

    assert found.abstains
    assert unknown.tolist() == [True, False, False]


def test_accuracy_over_coverage_computed_by_hand() -> None:
    """The least doubtful images are answered first; the last point is the accuracy of all images."""
    curve = coverage_curve(np.array([0.4, 0.1, 0.3, 0.2]), np.array([False, True, True, False]))

    assert [(one.coverage, one.accuracy) for one in curve] == [
        (0.25, 1.0),
        (0.5, 0.5),
        (0.75, pytest.approx(2 / 3)),
        (1.0, 0.5),
    ]


def saved(folder: Path) -> Calibration:
    """Save a calibration in a folder."""
    logits, labels = draw(0, 100, 3, 2.0)
    found = Calibration.fit(logits, labels, "softmax", np.linspace(0, 1, 100), 0.9)
    found.save(folder)
    return found


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Nothing is lost, and a folder without the file has no calibration."""
    assert Calibration.load(tmp_path, 3) is None
    found = saved(tmp_path)

    assert Calibration.load(tmp_path, 3) == found


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "1"},
        {"coverage": 2},
        {"distance": {"mean": 0, "deviation": 0}},
        {"distance": {"mean": float("nan"), "deviation": 1}},
        {"doubts": [1, 0]},
        {"doubts": [1]},
        {"min_confidences": [0.5]},
        {"min_confidences": [0.5, 0.5, -1]},
        {"uncertainty": []},
    ],
    ids=str,
)
def test_implausible_values_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    """A file with values that no calibration has is reported as damaged."""
    saved(tmp_path)
    facts = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**facts, **change}))

    with pytest.raises(RunError) as caught:
        Calibration.load(tmp_path, 3)
    assert caught.value.code == "run-file-damaged"
