"""Build the manifest of a folder of images, for training or evaluation, or a report on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import median_low
from typing import TYPE_CHECKING, Any

from cnncli.dataset.checks import FOLDER_CHECKS, SPLIT_CHECKS, contradicting_labels, run_checks, unreadable_images
from cnncli.dataset.dataset import Dataset, read_dataset
from cnncli.dataset.duplicates import Group, across_labels, across_splits, most_similar, within_splits
from cnncli.dataset.issues import Issue, error, messages_of
from cnncli.dataset.labels.source import read_labels
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, count_images
from cnncli.dataset.table import ImageTable
from cnncli.dataset.verification import verify_records
from cnncli.errors import DataError, Message, printable
from cnncli.images.verify import ImageFacts
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig
    from cnncli.config.schema import Config


def build_manifest(
    data: DataConfig, seed: int, console: Console | None = None, *, old: Sequence[ImageRecord] | None = None
) -> Manifest:
    """Build the manifest of a config's data.

    Class folders without split folders are divided by `data.splits`; if there is a train but no validation folder,
    validation is taken from train. Both are drawn with the seed. Identical and similar images stay together.

    Args:
        data: Settings of the data.
        seed: Seed of the split.
        console: Console for progress.
        old: Images of a run to which these are added, so that a single class suffices. Images of their groups, and
            images that are identical with or similar to one of them, take its split.

    Raises:
        DataError: All problems, one message each.
    """
    dataset = read_dataset(data, seed, console, old=old)
    issues = list(dataset.found.issues)
    for checks in (FOLDER_CHECKS, SPLIT_CHECKS):
        issues += run_checks(dataset, checks)
        _raise_errors(issues)
    images = dataset.assigned.images
    pairs = most_similar((*dataset.assigned.pairs, *dataset.assigned.divided))
    similar = [
        (sorted((_row(images[one]), _row(images[other])), key=order_of_row), score) for one, other, score in pairs
    ]
    return Manifest(
        rows=ImageTable(sorted(images, key=order_of_row)),
        classes=tuple(sorted({label for one in images for label in one.labels})),
        skipped=dataset.bad,
        issues=tuple(issues),
        is_multi_label=dataset.found.is_multi_label,
        similar=tuple((one, other, score) for (one, other), score in similar),
    )


def index_images(config: Config, console: Console) -> Manifest:
    """Build the manifest of a config's data, and report its splits and issues."""
    manifest = build_manifest(config.data, config.seed, console)
    sizes = ", ".join(f"{split} {len(manifest.split(split)):,}" for split in manifest.counts())
    kind = "labels" if manifest.is_multi_label else "classes"
    console.phase("images", f"{len(manifest.classes)} {kind} · {sizes}")
    manifest.log_issues()
    return manifest


def manifest_of_folder(
    data: DataConfig, classes: Sequence[str], allow_missing: bool = False, console: Console | None = None
) -> Manifest:
    """Build the manifest of a different folder for a classifier; all images are in the test split.

    Args:
        data: Settings with the folder as path: its test folder is used, or all class folders if it has no splits.
        classes: Classes of the classifier, matched by name.
        allow_missing: Whether some of the classes may be missing.
        console: Console for progress.

    Raises:
        DataError: All problems, one message each.
    """
    found = read_labels(data)
    split = "test" if found.has_splits else UNSPLIT
    if split not in found.folders:
        folders = ", ".join(map(printable, found.folders.values()))
        hint = "" if found.table else f"; pass one of the split folders instead: {folders}"
        text = f"{printable(found.table or found.root)}: no test split{hint}"
        raise DataError(Message("data-no-test-folder", text, path=found.root))
    chosen = [one for one in found.records if one.split == split]
    dataset = Dataset(found, verify_records(chosen, data, console), data)
    issues = [one for one in found.issues if one.severity == "error"]
    issues += _class_issues(dataset, split, classes, allow_missing)
    issues += run_checks(dataset, [unreadable_images, contradicting_labels])
    _raise_errors(issues)
    rows = sorted((replace(one, split="test") for one in dataset.good), key=order_of_row)
    return Manifest(ImageTable(rows), tuple(classes), dataset.bad, tuple(issues), is_multi_label=found.is_multi_label)


