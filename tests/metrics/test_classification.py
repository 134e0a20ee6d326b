"""Metrics agree with scikit-learn and published tables, and obey their laws."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from cnncli.errors import DataError
from cnncli.metrics.classification import Metrics, evaluate_logits, wilson_interval
from cnncli.metrics.table import METRICS

CLASSES = ("bird", "cat", "dog", "fish", "goat", "horse", "ibis")


def scores(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return random probabilities without ties, and labels, some of which are predicted correctly."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), n)
    labels = np.where(random.random(n) < 0.6, probabilities.argmax(1), random.integers(0, classes, n))
    return probabilities, labels


def evaluate(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Metrics:
    """Evaluate a softmax head that returns these probabilities."""
    return evaluate_logits(np.log(probabilities), labels, classes, "softmax")


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_metrics_equal_scikit_learns(classes: int) -> None:
    """Loss, accuracy, confusion matrix and per-class metrics equal those of scikit-learn."""
    from sklearn import metrics as oracle

    probabilities, labels = scores(500, classes)
    predicted = probabilities.argmax(1)
    ours = evaluate(probabilities, labels, CLASSES[:classes])
    precision, recall, f1, n = oracle.precision_recall_fscore_support(labels, predicted, zero_division=0)

    assert ours.n == 500
    assert ours.loss == pytest.approx(oracle.log_loss(labels, probabilities), rel=1e-12)
    assert ours.top1 == pytest.approx(oracle.accuracy_score(labels, predicted), rel=1e-12)
    np.testing.assert_array_equal(ours.confusion_matrix, oracle.confusion_matrix(labels, predicted))
    np.testing.assert_allclose([one.precision for one in ours.per_class], precision, rtol=1e-12)
    np.testing.assert_allclose([one.recall for one in ours.per_class], recall, rtol=1e-12)
    np.testing.assert_allclose([one.f1 for one in ours.per_class], f1, rtol=1e-12)
    assert [one.n for one in ours.per_class] == n.tolist()


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_averages_and_scores_equal_scikit_learns(classes: int, activation: str) -> None:
    """Averages over the classes, areas and scores of the probabilities equal those of scikit-learn."""
    from sklearn import metrics as oracle

    probabilities, labels = scores(500, classes)
    logits = np.log(probabilities)
    if activation == "sigmoid":
        logits = logits[:, 1:] - logits[:, :1] if classes == 2 else logits - np.log(1 - probabilities)
    ours = evaluate_logits(logits, labels, CLASSES[:classes], activation).evaluated
    predicted, one_hot = probabilities.argmax(1), np.eye(classes)[labels]
    given_brier = probabilities[:, 1] if classes == 2 else probabilities
    expected = {
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, predicted),
        "macro_f1": oracle.f1_score(labels, predicted, average="macro"),
        "mean_average_precision": oracle.average_precision_score(one_hot, probabilities),
        "roc_auc": oracle.roc_auc_score(one_hot, probabilities),
        "log_loss": oracle.log_loss(labels, probabilities),
        "brier_score": oracle.brier_score_loss(labels, given_brier),
        **{f"top{k}": oracle.top_k_accuracy_score(labels, probabilities, k=k) for k in (3, 5) if classes > k},
    }

    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert set(ours) == {*expected, "calibration_error"}


def test_the_average_precision_of_each_class_equals_scikit_learns() -> None:
    """Each class has its average precision against all others."""
    from sklearn.metrics import average_precision_score

    probabilities, labels = scores(200, 4)
    ours = evaluate(probabilities, labels, CLASSES[:4])
    expected = [average_precision_score(labels == place, probabilities[:, place]) for place in range(4)]

    assert [one.average_precision for one in ours.per_class] == pytest.approx(expected)  # type: ignore[union-attr]


def test_averages_leave_out_classes_without_images() -> None:
    """A class without images and predictions does not lower an average, as in scikit-learn."""
    from sklearn import metrics as oracle

    probabilities, labels = scores(60, 3)
    probabilities = np.insert(probabilities, 3, 1e-9, axis=1)
    ours = evaluate(probabilities, labels, CLASSES[:4]).evaluated
    predicted = probabilities.argmax(1)

    assert ours["macro_f1"] == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    assert ours["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(labels, predicted))


@pytest.mark.parametrize(
    ("classes", "names"), [(2, []), (3, []), (5, ["top3"]), (6, ["top3", "top5"])], ids=lambda one: str(one)
)
def test_top_k_is_reported_above_k_classes(classes: int, names: list[str]) -> None:
    """Top-k accuracy is reported only for more than k classes; otherwise it is always 1."""
    ours = evaluate(*scores(20, classes), CLASSES[:classes])

    assert [name for name in ours.summary() if name in ("top3", "top5")] == names
    assert (ours.top5 is not None) == ("top5" in names)


def test_the_most_confused_pairs_come_first() -> None:
    """Pairs of classes are sorted by the number of images, then by their fraction of the true class."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = np.array([0, 1, 1, 1, 0, 0, 2, 2, 2])
    ours = evaluate(np.full((9, 3), 0.1) + 0.7 * np.eye(3)[predicted], labels, ["a", "b", "c"])

    assert [(one.label, one.prediction, one.n, one.fraction) for one in ours.confused_pairs] == [
        ("a", "b", 2, pytest.approx(2 / 3)),
        ("b", "a", 1, 0.5),
        ("c", "a", 1, 0.25),
    ]


