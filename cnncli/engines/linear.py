"""The NumPy engine: one linear layer on features, which needs no compilation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import BATCH, Array, EngineChoice, padded_batches
from cnncli.errors import EngineError, Message, printable, reason_of
from cnncli.runtime.environment import processor
from cnncli.storage.zips import ARCHIVE_ERRORS, read_arrays

FILE = "tail.npz"
"""Name of the weights in a run."""


class LinearEngine:
    """Computes `features · kernel + bias` in float32, with features flattened and concatenated per image."""

    def __init__(self, kernel: NDArray[np.float32], bias: NDArray[np.float32], batch: int | None = None) -> None:
        """Take a kernel (features, units) and a bias (units,)."""
        self.choice = EngineChoice("numpy", "float32")
        self.batch, self.streams = batch or BATCH, 1
        self.kernel, self._bias = kernel, bias

    @classmethod
    def load(cls, path: Path, batch: int | None = None) -> LinearEngine:
        """Read the weights of a run. Raises EngineError if they are not those of a linear layer."""
        try:
            arrays = read_arrays(path)
            kernel, bias = arrays["kernel"], arrays["bias"]
            if kernel.dtype != np.float32 or bias.dtype != np.float32 or kernel.shape[1:] != bias.shape:
                raise ValueError("the weights are not those of a linear layer")
        except (*ARCHIVE_ERRORS, KeyError) as error:
            reason = reason_of(error)
            text = f"{printable(path)}: cannot be read ({reason})."
            raise EngineError(Message("engine-graph-unusable", text, path=path, reason=reason)) from error
        return cls(kernel, bias, batch)

    def save(self, path: Path) -> None:
        """Write the weights, as `load` reads them."""
        np.savez(path, kernel=self.kernel, bias=self._bias)

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`."""
        return {"engine": "numpy", "version": np.__version__, "processor": processor(), "batch": self.batch}

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`."""
        logits = np.empty((len(inputs[0]), len(self._bias)), np.float32)
        for rows, batch in padded_batches(inputs, self.batch):
            logits[rows] = (as_vectors(batch) @ self.kernel + self._bias)[: rows.stop - rows.start]
        return [logits]


def as_vectors(tensors: Sequence[Array]) -> NDArray[np.float32]:
    """Return the tensors of images, each (n, …), as one float32 vector per image."""
    vectors = [one.reshape(len(one), -1).astype(np.float32) for one in tensors]
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors, axis=1)
