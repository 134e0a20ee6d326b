"""Pareto scaling as a transformer of scikit-learn, which has none."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
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