def test_a_class_without_images_has_zeros_and_n_0() -> None:
    """A class without images has an empty row in the confusion matrix, and zeros as in scikit-learn."""
    from sklearn.metrics import precision_recall_fscore_support

    probabilities, labels = scores(60, 3)
    labels = np.where(labels == 1, 0, labels)
    ours = evaluate(probabilities, labels, ["a", "b", "c"])
    theirs = precision_recall_fscore_support(labels, probabilities.argmax(1), labels=[0, 1, 2], zero_division=0)

    assert ours.confusion_matrix[1] == (0, 0, 0)
    zeros = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0, "average_precision": None}
    assert ours.to_dict()["per_class"]["b"] == zeros
    np.testing.assert_allclose([one.f1 for one in ours.per_class], theirs[2], rtol=1e-12)


def test_a_class_that_is_never_predicted_has_precision_0() -> None:
    """A class that is never predicted has a precision of 0, without an error or a warning."""
    ours = evaluate(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ["a", "b"])

    assert ours.per_class[1].precision == ours.per_class[1].recall == ours.per_class[1].f1 == 0.0


def test_rows_are_true_and_columns_are_predicted() -> None:
    """A cat that is predicted as a dog counts in the row of cats and the column of dogs."""
    ours = evaluate(np.array([[0.2, 0.8], [0.3, 0.7]]), np.array([0, 1]), ["cat", "dog"])

    assert ours.confusion_matrix == ((0, 1), (0, 1))


def test_ties_go_to_the_class_that_comes_first() -> None:
    """Of classes with equal probabilities, the first one is predicted and ranks first."""
    even = np.full((7, 7), 1 / 7)
    ours = evaluate(even, np.arange(7), CLASSES)

    assert [row[0] for row in ours.confusion_matrix] == [1] * 7
    assert (ours.top1, ours.top5) == (1 / 7, 5 / 7)


def test_the_keys_of_the_dictionary() -> None:
    """The dictionary has exactly these keys, and values of plain Python types."""
    document = evaluate(*scores(20, 2), ["cat", "dog"]).to_dict()

    values = ["top1" if name == "accuracy" else name for name in METRICS]
    results = ["balanced_accuracy", "mean_average_precision", "macro_f1", "roc_auc"]
    scores_of = ["log_loss", "brier_score", "calibration_error"]
    tables = ["classes", "confusion_matrix", "confused_pairs", "per_class", "reliability"]
    assert list(document) == ["n", *values, "top1_ci95", *results, *scores_of, *tables]
    assert list(document["per_class"]) == ["cat", "dog"]
    assert list(document["per_class"]["cat"]) == ["precision", "recall", "f1", "n", "average_precision"]
    assert json.loads(json.dumps(document)) == document


