"""The setting of a benchmark: counts, images, weights, a temporary folder, and the recording of findings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from scripts.benchmarks import machine, measurements
from scripts.benchmarks.images import Images, part
from scripts.benchmarks.measurements import Finding, Record
from scripts.benchmarks.table import brief

ROUNDS = 5
QUICK_ROUNDS = 1
"""Default with --quick."""


def usual_rounds(quick: bool) -> int:
    """Return the default number of rounds."""
    return QUICK_ROUNDS if quick else ROUNDS


@dataclass(frozen=True)
class Workbench:
    """The setting of a benchmark.

    Attributes:
        group: Group of the benchmark.
        benchmark: Name of the benchmark.
        rounds: Number of rounds.
        quick: Whether to use tiny counts.
        data: Images.
        weights: Folder of `NAME_notop.weights.h5` files, or None.
        results: Folder of results.
        work: Temporary folder.
        load: Load average before the benchmark.
        given: Options of the command line about data and weights.
    """

    group: str
    benchmark: str
    rounds: int
    quick: bool
    data: Images
    weights: Path | None
    results: Path
    work: Path
    load: float
    given: tuple[str, ...] = ()

    def count(self, full: int, quick: int) -> int:
        """Return `quick` for a quick benchmark, else `full`."""
        return quick if self.quick else full

    def splits(self, train: int = 2000, validation: int = 1000, test: int = 1000) -> Path:
        """Copy images of each split to a new folder and return its path; a quick benchmark copies 16 per split."""
        counts = {"train": train, "validation": validation, "test": test}
        return part(self.data, {split: self.count(n, 16) for split, n in counts.items()}, self.work / "data")

    def weights_of(self, network: str) -> str:
        """Return `backbone.weights` of a network: the embedded weights, a file in the folder, or none."""
        if network == "EfficientNetLite0":
            return "imagenet"
        file = self.weights / f"{network}_notop.weights.h5" if self.weights else None
        return str(file) if file and file.is_file() else "none"

    def record(self, finding: Finding, images: str | None = None) -> None:
        """Save and print a finding.

        Args:
            finding: Finding.
            images: Name of the images if they are not `data`.
        """
        record = Record(
            group=self.group,
            finding=finding,
            command=self.command,
            data=images or self.data.name,
            quick=self.quick,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            load=self.load,
            commit=machine.commit(),
            machine=machine.describe(),
        )
        measurements.append(self.results, record)
        click.echo(brief(record))

    @property
    def command(self) -> str:
        """Command line that repeats this benchmark."""
        words = ["python scripts/bench.py", self.group, self.benchmark, *self.given]
        words += [f"--repeats {self.rounds}"] if self.rounds != usual_rounds(self.quick) else []
        words += ["--quick"] if self.quick else []
        return " ".join(words)
