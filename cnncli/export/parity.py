"""Parity of an export: a new process runs the file in its own runtime, and must give what the run predicts.

    python -m cnncli.export.parity FORMAT FILE PIXELS.npy RESULT.npz

is this process. It gets pixels, so that only the file and its runtime are compared, not decoders.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import Message, ParityError, printable
from cnncli.evaluation.parity import TOLERANCES, ProbabilityAgreement, Reported, compare, lowest
from cnncli.export.formats import FORMATS, Precision, module_of
from cnncli.metrics.classification import accuracy_interval
from cnncli.runtime.new_process import start_python
from cnncli.terminal.formatting import decimal, percent

ROUNDING = 1e-9
"""Of differences of fractions of images."""
IN_ONE_BATCH = 4
"""Number of images whose results are those of one batch; the other results, and the times, are of single images."""


@dataclass(frozen=True)
class ExpectedResults:
    """Probabilities and accuracy that an export has to give.

    Attributes:
        reported: Images with labels, and the probabilities of `cnncli predict`.
        in_float32: The probabilities (n, classes) of the run's classifier in float32.
        thresholds: Thresholds of several labels per image; else empty.
        precision: The lowest precision in which the run predicts.
    """

    reported: Reported
    in_float32: NDArray[np.float64]
    thresholds: tuple[float, ...]
    precision: str

    def accuracy(self, probabilities: NDArray[np.float64]) -> float:
        """Return the fraction of images (0-1) with the right class or, if multi-label, exactly the right labels."""
        return float(self._are_right(probabilities).all(axis=1).mean())

    def accuracy_lost(self, probabilities: NDArray[np.float64]) -> float:
        """Return by how much the accuracy is below that of `cnncli predict`, or that of single labels, if it is more.

        A classifier with many labels may have all of them right for hardly any image.
        """
        before, after = self._are_right(self.reported.probabilities), self._are_right(probabilities)
        of_images = before.all(axis=1).mean() - after.all(axis=1).mean()
        return float(max(of_images, before.mean() - after.mean()))

    def _are_right(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each image and label, or for each image, whether the decision is right, bool (n, decisions)."""
        labels = self.reported.labels
        if self.thresholds:
            return np.asarray((probabilities >= np.asarray(self.thresholds)) == (labels > 0))
        return np.asarray(probabilities.argmax(axis=1) == labels)[:, None]