def test_a_document_gives_the_metrics_again() -> None:
    """Metrics that are read from their document equal the original ones; earlier versions wrote fewer results."""
    ours = evaluate(*scores(30, 7), CLASSES)
    assert Metrics.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours

    old = {name: ours.to_dict()[name] for name in ("n", "loss", "top1", "top1_ci95", "top5", "classes")}
    per_class = {name: {"precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 3} for name in CLASSES}
    read = Metrics.from_dict({**old, "confusion_matrix": [[3] * 7] * 7, "per_class": per_class})
    assert (read.top5, read.evaluated, read.reliability) == (ours.top5, {"top5": ours.top5}, ())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_numbers_are_an_error(bad: float) -> None:
    """NaN scores raise an error instead of counting as right or wrong."""
    logits, labels = scores(10, 2)
    logits[3, 1] = bad

    with pytest.raises(DataError) as caught:
        evaluate_logits(logits, labels, ["a", "b"], "softmax")

    assert (caught.value.code, caught.value.facts["received"]) == ("metrics-not-finite", 1)


@given(st.data(), st.integers(2, 8), st.integers(1, 30))
def test_metrics_agree_with_each_other(data: st.DataObject, classes: int, n: int) -> None:
    """The metrics are consistent with each other, also with ties."""
    elements = st.floats(0, 1, width=16)
    logits = data.draw(st_numpy.arrays(np.float64, (n, classes), elements=elements))
    labels = data.draw(st_numpy.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    ours = evaluate_logits(logits, labels, [f"c{k}" for k in range(classes)], "softmax")
    matrix = np.array(ours.confusion_matrix)

    assert matrix.sum() == n == ours.n
    assert matrix.sum(1).tolist() == [one.n for one in ours.per_class]
    assert ours.top1 == np.trace(matrix) / n
    assert ours.top1_ci95[0] <= ours.top1 <= ours.top1_ci95[1]
    assert ours.loss >= 0
    assert sum(one.recall * one.n for one in ours.per_class) == pytest.approx(ours.top1 * n)
    if ours.top5 is not None:
        assert ours.top1 <= ours.top5 <= 1


@given(st.permutations(range(5)), st.integers(0, 1000))
def test_metrics_follow_the_names_of_the_classes(order: list[int], seed: int) -> None:
    """Reordering the classes does not change the metrics of a class name."""
    probabilities, labels = scores(40, 5, seed)
    names = CLASSES[:5]
    there = evaluate(probabilities, labels, names)
    back = np.argsort(order)
    here = evaluate(probabilities[:, order], back[labels], [names[k] for k in order])

    for name in names:
        assert here.to_dict()["per_class"][name] == pytest.approx(there.to_dict()["per_class"][name], rel=1e-12)
    assert (here.top1, here.loss) == (there.top1, pytest.approx(there.loss, rel=1e-12))


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_equals_the_published_one(k: int, n: int, low: float, high: float) -> None:
    """The interval equals that in Newcombe (1998), table I, method 3."""
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_the_ends_of_the_interval_solve_the_score_equation(fraction: tuple[int, int], confidence: float) -> None:
    """At both ends of the interval, the fraction is exactly z standard errors away, which defines Wilson's interval."""
    from statistics import NormalDist

    (k, n), z = fraction, NormalDist().inv_cdf(0.5 + confidence / 2)

    for end in wilson_interval(k, n, confidence):
        assert (k / n - end) ** 2 == pytest.approx(z * z * end * (1 - end) / n, abs=1e-12)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_symmetric_and_holds_the_fraction(fraction: tuple[int, int]) -> None:
    """The interval contains the fraction, stays in 0–1, and mirrors the interval of the errors."""
    k, n = fraction
    low, high = wilson_interval(k, n)

    assert 0 <= low <= k / n <= high <= 1
    assert wilson_interval(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_more_images_give_a_narrower_interval(fraction: tuple[int, int]) -> None:
    """Ten times as many images with the same fraction give a narrower interval."""
    k, n = fraction
    narrow, wide = wilson_interval(10 * k, 10 * n), wilson_interval(k, n)

    assert narrow[1] - narrow[0] < wide[1] - wide[0]
