"""`cnncli export`: write a run's classifier in other formats, and run each file in its own runtime."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.config.reader import load_resolved
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError, Message, ParityError, printable
from cnncli.evaluation.parity import Reported, lowest, spread
from cnncli.export.formats import FORMATS, N_IMAGES, PRECISIONS, TOLERANCE, Precision, choose_pairs, module_of
from cnncli.export.metadata import FILE, describe
from cnncli.export.parity import IN_ONE_BATCH, ExpectedResults, Exported, judge, run_in_new_process
from cnncli.export.source import AT_A_TIME, ExportSource, build_exported
from cnncli.images.decode import PixelSpec
from cnncli.inference.predictor import Predictor, load_predictor
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runtime.signals import obey_again
from cnncli.shards.shard import is_there
from cnncli.storage.atomic import sync_file, sync_folder, write_atomically
from cnncli.storage.locks import Lock, exclusive
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import counted
from cnncli.training.int8 import CALIBRATION_IMAGES, decode_inputs

FAILED = ".failed"
"""End of the names of folders with exports that do not agree with the run."""
LOCK = ".lock"
"""Name of the lock file in the folder of the exports."""
_TEMPORARY = re.compile(
    rf"\.(?P<final>({'|'.join(FORMATS)})-({'|'.join(PRECISIONS)})({re.escape(FAILED)})?)\.[0-9a-f]{{8}}\.(?P<kind>new|old)"
)
"""Names of folders with an export that is being written, or that is being replaced."""
COLUMNS = (
    *("format", "precision", "path", "n", "top1", "expected_top1", "max_difference", "max_difference_float32"),
    *("size_bytes", "ms_per_image", "holds"),
)
"""Columns of `exports.csv`."""


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        formats, precisions: Every pair is exported.
        out: Folder of the exports; None: `exports` in the run.
        license_text: License that is stated in the files.
        n_images: Maximum number of images on which the exports are run.
        tolerance: Fraction of accuracy (0-1) that int8 may lose, besides one image.
    """

    formats: Sequence[str]
    precisions: Sequence[Precision] = ("float32",)
    out: Path | None = None
    license_text: str | None = None
    n_images: int = N_IMAGES
    tolerance: float = TOLERANCE


def export(run: RunFolder, settings: ExportSettings, console: Console) -> list[Exported]:
    """Export the classifier of a finished run, and run every file in a new process on validation images.

    Each export is a folder `FORMAT-PRECISION`. One that does not agree with the run is called
    `FORMAT-PRECISION.failed` instead. All are recorded in `exports.csv` of the run.

    Returns:
        The exports, with their problems; see `require_agreement`.

    Raises:
        ConfigError: A format cannot hold a precision.
        EngineError: A package is missing, or a converter does not support the network.
        DataError: All images that cannot be decoded or have changed, or none is there, or none for int8.
        RunError: The run is unfinished or damaged.
    """
    pairs = choose_pairs(settings.formats, settings.precisions)
    require_finished(run)
    predictor, manifest = load_predictor(run.engine, run.model), Manifest.from_csv(run.manifest)
    rows = _images_of(manifest, settings.n_images)
    console.phase("images", f"{rows[0].split} {len(rows):,}, on which every exported file is run")
    pixels = _decode(rows, predictor.spec.pixels)
    console.phase("network", f"{load_resolved(run.config).networks} of {printable(run.path.name)} in float32")
    source = _build_source(run, predictor, manifest, settings, needs_calibration="int8" in settings.precisions)
    console.phase("predict", f"{counted(len(rows), 'image')} with the run, to compare")
    expected = _expect(predictor, manifest, rows, pixels, source)
    folder = (settings.out or run.exports).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with Lock(folder / LOCK) as lock, tempfile.TemporaryDirectory(prefix="cnncli-export-") as work:
        if lock.try_alone():  # no other process is exporting into this folder
            recover(folder)
        lock.acquire(exclusive=False, wait=True)
        np.save(Path(work, "pixels.npy"), pixels)
        for name, precision in pairs:
            task = ExportTask(name, precision, folder, Path(work), settings.tolerance)
            found.append(task.run(source, expected, console))
            record(run, found)
    return found


def require_agreement(found: Sequence[Exported]) -> None:
    """Raise ParityError, with all problems, unless all exports agree with the run."""
    if problems := [problem for one in found for problem in one.problems]:
        raise ParityError(problems)


