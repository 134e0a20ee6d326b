"""What every benchmark works with: counts, images, weights, a folder for what is thrown away, and the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from scripts.benchmarks import machine, results
from scripts.benchmarks.images import Images, part
from scripts.benchmarks.results import Finding, Record
from scripts.benchmarks.table import brief

ROUNDS = 5
QUICK_ROUNDS = 1
"""Where only a quick look is wanted and nobody says how many."""


def usual_rounds(quick: bool) -> int:
    """How often each side is measured where nobody says."""
    return QUICK_ROUNDS if quick else ROUNDS


@dataclass(frozen=True)
class Workbench:
    """One measurement's setting.

    Attributes:
        group, figure: what is measured.
        rounds: how often each side is measured.
        quick: tiny counts, to see whether it runs.
        data: the images.
        weights: folder of `NAME_notop.weights.h5` files, None for none.
        results: folder of what is found.
        work: an empty folder, deleted afterwards.
        load: of the machine before the measurement.
        given: the command line's words about data and weights, where there were any.
    """

    group: str
    figure: str
    rounds: int
    quick: bool
    data: Images
    weights: Path | None
    results: Path
    work: Path
    load: float
    given: tuple[str, ...] = ()

    def count(self, full: int, quick: int) -> int:
        """A count of something, much smaller where only a quick look is wanted."""
        return quick if self.quick else full

    def splits(self, train: int = 2000, validation: int = 1000, test: int = 1000) -> Path:
        """A copy of so many images of each split; of 16 where only a quick look is wanted."""
        counts = {"train": train, "validation": validation, "test": test}
        return part(self.data, {split: self.count(n, 16) for split, n in counts.items()}, self.work / "data")

    def weights_of(self, network: str) -> str:
        """What `backbone.weights` should say: the embedded weights, a file of the folder, or none."""
        if network == "EfficientNetLite0":
            return "imagenet"
        file = self.weights / f"{network}_notop.weights.h5" if self.weights else None
        return str(file) if file and file.is_file() else "none"

    def record(self, finding: Finding, images: str | None = None) -> None:
        """Keep a finding and say it.

        Args:
            finding: what was found.
            images: what it was measured on, where that was not `data`.
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
        results.append(self.results, record)
        click.echo(brief(record))

    @property
    def command(self) -> str:
        """The command line that measures this again."""
        words = ["python scripts/bench.py", self.group, self.figure, *self.given]
        words += [f"--repeats {self.rounds}"] if self.rounds != usual_rounds(self.quick) else []
        words += ["--quick"] if self.quick else []
        return " ".join(words)
