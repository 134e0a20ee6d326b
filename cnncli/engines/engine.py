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
"""Images in a request on a CPU. Always the same, the last one padded, so that features do not depend on neighbours.
Requests run side by side, one on a core, and what eight images need fits into a core's cache better than more."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine and the precision of its arithmetic."""

    engine: EngineName
    precision: Precision

    @property
    def in_words(self) -> str:
        """Both."""
        return f"{self.engine} {self.precision}"


class Engine(Protocol):
    """Runs one graph, for as many threads at once as ask; each call computes one request after the other."""

    @property
    def choice(self) -> EngineChoice:
        """Which engine this is, and its precision."""
        ...

    @property
    def identity(self) -> Mapping[str, str | int]:
        """Everything except graph and weights that the bits of the result depend on."""
        ...

    @property
    def batch(self) -> int:
        """Rows in a request."""
        ...

    @property
    def streams(self) -> int:
        """Number of requests that run in parallel."""
        ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the graph on n rows.

        Args:
            inputs: one array (n, …) per input of the graph: uint8 pixels for a trunk, features for a tail.

        Returns:
            One array (n, …) per output, in the precision of the arithmetic unless the engine was made to give another.
        """
        ...


@dataclass(frozen=True)
class Chain:
    """Two engines in sequence: the outputs of the first are the inputs of the second."""

    first: Engine
    second: Engine

    @property
    def choice(self) -> EngineChoice:
        """See `Engine.choice`: that of the first."""
        return self.first.choice

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`: that of the first, and the second's precision."""
        return {**self.first.identity, "then": self.second.choice.precision}

    @property
    def batch(self) -> int:
        """See `Engine.batch`."""
        return self.first.batch

    @property
    def streams(self) -> int:
        """See `Engine.streams`."""
        return self.first.streams

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`."""
        return self.second.run(self.first.run(inputs))


def run_on_all_cores(engine: Engine, inputs: Sequence[Array]) -> list[Array]:
    """Run an engine on all cores: the rows are divided among threads. The result equals that of `engine.run`."""
    parts = _slices(len(inputs[0]), engine.batch)
    results = map_ordered(lambda here: engine.run([array[here] for array in inputs]), parts)
    return [np.concatenate(tensors) for tensors in zip(*results, strict=True)]


def padded_batches(inputs: Sequence[Array], batch: int) -> Iterator[tuple[slice, list[Array]]]:
    """Yield batches of equal size, each with the slice of its rows; the last one is padded with its last row."""
    for here in _slices(len(inputs[0]), batch):
        parts, missing = [array[here] for array in inputs], batch - (here.stop - here.start)
        if missing:
            parts = [np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) for part in parts]
        yield here, parts


def _slices(n: int, size: int) -> Iterator[slice]:
    """Return slices of at most `size` rows that cover rows 0 … n − 1."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
