"""A head that is solved exactly is scikit-learn's, and the minimum of the objective of gradient training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.metrics.classification import label_probabilities, probabilities_of
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.solvers import exact
from cnncli.training.solvers.exact import STRENGTHS, solve_folds, solve_head
from cnncli.training.solvers.problem import HeadProblem, LinearHead
from cnncli.training.solvers.rows import scales_of

N, WIDTH = 240, 12


def _features(n: int = N, width: int = WIDTH, n_classes: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw overlapping classes, with features of different size."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, n_classes, n)
    centers = rng.normal(size=(n_classes, width))
    features = (centers[labels] + 1.5 * rng.normal(size=(n, width))) * np.logspace(-0.4, 0.4, width) + 3
    return features.astype(np.float32), labels


def _problem(features: NDArray[np.float32], labels: NDArray[Any], n_classes: int, **settings: Any) -> HeadProblem:
    return HeadProblem(features, labels, np.arange(len(labels)) % 5, n_classes, **settings)


def _logits(head: LinearHead, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return features.astype(np.float64) @ head.kernel + head.bias


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("width", [WIDTH, N + 40])
def test_a_softmax_head_is_scikit_learns_logistic_regression(n_classes: int, width: int) -> None:
    """With the chosen strength on scaled features, the probabilities are those of scikit-learn, wide or not."""
    from tests.support.scaling import logistic_regression

    features, labels = _features(width=width, n_classes=n_classes)
    head = solve_head(_problem(features, labels, n_classes))
    # scikit-learn's two classes have one vector of weights, the difference of Keras's two.
    strength = head.solution.l2 * (1 if n_classes == 2 else 2) * N
    exact_features = features.astype(np.float64)
    oracle = logistic_regression(strength).fit(exact_features, labels)

    found = probabilities_of(_logits(head, features), "softmax")
    np.testing.assert_allclose(found, oracle.predict_proba(exact_features), atol=2e-5)


def test_many_features_that_hardly_vary_do_not_hide_the_others() -> None:
    """Of images that were not seen, more are recognized than by scikit-learn on standardized features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _features(4 * N)
    noise = np.random.default_rng(2).normal(0, 0.05, (4 * N, 300))
    features = np.hstack([features, noise.astype(np.float32)])
    head = solve_head(_problem(features[:N], labels[:N], 3))
    oracles = [
        make_pipeline(StandardScaler(), LogisticRegression(C=10.0**n)).fit(features[:N], labels[:N])
        for n in range(-5, 1)
    ]

    best = max(oracle.score(features[N:], labels[N:]) for oracle in oracles)
    assert (_logits(head, features[N:]).argmax(axis=1) == labels[N:]).mean() > best + 0.03


def test_a_feature_that_hardly_varies_but_tells_the_class_is_used() -> None:
    """A tenth of the deviation of the others does not hide it."""
    features, labels = _features()
    telling = (0.1 * labels[:, None]).astype(np.float32)
    head = solve_head(_problem(np.hstack([features, telling]), labels, 3))

    assert (_logits(head, np.hstack([features, telling])).argmax(axis=1) == labels).mean() > 0.99


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_unit_of_all_features_does_not_matter(factor: float) -> None:
    """Multiplied by a number, they give the same scores."""
    features, labels = _features()
    scores = [_logits(solve_head(_problem(one, labels, 3)), one) for one in (features, np.float32(factor) * features)]

    np.testing.assert_allclose(*scores, atol=1e-3)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_unit_of_one_of_several_networks_does_not_matter(factor: float) -> None:
    """Features of a second network have a typical deviation of their own, in all images and without a fold."""
    features, labels = _features()
    parts = [np.hstack([features[:, :8], np.float32(one) * features[:, 8:]]) for one in (1, factor)]
    problems = [_problem(one, labels, 3, boundaries=(8,)) for one in parts]
    scores = [[_logits(head, one.features) for head in (solve_head(one), *solve_folds(one))] for one in problems]

    np.testing.assert_allclose(*scores, atol=1e-3)