def report_on_data(data: DataConfig, console: Console | None = None) -> tuple[dict[str, Any], tuple[Issue, ...]]:
    """Describe images, and check them as training would.

    Returns:
        The report, as printed by `data check --json`, and the issues whose texts it contains. Everything except
        `unreadable` and `left_out` covers readable images. Of identical files across splits, or with two labels in one
        split, the first of each is listed.

    Raises:
        DataError: There is no such folder; all other problems are issues.
    """
    dataset = read_dataset(data, console=console)
    issues = (*dataset.found.issues, *run_checks(dataset, [*FOLDER_CHECKS, *SPLIT_CHECKS]))
    found, good, groups, images = dataset.found, dataset.good, dataset.identical, dataset.assigned.images
    document = {
        "path": str(found.root),
        "table": found.table and str(found.table),
        "ok": not messages_of(issues, "error"),
        "layout": "splits" if found.has_splits else "classes",
        "multi_label": found.is_multi_label,
        "classes": list(found.labels),
        "total": len(good),
        "images": {split: sum(one.split == split for one in good) for split in found.classes},
        "counts": count_images(good, found.classes),
        "width": _spread([one.facts.width for one in good]),
        "height": _spread([one.facts.height for one in good]),
        "size_bytes": _spread([one.facts.size_bytes for one in good]),
        "formats": dict(Counter(one.facts.format for one in good).most_common()),
        "modes": dict(Counter(one.facts.mode for one in good).most_common()),
        "unreadable": [{"path": str(path), "code": reason.code, "reason": str(reason)} for path, reason in dataset.bad],
        "duplicates_within": _files(within_splits(groups)),
        "duplicates_across": _files(across_splits(groups)),
        "two_labels": _files(across_labels(groups)),
        "near_duplicates": [
            {
                "paths": [images[one].file, images[other].file],
                "splits": [images[one].split, images[other].split],
                "correlation": round(correlation, 4),
            }
            for one, other, correlation in dataset.assigned.pairs
        ],
        "left_out": dict(found.left_out.most_common()),
        "issues": [issue.to_dict() for issue in issues],
    }
    return document, issues


def _class_issues(dataset: Dataset, split: str, classes: Sequence[str], allow_missing: bool) -> Iterator[Issue]:
    """Yield problems that prevent evaluation with a classifier that has the given classes."""
    place, filled = dataset.found.place(split), {label for one in dataset.good for label in one.labels}
    if unknown := tuple(name for name in dataset.found.classes[split] if name not in classes):
        yield error("data-class-unknown", place, labels=unknown, known=tuple(classes))
    absent = tuple(sorted(set(classes) - filled))
    if absent and not ((allow_missing or dataset.found.is_multi_label) and filled):
        hint = "; --allow-missing accepts this" if filled and not allow_missing else ""
        yield error("data-class-absent", place, labels=absent, hint=hint)


def _raise_errors(issues: Sequence[Issue]) -> None:
    if errors := messages_of(issues, "error"):
        raise DataError(errors)


def _row(image: ImageRecord) -> ImageRecord:
    """Drop the facts that a manifest does not have."""
    facts = image.facts
    return replace(image, facts=ImageFacts(facts.digest, facts.size_bytes, facts.width, facts.height))


def order_of_row(row: ImageRecord) -> tuple[int, str, str]:
    """Return the place of a row in a manifest: by split, label and path."""
    return SPLITS.index(row.split), row.label, row.file


def _spread(values: Sequence[int]) -> dict[str, int]:
    values = values or [0]
    return {"min": min(values), "median": median_low(values), "max": max(values)}


def _files(groups: Iterable[Group]) -> list[list[str]]:
    return [[one.file for one in group] for group in groups]
