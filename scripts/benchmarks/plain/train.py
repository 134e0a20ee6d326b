"""Train a frozen network of keras.applications with a linear head as a good user of plain Keras would.

    python -m scripts.benchmarks.plain.train FORM DATA --network NAME --size PX --weights FILE|none

FORM: `fit` runs the frozen network in every epoch, as keras.io/guides/transfer_learning does; `features` runs it once
and trains the head on arrays; `sklearn` gives these arrays to scikit-learn. Prints a JSON document.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.plain import parts

EPOCHS, EPOCHS_ON_FEATURES = 10, 20


def main() -> None:
    """Train, and print the test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=("fit", "features", "sklearn"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--weights", required=True)
    options = parser.parse_args()
    weights = None if options.weights == "none" else options.weights
    splits = {name: parts.images(options.data / name, options.size) for name in ("train", "validation", "test")}
    accuracy = {"fit": fit, "features": fit_on_features, "sklearn": fit_sklearn}[options.form](
        splits, options.network, options.size, weights
    )
    print(json.dumps({"test_accuracy": accuracy}))


def fit(splits: dict[str, Any], network: str, size: int, weights: str | None) -> float:
    """Train the head with the frozen network below it."""
    import keras

    layers = keras.layers
    head = [layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid")]
    model = parts.classifier(network, size, weights, head)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    validation = parts.batches(splits["validation"])
    model.fit(parts.training_batches(splits["train"]), validation_data=validation, epochs=EPOCHS, verbose=0)
    return float(model.evaluate(parts.batches(splits["test"]), verbose=0)[1])


def fit_on_features(splits: dict[str, Any], network: str, size: int, weights: str | None) -> float:
    """Compute the features once, and train the head on them."""
    import keras

    arrays = _features(splits, network, size, weights)
    model = keras.Sequential([keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    validation = arrays["validation"]
    model.fit(*arrays["train"], batch_size=32, epochs=EPOCHS_ON_FEATURES, validation_data=validation, verbose=0)
    return float(model.evaluate(*arrays["test"], verbose=0)[1])


def fit_sklearn(splits: dict[str, Any], network: str, size: int, weights: str | None) -> float:
    """Compute the features once, and choose the strength of a logistic regression by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    arrays = _features(splits, network, size, weights)
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=5, max_iter=1000))
    return float(model.fit(*arrays["train"]).score(*arrays["test"]))


def _features(
    splits: dict[str, Any], network: str, size: int, weights: str | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    import keras

    model = parts.classifier(network, size, weights, [keras.layers.GlobalAveragePooling2D()])
    labels = {name: np.array([int(label) for _, label in data]) for name, data in splits.items()}
    return {
        name: (model.predict(parts.batches(data.map(lambda pixels, _: pixels)), verbose=0), labels[name])
        for name, data in splits.items()
    }


if __name__ == "__main__":
    main()