def test_features_are_divided_by_the_root_of_their_deviation_and_the_typical_one() -> None:
    """Deviations of less than a hundredth of the typical one, which is the root of the mean square, count as that."""
    typical = np.sqrt((1 + 4 + 1e-10) / 3)
    expected = np.sqrt(np.array([1.0, 2.0, 0.01 * typical]) * typical)

    np.testing.assert_allclose(scales_of(np.array([1.0, 2.0, 1e-5]), np.zeros(3)), expected)
    found = scales_of(np.array([3.0, 0.0, 0.0, 5.0, 5.0]), np.zeros(5), (1, 3))  # three networks
    np.testing.assert_allclose(found, [3.0, 1.0, 1.0, 5.0, 5.0])


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-4])
def test_a_network_that_gives_all_images_the_same_features_hides_no_other(noise: float) -> None:
    """Rounding of features that do not vary is not magnified until it counts as much as what varies."""
    features, labels = _features(4 * N)
    constant = 5 + noise * np.random.default_rng(3).normal(size=(4 * N, 512))
    both = np.hstack([features, constant.astype(np.float32)])
    alone = solve_head(_problem(features[:N], labels[:N], 3))
    head = solve_head(_problem(both[:N], labels[:N], 3, boundaries=(WIDTH,)))
    accuracies = [
        (_logits(one, rows[N:]).argmax(axis=1) == labels[N:]).mean() for one, rows in ((alone, features), (head, both))
    ]

    assert accuracies[1] > accuracies[0] - 0.03


def test_a_given_strength_is_that_of_the_features_themselves() -> None:
    """A given L2 strength penalizes the kernel of the features, not of scaled ones."""
    from sklearn.linear_model import LogisticRegression

    features, labels = _features()
    head = solve_head(_problem(features, labels, 3, l2=0.01))
    centered = features.astype(np.float64)
    oracle = LogisticRegression(C=1 / (2 * 0.01 * N), tol=1e-10, max_iter=10_000).fit(centered, labels)

    found = probabilities_of(_logits(head, features), "softmax")
    np.testing.assert_allclose(found, oracle.predict_proba(centered), atol=2e-5)
    assert head.solution.strengths == ()


@pytest.mark.parametrize("case", ["softmax", "two classes", "sigmoid", "one unit", "several labels"])
def test_the_gradient_of_training_is_zero_at_the_solution(case: str) -> None:
    """Keras's objective with smoothing, class weights and L2 has no gradient at the solution."""
    import tensorflow as tf

    n_classes = 2 if case in ("two classes", "one unit") else 3
    features, labels = _features(n_classes=n_classes)
    activation = "softmax" if case in ("softmax", "two classes") else "sigmoid"
    targets: NDArray[Any] = labels
    if case == "several labels":
        targets = (np.random.default_rng(0).random((N, 3)) < 0.3 + 0.3 * np.eye(3)[labels]).astype(np.uint8)
    weights = balanced_weights(targets, n_classes)
    settings: dict[str, Any] = {"label_smoothing": 0.1, "class_weights": weights}
    head = solve_head(_problem(features, targets, n_classes, activation=activation, l2=0.02, **settings))
    objective = Objective(activation, n_classes, is_multi_label=case == "several labels", **settings)

    kernel, bias = tf.Variable(head.kernel), tf.Variable(head.bias)
    with tf.GradientTape() as tape:
        value = objective.measure(features @ kernel + bias, targets).objective + 0.02 * tf.reduce_sum(kernel**2)
    gradients = tape.gradient(value, [kernel, bias])

    assert max(float(tf.reduce_max(tf.abs(gradient))) for gradient in gradients) < 2e-4  # float32, features up to 50
    assert head.solution.gradient < 1e-6


def test_a_hinge_head_is_scikit_learns_support_vector_machine() -> None:
    """For two classes, the solution is that of a linear SVM, up to the rounded corner of the hinge."""
    from sklearn.svm import SVC

    features, labels = _features(n_classes=2)
    head = solve_head(_problem(features, labels, 2, activation="linear", loss="hinge", l2=0.1))
    # The hinge of cnncli compares two scores: with kernels ±w/2, the penalty 0.1 · Σw² / 2 is SVC's 0.5 · Σw² / (C n).
    centered = features - features.mean(axis=0)
    oracle = SVC(kernel="linear", C=1 / (0.1 * N), tol=1e-8).fit(centered, labels)
    scores = _logits(head, features)
    margins = scores[:, 1] - scores[:, 0]

    np.testing.assert_allclose(margins, oracle.decision_function(centered), atol=0.05)


def test_squared_error_is_scikit_learns_ridge_regression() -> None:
    """The loss squared-error is solved in closed form."""
    from sklearn.linear_model import Ridge

    features, labels = _features()
    head = solve_head(_problem(features, labels, 3, activation="linear", loss="squared-error", l2=0.05))
    oracle = Ridge(alpha=2 * 0.05 * N).fit(features, np.eye(3)[labels])

    np.testing.assert_allclose(_logits(head, features), oracle.predict(features), atol=2e-5)