@dataclass(frozen=True)
class Exported:
    """An export, as its runtime runs it.

    Attributes:
        path: The file, or the folder of a SavedModel.
        n: Number of images.
        top1: Accuracy (0-1); see `ExpectedResults.accuracy`.
        expected_top1: That of `cnncli predict`.
        max_difference: Largest difference of a probability from that of `cnncli predict` (0-1).
        max_difference_float32: The same from the run's classifier in float32.
        size_bytes: Size of the export without `metadata.json`.
        ms_per_image: Median time of a request with one image, in milliseconds.
        problems: Why it may not be used; none if it agrees.
    """

    format: str
    precision: Precision
    path: Path
    n: int
    top1: float
    expected_top1: float
    max_difference: float
    max_difference_float32: float
    size_bytes: int
    ms_per_image: float
    problems: tuple[Message, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the export agrees with the run."""
        return not self.problems

    @property
    def top1_ci95(self) -> tuple[float, float]:
        """95 % interval of the accuracy."""
        return accuracy_interval(self.top1, self.n)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `export --json`."""
        names = (
            *("format", "precision", "path", "n", "top1", "top1_ci95", "expected_top1", "max_difference"),
            *("max_difference_float32", "holds", "size_bytes", "ms_per_image"),
        )
        return {name: getattr(self, name) for name in names}


def run_in_new_process(
    name: str, precision: str, path: Path, pixels: Path, n_classes: int, folder: Path
) -> tuple[NDArray[np.float64], float]:
    """Run an export in a new process on the pixels in a `.npy` file.

    Returns:
        Probabilities, float64 (n, classes), and the milliseconds per image.

    Raises:
        ParityError: It cannot be loaded or run there, or does not give n × classes finite numbers.
    """
    result, where = folder / f"{name}-{precision}.npz", f"{name} {precision}"
    process = start_python(["-m", "cnncli.export.parity", name, str(path), str(pixels), str(result)])
    try:
        _, err = process.communicate()
    finally:
        process.kill()
    if process.returncode:
        last = next((line for line in reversed(err.splitlines()) if line.strip()), "no reason")
        stopped = f"stopped by signal {-process.returncode}" if process.returncode < 0 else last
        reason = printable(stopped)[:300]
        text = f"{where}: {FORMATS[name].runtime} cannot load or run the exported file ({reason})."
        raise ParityError(Message("export-cannot-run", text, where=where, reason=reason))
    with np.load(result) as found:
        probabilities, ms = found["probabilities"].astype(np.float64), float(found["ms_per_image"])
    if probabilities.shape[1:] != (n_classes,) or not np.isfinite(probabilities).all():
        received = f"an array {probabilities.shape}, with NaN or Inf or for another number of classes"
        text = f"{where}: the exported file gives {received}, expected probabilities of {n_classes} classes."
        raise ParityError(Message("export-cannot-run", text, where=where, reason=received))
    return probabilities, ms


def judge(
    name: str, precision: Precision, expected: ExpectedResults, found: NDArray[np.float64], tolerance: float
) -> tuple[list[ProbabilityAgreement], list[Message]]:
    """Compare the probabilities of an export with those of `cnncli predict`, and with float32.

    Args:
        name: Format.
        precision: Precision; int8 is only held to its accuracy.
        expected: Probabilities that it has to give.
        found: Probabilities that it gives.
        tolerance: Fraction of accuracy (0-1) that int8 may lose, besides one image.

    Returns:
        The two agreements, and the problems.
    """
    where, reported = f"{name} {precision}", expected.reported
    in_float32 = Reported(reported.paths, reported.labels, reported.classes, expected.in_float32)
    same_as_predict = compare(where, reported, found, TOLERANCES[lowest([precision, expected.precision])])
    same_as_float32 = compare(where, in_float32, found, TOLERANCES[precision])
    agreements = [same_as_predict, same_as_float32]
    if precision != "int8":
        names = ("cnncli predict", "the run's classifier in float32")
        pairs = zip(names, agreements, strict=True)
        return agreements, [_difference(one, other) for other, one in pairs if not one.holds]
    lost, accepted = expected.accuracy_lost(found), tolerance + 1 / len(found) + ROUNDING
    if lost <= accepted:
        return agreements, []
    text = (
        f"{where}: its accuracy is {percent(lost)} below that of cnncli predict; accepted are {percent(tolerance)} and "
        "one image. Use --precision float16, or accept more with --tolerance."
    )
    return agreements, [Message("export-accuracy-lost", text, where=where, received=lost, expected=accepted)]


def _difference(found: ProbabilityAgreement, other: str) -> Message:
    limits = found.tolerance
    text = (
        f"{found.where}: the probabilities differ from those of {other} by up to {decimal(found.largest)} "
        f"({printable(found.worst)}), on average by {decimal(found.mean)}, accepted are {decimal(limits.largest)} and "
        f"{decimal(limits.mean)}; the log loss differs by {decimal(found.log_loss_difference)}, accepted is "
        f"{decimal(limits.log_loss)}."
    )
    facts = {"where": found.where, "path": found.worst, "received": found.largest, "expected": limits.largest}
    return Message("export-differs", text, **facts)


# In the new process


def main(name: str, path: Path, pixels: Path, result: Path) -> None:
    """Run an export on pixels, and write its probabilities and the median milliseconds per image."""
    predict, images = module_of(name).load_for_parity(path), np.load(pixels)
    together = predict(images[:IN_ONE_BATCH])
    predict(images[:1])  # the first request of this size compiles
    rows, seconds = _run_one_by_one(predict, images)
    # An export has to give the same for every size of a batch.
    probabilities = np.concatenate([together, rows[len(together) :]])
    np.savez(result, allow_pickle=False, probabilities=probabilities, ms_per_image=1000 * median(seconds))


def _run_one_by_one(predict: Any, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Sequence[float]]:
    rows, seconds = [], []
    for image in images:
        started = time.perf_counter()
        rows.append(predict(image[None]))
        seconds.append(time.perf_counter() - started)
    return np.concatenate(rows), seconds


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
