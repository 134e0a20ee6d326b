"""Keras: a `.keras` archive, which plain Keras loads in safe mode. It has no place for metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.export.formats import FORMATS, Precision
from cnncli.export.source import ExportSource
from cnncli.networks.backend import import_keras


def write(source: ExportSource, folder: Path, _precision: Precision) -> None:
    """See `cnncli.export.formats`."""
    source.model.save(folder / FORMATS["keras"].file)


def load_for_parity(path: Path) -> Any:
    """See `cnncli.export.formats`."""
    keras = import_keras()
    model = keras.saving.load_model(path, safe_mode=True)

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(model.predict_on_batch(pixels.astype(np.float32)))

    return predict