def test_the_strength_has_the_lowest_cross_validated_loss() -> None:
    """The losses of the strengths are those of scikit-learn on the same folds, and the lowest one is chosen."""
    from sklearn.model_selection import PredefinedSplit, cross_val_score

    from tests.support.scaling import logistic_regression

    features, labels = _features()
    problem = _problem(features, labels, 3)
    solution = solve_head(problem).solution
    losses = [
        -cross_val_score(
            logistic_regression(2 * one.l2 * N * 4 / 5),
            features.astype(np.float64),
            labels,
            cv=PredefinedSplit(problem.folds),
            scoring="neg_log_loss",
        ).mean()
        for one in solution.strengths
    ]

    np.testing.assert_allclose([one.loss for one in solution.strengths], losses, atol=2e-3)
    assert solution.l2 == min(solution.strengths, key=lambda one: one.loss).l2


def test_features_that_tell_nothing_get_the_strongest_penalty() -> None:
    """Strengths above the first that is tried are found, for a head and those without a fold, and listed first."""
    labels = _features()[1]
    noise = np.random.default_rng(5).normal(size=(N, WIDTH)).astype(np.float32)
    problem = _problem(noise, labels, 3)

    solution, without_a_fold = solve_head(problem).solution, [head.solution for head in solve_folds(problem)]
    assert solution.l2 == STRENGTHS[0]
    assert STRENGTHS[0] in [one.l2 for one in without_a_fold]
    for one in (solution, *without_a_fold):
        assert [strength.l2 for strength in one.strengths] == list(STRENGTHS[: len(one.strengths)])
        assert one.l2 == min(one.strengths, key=lambda strength: strength.loss).l2


def test_large_problems_become_ridge_regression_with_calibrated_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond `MAX_COST`, least squares with a factor gives probabilities nearly as good as those of the exact loss."""
    features, labels = _features()
    slow = solve_head(_problem(features, labels, 3)).solution
    monkeypatch.setattr(exact, "MAX_COST", 0.0)
    head = solve_head(_problem(features, labels, 3))
    best = min(head.solution.strengths, key=lambda one: one.loss)
    probabilities = probabilities_of(_logits(head, features), "softmax")

    assert head.solution.method == "ridge regression"
    assert best.loss < 1.1 * min(one.loss for one in slow.strengths)
    assert -np.log(probabilities[np.arange(N), labels]).mean() < best.loss


def test_ridge_regression_of_several_labels_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean probability of each label is near its frequency, which a score taken for a logit would miss."""
    monkeypatch.setattr(exact, "MAX_COST", 0.0)
    features, labels = _features()
    targets = np.eye(3, dtype=np.uint8)[labels]
    head = solve_head(_problem(features, targets, 3, activation="sigmoid"))

    np.testing.assert_allclose(
        label_probabilities(_logits(head, features)).mean(axis=0), targets.mean(axis=0), atol=0.05
    )


def test_ridge_regression_with_a_given_strength_is_calibrated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of least squares lie between 0 and 1; as logits they would say next to nothing."""
    features, labels = _features()
    chosen = solve_head(_problem(features, labels, 3, l2=1e-3))
    monkeypatch.setattr(exact, "MAX_COST", 0.0)
    head = solve_head(_problem(features, labels, 3, l2=1e-3))
    losses = [
        -np.log(probabilities_of(_logits(one, features), "softmax")[np.arange(N), labels]).mean()
        for one in (chosen, head)
    ]

    assert (head.solution.method, head.solution.l2, head.solution.strengths) == ("ridge regression", 1e-3, ())
    assert losses[1] < 1.5 * losses[0]


def test_ridge_regression_weights_each_label_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The column of a label is that of the label alone with its weights, as scikit-learn solves it."""
    from sklearn.linear_model import Ridge

    monkeypatch.setattr(exact, "MAX_COST", 0.0)
    features, labels = _features()
    targets = np.stack([labels == 0, labels < 2, np.arange(N) % 10 == 0], axis=1).astype(np.uint8)
    weights = ((0.6, 1.5, 0.55), (3.0, 0.75, 5.0))
    problem = _problem(features, targets, 3, activation="sigmoid", class_weights=weights, l2=0.01)
    head = solve_head(problem)

    for label in range(3):
        rows = np.where(targets[:, label], weights[1][label], weights[0][label])
        ridge = Ridge(alpha=2 * 0.01 * N).fit(features, targets[:, label], sample_weight=rows)
        ratio = head.kernel[:, label] / ridge.coef_
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_views_of_an_image_stay_in_its_fold() -> None:
    """Repeating each row as a view in the same fold changes neither the strengths' losses nor the solution."""
    features, labels = _features()
    once = solve_head(_problem(features, labels, 3))
    folds = np.arange(N) % 5
    twice = solve_head(HeadProblem(np.tile(features, (2, 1)), np.tile(labels, 2), np.tile(folds, 2), 3))

    np.testing.assert_allclose(twice.kernel, once.kernel, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        [one.loss for one in twice.solution.strengths], [one.loss for one in once.solution.strengths], rtol=1e-3
    )


