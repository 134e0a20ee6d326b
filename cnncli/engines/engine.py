"""The interface of engines, which run a graph on batches and are part of the feature key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EngineName = Literal["keras", "openvino", "numpy"]
"""`numpy` runs a tail that is one linear layer."""
Precision = Literal["float32", "bfloat16", "int8"]
"""In int8, products have 8-bit factors; what is not quantized is computed in float32, which is as fast as bfloat16."""

BATCH = 8
"""Images per request on a CPU. The number is fixed and the last request padded, so that features do not depend on
neighbors. Requests run in parallel, one per core, and eight images fit into a core's cache better than more."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine and the precision of its arithmetic."""

    engine: EngineName
    precision: Precision

    @property
    def in_words(self) -> str:
        """Engine and precision as text."""
        return f"{self.engine} {self.precision}"


class Engine(Protocol):
    """Runs one graph; can be called from several threads at once.

    Attributes:
        choice: The engine and its precision.
        batch: Rows per request.
        streams: Number of requests that run in parallel.
    """

    choice: EngineChoice
    batch: int
    streams: int

    @property
    def identity(self) -> Mapping[str, str | int]:
        """Everything besides graph and weights that determines the bits of the result."""
        ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the graph on n rows.

        Args:
            inputs: One array (n, …) per input of the graph: uint8 pixels for a trunk, features for a tail.

        Returns:
            One array (n, …) per output, in the engine's precision, or bfloat16 for int8, unless it was built with a
            different `dtype`.
        """
        ...


def padded_batches(inputs: Sequence[Array], batch: int) -> Iterator[tuple[slice, list[Array]]]:
    """Yield batches of equal size, each with the slice of its rows; the last batch is padded with its last row."""
    n = len(inputs[0])
    for start in range(0, n, batch):
        rows = slice(start, min(start + batch, n))
        parts, missing = [array[rows] for array in inputs], start + batch - rows.stop
        if missing:
            parts = [np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) for part in parts]
        yield rows, parts
