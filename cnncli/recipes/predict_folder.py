"""`cnncli predict --table`, `--sort-into` and `--watch`: predictions as files, at once or as images arrive."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cnncli.dataset.labels.folders import files_below, missing_readers
from cnncli.dataset.records import LABEL_SEPARATOR, LabeledImages
from cnncli.dataset.stat_index import StatKey, stat_key
from cnncli.errors import CnncliError, ImageError, Message, printable
from cnncli.inference.class_folders import ClassFolders, require_outside
from cnncli.inference.prediction import DEFAULT_TOP, Prediction
from cnncli.inference.predictor import Predictor
from cnncli.inference.sources import STDIN, is_source
from cnncli.inference.spec import PredictorSpec
from cnncli.recipes.predict import Result, Results, predictions
from cnncli.shards.listing import find_shards, is_sharded
from cnncli.storage.tables import Cell, Column, GrowingCsv, columns_of_classes, table_path, writing_table

log = logging.getLogger(__name__)

ALL_CLASSES = 2**31
"""Number of classes per image that includes every class."""

MOST_COUNTED = 10
"""Maximum number of classes in a summary, the most frequent ones."""

NO_LABEL = ""
"""In place of a class in a summary, for an image of which no label reaches its threshold."""

POLL_S = 1.0
"""Time between two looks at a watched folder; longer if looking takes longer."""

SETTLED_S = 10.0
"""Time without a change after which a file that cannot be used is reported; before, it may still be incomplete."""

Found = Generator[Result, None, None]


@dataclass(frozen=True)
class Destination:
    """Destination of predictions.

    Attributes:
        table: Table, from `table_path`, or None.
        sort_into: Folder for the folders of the classes, or None.
        copies: Whether images are copied there in any case, and never linked.
    """

    table: Path | None = None
    sort_into: Path | None = None
    copies: bool = False

    @classmethod
    def of(cls, images: Sequence[str], table: Path | None, sort_into: Path | None, copies: bool) -> Destination:
        """Check the destination of the predictions of images. Raises CnncliError."""
        if sort_into is not None:
            if STDIN in images:
                text = "--sort-into: an image on standard input has no file to link; pass the path of a file."
                raise CnncliError(Message("usage-value-invalid", text, key="PATH", received=STDIN))
            require_outside(sort_into, images)
        table = table and table_path(table)
        if table is not None and table.exists() and is_source(table, images):
            text = f"--table {printable(table)}: is one of the files whose images are predicted; name another file."
            raise CnncliError(Message("usage-table-is-source", text, path=table))
        return cls(table, sort_into, copies)

    @property
    def is_set(self) -> bool:
        """Whether anything is written."""
        return self.table is not None or self.sort_into is not None


def record(results: Results, to: Destination) -> Found:
    """Yield results while they are written; a table appears after the last of them."""
    found = _sorted(results.found, results.spec, to)
    return _write_table(to.table, replace(results, found=found)) if to.table else found


def watch(predictor: Predictor, folders: Sequence[str], to: Destination, poll_s: float = POLL_S) -> Results:
    """Predict the images in folders and those that arrive, without end, and write each before it is yielded.

    Images that are already in the table are not predicted again.

    Raises:
        CnncliError: A path is not a folder, or the table is not a CSV, has other columns or is used by another command.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            text = f"{printable(folder)}: --watch needs folders"
            raise CnncliError(Message("usage-watch-folder", text, path=folder))
    if to.table is not None and to.table.suffix.lower() != ".csv":
        text = f"{printable(to.table)}: --watch adds a row for each image, which only a .csv allows"
        raise CnncliError(Message("usage-watch-table", text, path=to.table, expected=".csv"))
    spec = predictor.spec
    abstains = predictor.calibration is not None and predictor.calibration.abstains
    table = GrowingCsv(to.table, table_columns(spec, abstains)) if to.table else None
    arrivals = Arrivals(folders, table.first_cells if table else (), reads_arrays=spec.bands is not None)
    found = _sorted(_arriving(predictor, arrivals, poll_s), spec, to)
    return Results(spec, abstains, 0, _append(found, table, spec, abstains) if table else found)


class Arrivals:
    """Images in folders, each once, when they have not changed between two looks.

    Args:
        folders: Folders, searched with all folders below them.
        done: Paths of images that are not reported.
        reads_arrays: Whether NumPy arrays are images.
    """

    def __init__(self, folders: Sequence[str], done: Iterable[str] = (), *, reads_arrays: bool = False) -> None:
        self._folders = folders
        self._reads_arrays = reads_arrays
        self._done = set(map(_absolute, done))
        self._seen: dict[str, tuple[StatKey | None, float]] = {}  # state of a file, and when it was first seen so
        self._warned: set[tuple[str, Path]] = set()
        self._with_shards: set[str] = set()  # folders that are known to have some
        self._n_others: dict[str, int] = {}  # files of each folder that are not images

    def look(self) -> list[Path]:
        """Return the images that are complete since the last look."""
        ready = []
        for folder in self._folders:
            found = LabeledImages(Path(folder), reads_arrays=self._reads_arrays)
            images = [Path(path) for path in sorted(files_below(found.root, found))]
            for issue in (*found.issues, *missing_readers(found)):
                if (key := (issue.code, issue.paths[0])) not in self._warned:
                    self._warned.add(key)
                    log.warning(issue.message)
            ready += [image for image in images if self._is_ready(_absolute(image))]
            n_others, before = found.left_out.total(), self._n_others.get(folder, 0)
            self._n_others[folder] = n_others
            if n_others != before and folder not in self._with_shards:  # a shard is not an image
                self._warn_of_shards(folder)
        return ready

    def _warn_of_shards(self, folder: str) -> None:
        with suppress(OSError, ValueError):  # folders that cannot be read are reported with the images
            for shard in filter(is_sharded, find_shards(Path(folder))):
                self._with_shards.add(folder)
                text = f"{printable(shard)}: --watch does not read shards; predict them without --watch"
                log.warning(Message("usage-watch-shards", text, path=shard))
                return

    def _is_ready(self, file: str) -> bool:
        if file in self._done:
            return False
        state, (before, _) = stat_key(Path(file)), self._seen.get(file, (None, 0.0))
        if state is None or state != before:
            self._seen[file] = (state, time.monotonic())
            return False
        self._done.add(file)
        return True

    def is_settled(self, image: Path | str) -> bool:
        """Return whether an image has not changed for a while; otherwise, it will be reported again."""
        file = _absolute(image)
        if time.monotonic() - self._seen[file][1] >= SETTLED_S:
            return True
        self._done.discard(file)
        return False


