"""Cross-validation equals scikit-learn's, keeps groups together, and never evaluates an image by a head that saw it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cnncli.errors import DataError
from cnncli.evaluation.cross_validation import CrossValidation, Pool, cross_validate
from cnncli.metrics.classification import wilson_interval
from tests.evaluation.pools import draw_pool


@pytest.fixture(scope="module")
def pool() -> Pool:
    """A pool of 200 images of three classes that overlap."""
    return draw_pool(np.random.default_rng(0).integers(0, 3, 200))


@pytest.fixture(scope="module")
def found(pool: Pool) -> CrossValidation:
    """Its cross-validation with five folds and three seeds."""
    return cross_validate(pool, 5, [0, 1, 2])


def _oracle_probabilities(pool: Pool, result: CrossValidation) -> NDArray[np.float64]:
    """Return scikit-learn's probabilities of held-out images, with the folds and strengths of the first seed."""
    from tests.support.scaling import logistic_regression

    features, repeat = pool.views[0].astype(np.float64), result.repeats[0]
    probabilities = np.empty((len(features), len(pool.classes)))
    for fold, one in enumerate(repeat.folds):
        held_out = repeat.fold_of == fold
        oracle = logistic_regression(2 * one.l2 * one.n_train).fit(features[~held_out], pool.labels[~held_out])
        probabilities[held_out] = oracle.predict_proba(features[held_out])
    return probabilities


def test_the_results_of_the_folds_are_scikit_learns(pool: Pool, found: CrossValidation) -> None:
    """Accuracy and loss of each fold and of all images equal those of scikit-learn's pipeline and metrics."""
    from sklearn.metrics import accuracy_score, log_loss

    probabilities, repeat = _oracle_probabilities(pool, found), found.repeats[0]
    for fold, result in enumerate(repeat.folds):
        held_out = repeat.fold_of == fold
        labels, scores = pool.labels[held_out], probabilities[held_out]
        assert result.accuracy == pytest.approx(accuracy_score(labels, scores.argmax(axis=1)))
        assert result.loss == pytest.approx(log_loss(labels, scores, labels=range(3)), abs=1e-3)
    assert repeat.metrics.top1 == pytest.approx(accuracy_score(pool.labels, probabilities.argmax(axis=1)))
    assert repeat.metrics.loss == pytest.approx(log_loss(pool.labels, probabilities), abs=1e-3)


def test_features_that_say_nothing_give_the_accuracy_of_chance() -> None:
    """With features drawn without regard to the labels, neither fit nor choice of the strength leaks the labels."""
    pool = draw_pool(np.random.default_rng(1).integers(0, 2, 400), separation=0.0)
    accuracy = cross_validate(pool, 5, range(3)).accuracy

    assert accuracy < 0.5 + 3 * np.sqrt(0.25 / 400)


def test_every_image_is_evaluated_once_per_seed(pool: Pool, found: CrossValidation) -> None:
    """The folds are a partition, and a head without a fold is solved on all other images."""
    for repeat in found.repeats:
        assert sum(fold.n for fold in repeat.folds) == repeat.metrics.n == 200
        assert all(fold.n + fold.n_train == 200 for fold in repeat.folds)
        n_correct = sum(round(fold.accuracy * fold.n) for fold in repeat.folds)
        assert n_correct == round(repeat.metrics.top1 * 200)
    assert not np.array_equal(found.repeats[0].fold_of, found.repeats[1].fold_of)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15)), min_size=30, max_size=80),
    st.integers(3, 6),
    st.integers(0, 5),
)
def test_folds_never_split_a_group(images: list[tuple[int, int]], n_folds: int, seed: int) -> None:
    """All images of a group, and copies of an image, are in one fold, so that no head has seen a relative."""
    labels = np.array([label for label, _ in images])
    pool = draw_pool(labels, [f"patient {group}" for _, group in images])
    copies = (*pool.images, *pool.images[:5])
    pool = replace(pool, images=copies, labels=np.concatenate([labels, labels[:5]]))
    if len(set(pool.units)) < n_folds:
        return
    folds = pool.folds(n_folds, seed)

    for key in ("group", "digest"):
        members: dict[str, set[int]] = {}
        for image, fold in zip(copies, folds.tolist(), strict=True):
            members.setdefault(getattr(image, key), set()).add(fold)
        assert all(len(one) == 1 for one in members.values())


def test_the_interval_is_wilsons_and_that_over_seeds_students(found: CrossValidation) -> None:
    """Images give Wilson's interval of the mean accuracy, seeds the t-interval of SciPy; a single seed gives none."""
    from scipy import stats

    accuracies = [repeat.metrics.top1 for repeat in found.repeats]
    expected = stats.t.interval(0.95, 2, np.mean(accuracies), stats.sem(accuracies))

    assert found.accuracy == pytest.approx(np.mean(accuracies))
    assert found.ci95 == wilson_interval(round(found.accuracy * 200), 200)
    assert found.seeds_ci95 == pytest.approx(expected, abs=1e-3)
    assert replace(found, repeats=found.repeats[:1]).seeds_ci95 is None


def test_the_results_of_the_classes_are_scikit_learns(pool: Pool, found: CrossValidation) -> None:
    """Precision, recall and F1 of each class are the means of scikit-learn's over the seeds."""
    from sklearn.metrics import precision_recall_fscore_support

    tables = [
        precision_recall_fscore_support(pool.labels, repeat.logits.argmax(axis=1), zero_division=0)
        for repeat in found.repeats
    ]
    expected = np.mean([table[:3] for table in tables], axis=0)

    for place, results in enumerate(found.per_class().values()):
        assert [results[name] for name in ("precision", "recall", "f1")] == pytest.approx(list(expected[:, place]))


def test_predictions_have_a_row_per_seed_and_image(pool: Pool, found: CrossValidation) -> None:
    """The CSV has the prediction of each image with its confidence by the head that has not seen it."""
    rows = list(csv.DictReader(io.StringIO(found.predictions_text())))
    first = [row for row in rows if row["seed"] == "0"]
    n_correct = sum(row["label"] == row["prediction"] for row in first)

    assert len(rows) == 3 * 200
    assert [row["path"] for row in first] == [image.file for image in pool.images]
    assert n_correct == round(found.repeats[0].metrics.top1 * 200)
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows)


def test_several_labels_are_cross_validated() -> None:
    """With several labels per image, predictions name all labels, and the confidence is that of the least certain."""
    labels = (np.random.default_rng(2).random((150, 3)) < 0.4).astype(np.uint8)
    head = {"head": {"activation": "sigmoid"}, "data": {"path": "/data", "labels": {"separator": ";"}}}
    found = cross_validate(draw_pool(labels, separation=4.0, **head), 4, [0])
    rows = list(csv.DictReader(io.StringIO(found.predictions_text())))

    assert found.accuracy > 0.3
    assert {row["labels"] for row in rows} <= {row["predictions"] for row in rows} | {row["labels"] for row in rows}
    assert np.mean([row["labels"] == row["predictions"] for row in rows]) == pytest.approx(found.accuracy)
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in rows)


def test_folds_need_as_many_groups() -> None:
    """Fewer groups than folds are refused with both numbers."""
    pool = draw_pool(np.arange(40) % 2, [f"patient {number % 4}" for number in range(40)])

    with pytest.raises(DataError) as caught:
        cross_validate(pool, 5, [0])
    assert (caught.value.code, caught.value.facts["received"]) == ("data-too-few-for-folds", 4)
