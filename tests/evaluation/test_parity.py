"""Differences between reported and found results are measured and judged by the precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncli.errors import EXIT_MINIMUM_MISSED, ParityError
from cnncli.evaluation.parity import (
    SAME,
    TOLERANCES,
    Reported,
    compare,
    compare_training,
    in_reported_order,
    logits_of_scores,
    require_parity,
)
from cnncli.metrics.classification import evaluate_logits, probabilities_of

CLASSES = ("cat", "dog", "owl")


def report(n: int = 50) -> Reported:
    """Return reported probabilities of three classes."""
    random = np.random.default_rng(0)
    paths = tuple(f"{number}.jpg" for number in range(n))
    return Reported(paths, random.integers(0, 3, n), CLASSES, random.dirichlet((0.3, 0.3, 0.3), n))


def test_the_same_probabilities_agree() -> None:
    """Equal probabilities have no difference, and the accuracy of the reported ones."""
    reported = report()
    found = compare("engine", reported, reported.probabilities.copy(), SAME)

    assert (found.holds, found.largest, found.n_changed) == (True, 0.0, 0)
    assert found.accuracy == np.mean(reported.probabilities.argmax(axis=1) == reported.labels)
    require_parity([found])


@pytest.mark.parametrize("precision", TOLERANCES)
def test_swapped_classes_never_agree(precision: str) -> None:
    """No tolerance accepts that two classes change their places."""
    reported = report()
    found = compare("predict", reported, reported.probabilities[:, [1, 0, 2]], TOLERANCES[precision])

    assert not found.holds
    with pytest.raises(ParityError) as caught:
        require_parity([found])
    assert (caught.value.exit_code, caught.value.code) == (EXIT_MINIMUM_MISSED, "metrics-not-reproduced")
    assert caught.value.facts["where"] == "predict"


def test_the_worst_image_is_named() -> None:
    """The message names the image with the largest difference."""
    reported = report()
    found = reported.probabilities.copy()
    found[7] = found[7][::-1]
    agreement = compare("keras", reported, found, TOLERANCES["float32"])

    assert (agreement.worst, agreement.holds) == ("7.jpg", False)
    assert agreement.problem.facts["path"] == "7.jpg"


def test_low_precision_may_move_single_images_but_not_most() -> None:
    """In bfloat16, an image between two classes may move far; a small shift of all images is refused."""
    reported = report(200)
    one, all_of_them = reported.probabilities.copy(), np.roll(reported.probabilities, 1, axis=1)
    one[3] = one[3] * 0.75 + 0.25 * np.roll(one[3], 1)
    shifted = 0.8 * reported.probabilities + 0.2 * all_of_them

    assert compare("keras", reported, one, TOLERANCES["bfloat16"]).holds
    assert not compare("keras", reported, one, TOLERANCES["float32"]).holds
    assert not compare("keras", reported, shifted, TOLERANCES["bfloat16"]).holds


def test_a_sharp_head_may_magnify_rounding(caplog: pytest.LogCaptureFixture) -> None:
    """If logits agree but for rounding, probabilities that do not are accepted in low precision, with a warning."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 60, (64, 120))
    rounded = logits * (1 + random.normal(0, 0.02, logits.shape))
    expected, found = (probabilities_of(one, "softmax") for one in (logits, rounded))
    reported = Reported(tuple(map(str, range(64))), random.integers(0, 120, 64), tuple(map(str, range(120))), expected)
    agreement = compare("keras", reported, found, TOLERANCES["bfloat16"])
    require_parity([agreement])

    assert (agreement.is_close, agreement.holds) == (False, True)
    assert [record.msg.code for record in caplog.records] == ["metrics-precision-shows"]
    assert not compare("keras", reported, found, TOLERANCES["float32"]).holds
    assert not compare("keras", reported, expected[:, ::-1], TOLERANCES["int8"]).holds


def test_nan_is_never_accepted() -> None:
    """Probabilities that are not numbers are a mismatch."""
    reported = report()
    found = reported.probabilities.copy()
    found[4, 0] = np.nan

    assert not compare("keras", reported, found, TOLERANCES["int8"]).holds


def test_classes_are_matched_by_name() -> None:
    """Columns in another order are the same result if their names are, too; other names are a mismatch."""
    reported = report()
    found = in_reported_order(reported.probabilities[:, ::-1], CLASSES[::-1], reported, "predict")
    np.testing.assert_array_equal(found, reported.probabilities)

    with pytest.raises(ParityError) as caught:
        in_reported_order(found, ("cat", "dog", "fox"), reported, "predict")
    assert caught.value.code == "metrics-not-reproduced"


@pytest.mark.parametrize(("activation", "units"), [("softmax", 3), ("sigmoid", 1), ("sigmoid", 3), ("linear", 3)])
def test_scores_of_a_model_give_the_probabilities_of_its_logits(activation: str, units: int) -> None:
    """The scores of every kind of head lead back to the class probabilities."""
    logits = np.random.default_rng(0).normal(0, 3, (20, units))
    scores = logits
    if activation == "sigmoid":
        scores = 1 / (1 + np.exp(-logits))
    if activation == "softmax":
        scores = probabilities_of(logits, "softmax")
    found = probabilities_of(logits_of_scores(scores, activation), activation)

    np.testing.assert_allclose(found, probabilities_of(logits, activation), atol=1e-9)


def test_the_saved_classifier_must_reach_the_metrics_of_training() -> None:
    """A validation loss or accuracy that differs from training is reported; small differences of sums are not."""
    logits, labels = np.random.default_rng(0).normal(0, 2, (100, 3)), np.arange(100) % 3
    metrics = evaluate_logits(logits, labels, CLASSES, "softmax")
    validated = {"loss": metrics.loss + 1e-4, "accuracy": metrics.top1}

    assert compare_training(validated, metrics, "float32") is None
    assert compare_training({}, metrics, "float32") is None
    for name, change in (("loss", 0.1), ("accuracy", 0.05)):
        problem = compare_training({**validated, name: validated[name] + change}, metrics, "float32")
        assert problem is not None
        assert (problem.facts["where"], problem.facts["key"]) == ("training", name)
    assert compare_training({**validated, "loss": float("nan")}, metrics, "int8") is not None


def test_labels_are_compared_decision_by_decision() -> None:
    """With several labels per image, each label counts."""
    reported = report()
    labels = np.random.default_rng(1).integers(0, 2, (50, 3)).astype(np.uint8)
    several = replace(reported, labels=labels)

    assert compare("predict", several, reported.probabilities, SAME).holds
    assert not compare("predict", several, 1 - reported.probabilities, TOLERANCES["int8"]).holds