def test_a_constant_feature_has_no_weight() -> None:
    """A feature that is the same in every image is ignored instead of dividing by zero."""
    features, labels = _features()
    features[:, 0] = 7.0

    np.testing.assert_array_equal(solve_head(_problem(features, labels, 3)).kernel[0], 0.0)


def test_a_feature_that_hardly_varies_is_not_magnified() -> None:
    """A channel that is almost silent for all training images moves no score far when another image excites it."""
    features, labels = _features()
    silent = np.random.default_rng(2).normal(0, 1e-6, (N, 1)).astype(np.float32)
    head = solve_head(_problem(np.hstack([features, silent]), labels, 3))
    excited = np.hstack([features, np.ones_like(silent)])

    assert np.abs(_logits(head, excited) - _logits(head, np.hstack([features, silent]))).max() < 0.1


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("width", [WIDTH, N + 40])
def test_the_head_without_a_fold_is_scikit_learns(n_classes: int, width: int) -> None:
    """Scaled and solved on the other folds, each head gives the probabilities of scikit-learn's pipeline."""
    from tests.support.scaling import logistic_regression

    features, labels = _features(width=width, n_classes=n_classes)
    features[::5] *= np.linspace(0.3, 2, width, dtype=np.float32)  # the first fold has other deviations
    problem = _problem(features, labels, n_classes)

    for fold, head in enumerate(solve_folds(problem)):
        others = problem.folds != fold
        strength = head.solution.l2 * (1 if n_classes == 2 else 2) * others.sum()
        oracle = logistic_regression(strength).fit(features[others].astype(np.float64), labels[others])
        found = probabilities_of(_logits(head, features), "softmax")
        np.testing.assert_allclose(found, oracle.predict_proba(features.astype(np.float64)), atol=1e-4)


def test_the_strength_without_a_fold_is_chosen_on_the_other_folds() -> None:
    """The loss of each strength is that of scikit-learn's nested cross-validation, which never sees the fold."""
    from sklearn.metrics import log_loss

    from tests.support.scaling import logistic_regression

    features, labels = _features()
    problem = _problem(features, labels, 3)
    (head, *_) = solve_folds(problem)
    strengths = head.solution.strengths

    for strength in strengths[:: len(strengths) // 3]:
        losses = []
        for other in range(1, 5):
            used = (problem.folds != 0) & (problem.folds != other)
            held_out = problem.folds == other
            oracle = logistic_regression(strength.l2 * 2 * used.sum()).fit(features[used], labels[used])
            losses.append(log_loss(labels[held_out], oracle.predict_proba(features[held_out])))
        assert strength.loss == pytest.approx(np.mean(losses), abs=5e-3)
    assert head.solution.l2 == min(strengths, key=lambda one: one.loss).l2


@pytest.mark.parametrize(
    "settings",
    [
        {"l2": 0.02},
        {"l2": 0.02, "activation": "sigmoid"},
        {"loss": "hinge", "activation": "linear", "l2": 0.02},
        {"loss": "squared-error", "activation": "linear"},
    ],
    ids=str,
)
def test_other_heads_without_a_fold_are_those_of_the_other_images(settings: dict[str, Any]) -> None:
    """Each head equals the one that is solved alone on the images of the other folds."""
    features, labels = _features()
    problem = _problem(features, labels, 3, **settings)

    for fold, head in enumerate(solve_folds(problem)):
        alone = solve_head(problem.without(fold))
        tolerance = 2e-2 if problem.loss == "hinge" else 5e-3  # in float32, and nearly flat for the hinge
        np.testing.assert_allclose(_logits(head, features), _logits(alone, features), atol=tolerance)


def test_with_many_classes_a_strength_is_chosen_on_one_other_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the cost at which a head is solved on one fold to choose its strength, so are those without a fold."""
    features, labels = _features()
    several = solve_folds(_problem(features, labels, 3))
    monkeypatch.setattr(exact, "MAX_COST_OF_FOLDS", 0)
    one_each = solve_folds(_problem(features, labels, 3))

    for fold, (one, other) in enumerate(zip(one_each, several, strict=True)):
        found = [probabilities_of(_logits(head, features), "softmax") for head in (one, other)]
        assert (found[0].argmax(axis=1) == found[1].argmax(axis=1)).mean() > 0.9, fold
