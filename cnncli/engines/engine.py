"""What an engine is: something that runs a graph on batches and can be named in a cache key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EngineName = Literal["keras", "openvino"]
Precision = Literal["float32", "bfloat16"]

BATCH = 32
"""Pictures in a request. Always the same, the last one padded, so that features do not depend on neighbours."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine and the precision of its arithmetic, decided."""

    engine: EngineName
    precision: Precision


class Engine(Protocol):
    """Runs one graph."""

    @property
    def choice(self) -> EngineChoice:
        """Which engine this is, and its precision."""
        ...

    @property
    def identity(self) -> Mapping[str, str | int]:
        """Everything beside graph and weights that the bits of the result depend on."""
        ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the graph on n rows.

        Args:
            inputs: one array (n, …) per input of the graph: uint8 pixels for a trunk, features for a tail.

        Returns:
            One array (n, …) per output; bfloat16 where that is the engine's precision, else float32.
        """
        ...


def padded_batches(inputs: Sequence[Array], batch: int) -> list[tuple[list[Array], int]]:
    """Rows in batches of equal size, the last one filled up with its last row, each with its count of real rows."""
    n = len(inputs[0])
    batches = []
    for start in range(0, n, batch):
        parts = [array[start : start + batch] for array in inputs]
        rows = len(parts[0])
        if rows < batch:
            parts = [np.concatenate([part, np.repeat(part[-1:], batch - rows, axis=0)]) for part in parts]
        batches.append((parts, rows))
    return batches