@dataclass(frozen=True)
class ExportTask:
    """One export.

    Attributes:
        folder: Folder of the exports.
        work: Folder with the pixels, for the new process.
    """

    format: str
    precision: Precision
    folder: Path
    work: Path
    tolerance: float

    @property
    def name(self) -> str:
        """Name of the folder of the export."""
        return f"{self.format}-{self.precision}"

    def run(self, source: ExportSource, expected: ExpectedResults, console: Console) -> Exported:
        """Write the export under a temporary name, run it, and give it its final name."""
        calibrated = f", calibrated on {counted(len(source.calibration), 'training image')}"
        console.phase("export", f"{self.format} in {self.precision}{calibrated if self.precision == 'int8' else ''}")
        temporary = _temporary(self.folder / self.name, "new")
        temporary.mkdir()
        try:
            entry = {**source.metadata["input"], "dtype": FORMATS[self.format].dtype}
            own = {"format": self.format, "precision": self.precision, "input": entry}
            source = replace(source, metadata={**source.metadata, **own})
            with _own_log_handlers():
                module_of(self.format).write(source, temporary, self.precision)
            size_bytes = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
            (temporary / FILE).write_text(json.dumps(source.metadata, indent=2) + "\n", encoding="utf-8")
            n, runtime = len(expected.in_float32), FORMATS[self.format].runtime
            batches = f"the first {IN_ONE_BATCH} in one batch, the others one at a time"
            console.phase("verify", f"{runtime} runs {counted(n, 'image')} in a new process, {batches}")
            found = self._check(temporary, expected, size_bytes)
            final = self.folder / (self.name if found.holds else self.name + FAILED)
            publish(temporary, final)
            obey_again()  # converters may swallow the exception of a signal
            return replace(found, path=final / FORMATS[self.format].file)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _check(self, folder: Path, expected: ExpectedResults, size_bytes: int) -> Exported:
        path, n_classes = folder / FORMATS[self.format].file, len(expected.reported.classes)
        n, top1 = len(expected.in_float32), expected.accuracy(expected.reported.probabilities)
        unknown = Exported(self.format, self.precision, path, n, nan, top1, nan, nan, size_bytes, nan)
        try:
            pixels = self.work / "pixels.npy"
            found, ms = run_in_new_process(self.format, self.precision, path, pixels, n_classes, self.work)
        except ParityError as error:
            return replace(unknown, problems=error.problems)
        (as_predict, as_float32), problems = judge(self.format, self.precision, expected, found, self.tolerance)
        return replace(
            unknown,
            top1=expected.accuracy(found),
            max_difference=as_predict.largest,
            max_difference_float32=as_float32.largest,
            ms_per_image=ms,
            problems=tuple(problems),
        )


def publish(temporary: Path, final: Path) -> None:
    """Rename a folder with an export to its final name, in place of an earlier export, which is deleted last."""
    for path in temporary.rglob("*"):
        if path.is_file():
            sync_file(path)
    old = _temporary(final, "old")
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Delete what killed exports left in a folder; an earlier export that lost its name to none gets it back."""
    for path in sorted(folder.iterdir()):
        if (match := _TEMPORARY.fullmatch(path.name)) is None:
            continue
        final = folder / match["final"]
        if match["kind"] == "old" and not final.exists():
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _temporary(final: Path, kind: str) -> Path:
    return final.with_name(f".{final.name}.{os.urandom(4).hex()}.{kind}")


@contextmanager
def _own_log_handlers() -> Iterator[None]:
    """Remove handlers that a converter adds to the root logger, which would show messages of all packages."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        yield
    finally:
        root.handlers = handlers


def _images_of(manifest: Manifest, n: int) -> list[ImageRecord]:
    """Return at most n validation images, or test or training images if there are none, evenly distributed.

    Images of which the files are gone, as after `cnncli update`, are left out.

    Raises:
        DataError: No image is there.
    """
    for name in ("validation", "test", "train"):
        if rows := [row for row in manifest.split(name) if is_there(row.path)]:
            return [rows[place] for place in spread(len(rows), n)]
    text = f"None of the run's {len(manifest.rows):,} images is there, and exports are checked on some. Restore them."
    raise DataError(Message("data-images-missing", text, n=len(manifest.rows)))


def _decode(rows: Sequence[ImageRecord], spec: PixelSpec) -> NDArray[np.uint8]:
    return np.concatenate([pixels for (pixels,) in decode_inputs(rows, spec)])


def _build_source(
    run: RunFolder, predictor: Predictor, manifest: Manifest, settings: ExportSettings, needs_calibration: bool
) -> ExportSource:
    spec = predictor.spec
    metadata = describe(run, spec, load_resolved(run.config), settings.license_text)
    rows = _calibration_images(manifest) if needs_calibration else []
    calibration = [pixels for (pixels,) in decode_inputs(rows, spec.pixels)]
    return ExportSource(build_exported(run), metadata, calibration)


def _calibration_images(manifest: Manifest) -> list[ImageRecord]:
    """Return the training images that are there and calibrate int8.

    Raises:
        DataError: No training image is there.
    """
    train = manifest.split("train")
    unique = {row.digest: row for row in train if is_there(row.path)}
    if not unique:
        text = (
            f"None of the run's {len(train):,} training images is there, and int8 is calibrated on some. Restore "
            "them, or export without --precision int8."
        )
        raise DataError(Message("data-images-missing", text, n=len(train)))
    return [unique[digest] for digest in sorted(unique)][:CALIBRATION_IMAGES]


def _expect(
    predictor: Predictor,
    manifest: Manifest,
    rows: Sequence[ImageRecord],
    pixels: NDArray[np.uint8],
    source: ExportSource,
) -> ExpectedResults:
    """Predict images with the run, as `cnncli predict` does, and with its classifier in float32."""
    spec = predictor.spec
    starts = range(0, len(pixels), AT_A_TIME)
    probabilities = np.concatenate([predictor.probabilities(pixels[at : at + AT_A_TIME]) for at in starts])
    precision = lowest([*spec.precisions, spec.tail_precision])
    in_float32 = probabilities if precision == "float32" else source.probabilities(pixels)
    reported = Reported(tuple(row.file for row in rows), manifest.labels(rows), spec.classes, probabilities)
    return ExpectedResults(reported, in_float32, spec.thresholds, precision)


def record(run: RunFolder, found: Sequence[Exported]) -> None:
    """Add exports to the table of a run, in place of those with the same paths; other processes may do so, too."""
    new = [[_cell(run, getattr(one, name)) for name in COLUMNS] for one in found]
    place = COLUMNS.index("path")
    with exclusive(run.export_lock):
        old = []
        if run.export_table.is_file():
            with run.export_table.open(encoding="utf-8", newline="") as file:
                old = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
        kept = [row for row in old if row[place] not in {one[place] for one in new}]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept, *new])
        write_atomically(run.export_table, text.getvalue())


def _cell(run: RunFolder, value: object) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(run.path) if value.is_relative_to(run.path) else value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
