"""From a dataset to its manifest or its report: find, verify, assign splits, check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnncli.dataset.checks import (
    FOLDER_CHECKS,
    LAYOUT_CHECKS,
    SPLIT_CHECKS,
    Dataset,
    known_class_issues,
    run_checks,
    split_issues,
)
from cnncli.dataset.folder_report import FolderReport, report_of
from cnncli.dataset.issues import Issue, messages_of
from cnncli.dataset.labels.folders import read_folders
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, LabeledImages
from cnncli.dataset.split import assign_splits
from cnncli.dataset.verification import MAX_PIXELS, verify_records
from cnncli.dataset.watching import UNWATCHED, Watching
from cnncli.errors import DataError, Message, printable
from cnncli.images.verify import ImageFacts

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig


def build_manifest(
    data: DataConfig, seed: int, watching: Watching = UNWATCHED, index_path: Path | None = None
) -> Manifest:
    """Build the manifest of a config's data.

    Class folders without split folders are divided by `data.splits`; if there is a train but no validation folder,
    validation is taken from train. Both are drawn with the seed. Identical and similar images stay together.

    Args:
        data: settings of the data.
        seed: seed of the split.
        watching: receivers of progress.
        index_path: file of the index of known images; default: in the cache directory.

    Raises:
        DataError: everything that is wrong, a message each.
    """
    dataset = _read(data, watching, index_path)
    issues = run_checks(dataset, FOLDER_CHECKS)
    _raise_errors(issues)
    dataset = _assign(dataset, seed, watching)
    issues += run_checks(dataset, SPLIT_CHECKS)
    _raise_errors(issues)
    return _manifest(dataset, issues)


def report_on_folder(
    path: Path, max_pixels: int = MAX_PIXELS, watching: Watching = UNWATCHED, index_path: Path | None = None
) -> FolderReport:
    """Describe a folder and check it as a training with the default settings would.

    Raises:
        DataError: there is no such folder; everything else is an issue of the report.
    """
    from cnncli.config.schema import DataConfig

    dataset = _read(DataConfig(path=path, max_pixels=max_pixels), watching, index_path)
    issues = run_checks(dataset, FOLDER_CHECKS)
    assigned = _assign(dataset, 0, watching)
    # Where classes are missing or empty, nothing is said about the size of those that remain.
    is_incomplete = bool(run_checks(dataset, LAYOUT_CHECKS))
    checks = [check for check in SPLIT_CHECKS if not is_incomplete or check is not split_issues]
    return report_of(dataset, assigned, issues + run_checks(assigned, checks))


def manifest_of_folder(
    path: Path,
    classes: Sequence[str],
    allow_missing: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
    on_bad_image: Literal["error", "skip"] = "error",
    watching: Watching = UNWATCHED,
    index_path: Path | None = None,
) -> Manifest:
    """Build the manifest of another folder for a classifier that knows `classes`; all images are in the split test.

    Args:
        path: its test folder is taken if it has split folders, else all its class folders.
        classes: classes of the classifier, matched by name.
        allow_missing: accept that some of them do not occur.
        max_pixels: as in the config.
        on_bad_image: as in the config.
        watching: receivers of progress.
        index_path: as in `build_manifest`.

    Raises:
        DataError: everything that is wrong, a message each.
    """
    from cnncli.config.schema import DataConfig

    found = read_folders(path)
    split = "test" if found.has_splits else UNSPLIT
    if split not in found.folders:
        others = ", ".join(printable(folder) for folder in found.folders.values())
        text = f"{printable(found.root)}: no test folder; name one of its other splits: {others}"
        raise DataError(Message("data-no-test-folder", text, path=found.root))
    chosen = [one for one in found.records if one.split == split]
    images = verify_records(found, chosen, max_pixels, index_path, watching.verifying)
    dataset = Dataset(found, images, DataConfig(path=path, on_bad_image=on_bad_image))
    known = known_class_issues(found.folders[split], found.classes[split], dataset.good, classes, allow_missing)
    issues = [*(one for one in found.issues if one.severity == "error"), *known]
    issues += [issue for issue in run_checks(dataset, FOLDER_CHECKS) if _is_about_files(issue)]
    _raise_errors(issues)
    rows = tuple(sorted((_row(replace(one, split="test")) for one in dataset.good), key=_order))
    return Manifest(rows, tuple(classes), dict(found.left_out), _skipped(dataset), tuple(issues))


def _is_about_files(issue: Issue) -> bool:
    return not issue.code.startswith("data-") or issue.code in ("data-skipped-images", "data-two-labels")


def _read(data: DataConfig, watching: Watching, index_path: Path | None) -> Dataset:
    found = read_folders(data.path)
    images: Sequence[ImageRecord] = verify_records(
        found, found.records, data.max_pixels, index_path, watching.verifying
    )
    if data.min_images > 1:
        images = _without_small_classes(found, images, data.min_images)
    return Dataset(found, images, data)


def _without_small_classes(found: LabeledImages, images: Sequence[ImageRecord], minimum: int) -> Sequence[ImageRecord]:
    """Leave out classes with fewer readable images than the minimum, in all splits together."""
    sizes = Counter(one.label for one in images if one.problem is None)
    labels = sorted({label for names in found.classes.values() for label in names})
    small = {label: sizes[label] for label in labels if sizes[label] < minimum}
    if not small:
        return images
    if len(labels) - len(small) < 2:
        found.issues.append(Issue("error", "data-all-classes-left-out", (found.root,), {"minimum": minimum}))
        return images
    found.issues.append(
        Issue("note", "data-classes-left-out", (found.root,), {"minimum": minimum, "n": len(small), "counts": small})
    )
    for split, names in found.classes.items():
        found.classes[split] = tuple(name for name in names if name not in small)
    return [one for one in images if one.label not in small]


def _assign(dataset: Dataset, seed: int, watching: Watching) -> Dataset:
    data = dataset.data
    return replace(dataset, assigned=assign_splits(dataset.found, dataset.good, data.splits, seed, watching.comparing))


def _raise_errors(issues: Sequence[Issue]) -> None:
    if errors := messages_of(issues, "error"):
        raise DataError(errors)


def _manifest(dataset: Dataset, issues: Sequence[Issue]) -> Manifest:
    assigned = dataset.assigned
    assert assigned is not None  # noqa: S101 - for mypy; `build_manifest` has assigned the splits
    rows = [_row(one) for one in assigned.images]
    return Manifest(
        rows=tuple(sorted(rows, key=_order)),
        classes=tuple(sorted({row.label for row in rows})),
        left_out=dict(dataset.found.left_out),
        skipped=_skipped(dataset),
        issues=tuple(issues),
        similar=tuple(_in_order(rows[one], rows[other], score) for one, other, score in assigned.similar.pairs),
    )


def _row(image: ImageRecord) -> ImageRecord:
    """Drop what is only needed to compare images: a manifest of a million rows stays in memory."""
    facts = image.facts
    return replace(image, facts=ImageFacts(facts.digest, facts.size_bytes, facts.width, facts.height), key=None)


def _skipped(dataset: Dataset) -> tuple[tuple[Path, Message], ...]:
    return tuple((one.path, one.problem) for one in dataset.bad if one.problem is not None)


def _in_order(one: ImageRecord, other: ImageRecord, score: float) -> tuple[ImageRecord, ImageRecord, float]:
    first, second = sorted((one, other), key=_order)
    return first, second, score


def _order(row: ImageRecord) -> tuple[int, str, str]:
    return SPLITS.index(row.split), row.label, row.file