def _absolute(path: Path | str) -> str:
    return str(Path(path).absolute())


def _arriving(predictor: Predictor, arrivals: Arrivals, poll_s: float) -> Found:
    while True:
        started = time.monotonic()
        images = [(str(image), image) for image in arrivals.look()]
        took_s = time.monotonic() - started
        for result in predictions(images, predictor, ALL_CLASSES, None):
            if not isinstance(result, ImageError) or arrivals.is_settled(result.path):
                yield result
        time.sleep(max(poll_s, 4 * took_s))


def _sorted(found: Found, spec: PredictorSpec, to: Destination) -> Found:
    if to.sort_into is None:
        yield from found
        return
    folders = ClassFolders(to.sort_into, spec.classes, copies=to.copies)
    for result in found:
        try:
            if isinstance(result, Prediction):
                labels = predicted_labels(result, spec)
                folders.add(Path(result.path), labels, is_unknown=bool(result.unknown))
        except FileNotFoundError:
            yield ImageError(result.path, Message("image-not-found", "does not exist anymore"))
        else:
            yield result


def _write_table(path: Path, results: Results) -> Found:
    with writing_table(path, table_columns(results.spec, results.abstains), results.n) as add:
        for result in results:
            add(_row(result, results.spec, results.abstains))
            yield result


def _append(found: Found, table: GrowingCsv, spec: PredictorSpec, abstains: bool) -> Found:
    with closing(table):
        for result in found:
            table.add(_row(result, spec, abstains))
            yield result


def predicted_labels(prediction: Prediction, spec: PredictorSpec) -> tuple[str, ...]:
    """Return the class of an image, or its labels, of a prediction with all classes."""
    if not spec.is_multi_label:
        return prediction.labels[:1]
    limits = dict(zip(spec.classes, spec.thresholds, strict=True))
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    return tuple(label for label, probability in pairs if probability >= limits[label])


def counted_as(prediction: Prediction, spec: PredictorSpec) -> tuple[str | None, ...]:
    """Return the classes as which an image counts in a summary; None is `unknown`, and empty text no label."""
    return (None,) if prediction.unknown else predicted_labels(prediction, spec) or (NO_LABEL,)


def describe_counts(counts: Mapping[str | None, int], n_unreadable: int) -> str:
    """Return the number of images of the most frequent classes, without a label, unknown and unreadable in one line.

    >>> describe_counts({"cats": 3, "dogs": 1_200, None: 2}, 1)
    'dogs 1,200, cats 3, unknown 2, unreadable 1'
    >>> describe_counts({"red": 1, "": 2}, 0)
    'red 1, no label 2'
    >>> describe_counts({f"class {n}": 1 for n in range(12)}, 0).endswith("class 9 1, 2 other classes 2")
    True
    """
    classes = sorted(((n, name) for name, n in counts.items() if name), key=lambda one: -one[0])
    parts = [f"{printable(name)} {n:,}" for n, name in classes[:MOST_COUNTED]]
    if others := classes[MOST_COUNTED:]:
        parts.append(
            f"{len(others):,} other {'class' if len(others) == 1 else 'classes'} {sum(n for n, _ in others):,}"
        )
    parts += [f"no label {counts[NO_LABEL]:,}"] if counts.get(NO_LABEL) else []
    parts += [f"unknown {counts[None]:,}"] if counts.get(None) else []
    parts += [f"unreadable {n_unreadable:,}"] if n_unreadable else []
    return ", ".join(parts) or "no images"


def shortened(prediction: Prediction, spec: PredictorSpec, top: int | None) -> Prediction:
    """Return the first classes of a prediction with all classes, as `predict` gives them."""
    by_default = len(predicted_labels(prediction, spec)) if spec.is_multi_label else DEFAULT_TOP
    n = by_default if top is None else top
    return replace(prediction, labels=prediction.labels[:n], probabilities=prediction.probabilities[:n])


def table_columns(spec: PredictorSpec, abstains: bool) -> list[Column]:
    """Return the columns of a table; a class whose name is that of another column has it in parentheses."""
    facts = [Column("path", str), Column("predicted", str), Column("confidence", float)]
    facts += [Column("unknown", bool)] if abstains else []
    facts += [Column("error", str)]
    names = columns_of_classes(spec.classes, [column.name for column in facts])
    return facts + [Column(name, float) for name in names]


def _row(result: Result, spec: PredictorSpec, abstains: bool) -> Sequence[Cell]:
    if isinstance(result, ImageError):
        empty = [None] * (3 if abstains else 2)
        return [str(result.path), *empty, str(result.reason), *[None] * len(spec.classes)]
    found = dict(zip(result.labels, result.probabilities, strict=True))
    unknown = [result.unknown] if abstains else []
    predicted = LABEL_SEPARATOR.join(predicted_labels(result, spec))
    return [result.path, predicted, result.confidence, *unknown, None, *(found[name] for name in spec.classes)]
