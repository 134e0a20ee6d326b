"""The interface of engines, which run a graph on batches and are part of the feature key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cnncli.runtime.threads import map_ordered

Array = NDArray[Any]
EngineName = Literal["keras", "openvino"]
Precision = Literal["float32", "bfloat16"]

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
            One array (n, …) per output, in the engine's precision unless it was built with a different `dtype`.
        """
        ...


def run_on_all_cores(engine: Engine, inputs: Sequence[Array]) -> list[Array]:
    """Run an engine on all cores by dividing the rows among threads. The result equals that of `engine.run`."""
    parts = _slices(len(inputs[0]), engine.batch)
    results = map_ordered(lambda rows: engine.run([array[rows] for array in inputs]), parts)
    return [np.concatenate(tensors) for tensors in zip(*results, strict=True)]


def padded_batches(inputs: Sequence[Array], batch: int) -> Iterator[tuple[slice, list[Array]]]:
    """Yield batches of equal size, each with the slice of its rows; the last batch is padded with its last row."""
    for rows in _slices(len(inputs[0]), batch):
        parts, missing = [array[rows] for array in inputs], batch - (rows.stop - rows.start)
        if missing:
            parts = [np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) for part in parts]
        yield rows, parts


def _slices(n: int, size: int) -> Iterator[slice]:
    """Return slices of at most `size` rows that cover rows 0 … n − 1."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
