"""Logistic regression of scikit-learn with Pareto scaling, which scikit-learn lacks."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


class ParetoScaler(StandardScaler):  # type: ignore[misc]
    """Centers features and divides them by the square root of their own and the typical standard deviation.

    A hundredth of the typical deviation is the smallest that counts.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """Fit a `StandardScaler`, and replace its scales."""
        super().fit(X, y, sample_weight)
        typical = np.sqrt(self.var_.mean())
        self.scale_ = np.sqrt(typical * np.maximum(np.sqrt(self.var_), 0.01 * typical))
        return self


def logistic_regression(strength: float) -> Pipeline:
    """Return a logistic regression on Pareto-scaled features, with the penalty `strength` / 2 · Σw²."""
    return make_pipeline(ParetoScaler(), LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000))
