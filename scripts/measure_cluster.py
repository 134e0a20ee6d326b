"""Measure the steady rate of extraction on a Ray cluster of two nodes on this machine against that of one process.

    python -m scripts.measure_cluster ../shared/data/dogs-vs-cats/train --pairs 3

Each pair extracts the same images into an empty cache, on the cluster and in this process. The rate is that of
the last three quarters, when all workers have started. Features are compared bit by bit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from cnncli.dataset.source import read_config
from cnncli.errors import ImageError
from cnncli.features.extract import Compute, Computed, FeatureSet
from cnncli.features.segments import map_rows, read_segment, subfolders
from cnncli.recipes.extract import extract_features
from cnncli.terminal.console import Console
from cnncli.training.machines import HERE, Machines

OVERRIDES = (
    *("data.image_size=160", "data.splits.validation=0", "data.splits.test=0"),
    *("augmentation.views=3", "augmentation.horizontal_flip=true"),
)
"""One set of images, in three views."""
WARMUP_FRACTION = 0.25
"""Fraction of the features after which all workers have started."""


@dataclass
class Timed:
    """A function that computes features, with the time of each answer and the number of features until then."""

    compute: Compute
    answers: list[tuple[float, int]] = field(default_factory=list)

    def __call__(
        self, features: FeatureSet, missing: Sequence[set[str]]
    ) -> Iterator[tuple[list[Computed], list[ImageError]]]:
        """Compute missing features, and note when they come."""
        for computed, errors in self.compute(features, missing):
            done = self.answers[-1][1] if self.answers else 0
            self.answers.append((time.monotonic(), done + sum(len(digests) for _, digests, _ in computed)))
            yield computed, errors

    def rate(self) -> float:
        """Return the number of features per second after the warm-up."""
        ended, after = self.answers[-1]
        began, before = next(answer for answer in self.answers if answer[1] >= WARMUP_FRACTION * after)
        return (after - before) / (ended - began)


def measure(
    data: Path, overrides: Sequence[str], machines: Machines, folder: Path
) -> tuple[float, dict[object, bytes]]:
    """Return features per second, and the bytes of the features by key and digest."""
    os.environ["CNNCLI_CACHE"] = str(folder)
    timed = Timed(machines.compute)
    config = read_config(data, overrides)
    extract_features(config, Console(quiet=True), machines=replace(machines, compute=timed))
    return timed.rate(), {
        (key.name, bytes(digest)): row.tobytes()
        for key in subfolders(folder / "features")
        for segment in map(read_segment, subfolders(key))
        for digest, row in zip(segment.digests, map_rows(segment), strict=True)
    }


def main() -> None:
    """Print the rates of each pair, their ratio, and whether the features are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("overrides", nargs="*", default=list(OVERRIDES))
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    from cnncli.cluster.machines import machines_at
    from tests.recipes.on_cluster import two_nodes

    ratios = []
    with two_nodes() as cluster, machines_at(cluster.address) as elsewhere, tempfile.TemporaryDirectory() as folder:
        for pair in range(arguments.pairs):
            here, features = measure(arguments.data, arguments.overrides, HERE, Path(folder) / f"here-{pair}")
            there, others = measure(arguments.data, arguments.overrides, elsewhere, Path(folder) / f"there-{pair}")
            ratios.append(there / here)
            same = "the same bits" if features == others else "DIFFERENT"
            print(
                f"one process {here:.0f} features/s, cluster {there:.0f}: {ratios[-1]:.3f}, {same} ({len(features):,})"
            )
    print(f"median ratio {median(ratios):.3f}")


if __name__ == "__main__":
    main()
