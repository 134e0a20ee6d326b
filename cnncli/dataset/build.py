"""From a folder to a manifest: every image found, verified, split and put in order.

All that is wrong with a folder is told at once: its folders and classes, unreadable images, images in two splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnncli.dataset.classes import class_problems, class_warnings, known_class_problems
from cnncli.dataset.divide import Divided, divide
from cnncli.dataset.duplicates import across_splits, duplicates, leakage_lines, two_label_notes
from cnncli.dataset.folder_report import FolderFacts, folder_facts
from cnncli.dataset.inventory import MAX_PIXELS, ImageRecord, Progress, verified
from cnncli.dataset.manifest import Manifest, Row
from cnncli.dataset.near_duplicates import how_to_mend, near_warnings
from cnncli.dataset.scan import ALL, SPLITS, Scan, images_below, scan
from cnncli.dataset.sizes import size_warnings
from cnncli.errors import DataError, printable

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig, SplitFractions

__all__ = ["build_manifest", "images_below", "manifest_of_folder", "scan_folder"]


def build_manifest(
    data: DataConfig,
    seed: int,
    index_path: Path | None = None,
    progress: Progress | None = None,
    comparing: Progress | None = None,
) -> Manifest:
    """The manifest of a config's data.

    Class folders alone are split by `data.splits`; where there is a train but no validation folder, validation is
    taken from train. Both are drawn by the seed, and a note says so; equal images and those that look alike stay
    together.

    Args:
        data: which images.
        seed: of the split.
        index_path: file of the index of known images; default: in the cache folder.
        progress: is told how many images of how many are verified.
        comparing: is told how many comparisons of how many are done, of images that may look alike.
    Raises: DataError: everything that is wrong, a line each.
    """
    found = scan(data.path)
    images = verified(found, found.candidates, data.max_pixels, index_path, progress)
    good, bad = _sorted_out(images)
    problems = [*_idle_shares(found, data.splits), *class_problems(found, good)]
    if data.on_bad_image == "error" and bad:
        problems += [*_refusals(bad), "data.on_bad_image: skip leaves images that cannot be read out"]
    groups = duplicates(good)
    leaks = leakage_lines(groups)
    if leaks and not data.allow_leakage:
        allowed = "data.allow_leakage: true accepts images that lie in several splits"
        problems += [*leaks, f"{allowed}; {how_to_mend(found.root)}"]
    if problems:
        raise DataError(problems)
    divided = divide(found, good, data.splits, seed, comparing)
    notes = [*found.notes, *divided.notes, *_skip_notes(bad), *two_label_notes(groups)]
    if leaks:
        notes.append(
            f"accepted by data.allow_leakage: images that lie in several splits, {len(across_splits(groups)):,}"
        )
    manifest = _manifest(found, divided.images, bad, notes, divided.near.pairs)
    return replace(manifest, warnings=tuple(_warnings(found, divided, manifest)))


def manifest_of_folder(
    path: Path,
    classes: Sequence[str],
    allow_missing: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
    on_bad_image: Literal["error", "skip"] = "error",
    index_path: Path | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Another folder's images for a classifier that knows `classes`, all in the split test.

    Args:
        path: its test folder is taken where it has split folders, else all its class folders.
        classes: matched by name; they are the manifest's classes, whether they occur or not.
        allow_missing: accept that some of them do not occur.
        max_pixels: as in the config.
        on_bad_image: as in the config.
        index_path: as in `build_manifest`.
        progress: as in `build_manifest`.
    Raises: DataError: everything that is wrong, a line each.
    """
    found = scan(path)
    split = "test" if found.has_splits else ALL
    if split not in found.folders:
        there = ", ".join(printable(folder) for folder in found.folders.values())
        raise DataError(f"{printable(found.root)}: no test folder; name one of its other splits: {there}")
    chosen = [one for one in found.candidates if one.split == split]
    good, bad = _sorted_out(verified(found, chosen, max_pixels, index_path, progress))
    folder, present = found.folders[split], found.classes[split]
    problems = [*found.problems, *known_class_problems(folder, present, good, classes, allow_missing)]
    if on_bad_image == "error":
        problems += _refusals(bad)
    if problems:
        raise DataError(problems)
    notes = [*_skip_notes(bad), *two_label_notes(duplicates(good))]
    tested = [replace(one, split="test") for one in good]
    return replace(_manifest(found, tested, bad, notes), classes=tuple(classes))


def scan_folder(
    path: Path,
    max_pixels: int = MAX_PIXELS,
    index_path: Path | None = None,
    progress: Progress | None = None,
    comparing: Progress | None = None,
) -> FolderFacts:
    """A folder in figures, with everything that is wrong with it.

    Raises: DataError: there is no such folder; anything else is among the facts.
    """
    found = scan(path)
    return folder_facts(found, verified(found, found.candidates, max_pixels, index_path, progress), comparing)


def _warnings(found: Scan, divided: Divided, manifest: Manifest) -> list[str]:
    mending = f"; {how_to_mend(found.root)}" if found.has_splits else ""
    return [
        *near_warnings(divided.images, divided.near, f"The run lists them in near_duplicates.csv{mending}"),
        *class_warnings(found),
        *size_warnings(manifest.counts()),
    ]


def _sorted_out(images: Sequence[ImageRecord]) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """The readable and the others."""
    return [one for one in images if one.problem is None], [one for one in images if one.problem is not None]


def _refusals(bad: Sequence[ImageRecord]) -> list[str]:
    return [f"{printable(one.path)}: {one.problem}" for one in bad]


def _skip_notes(bad: Sequence[ImageRecord]) -> list[str]:
    return [f"unreadable images left out: {len(bad):,}"] if bad else []


def _idle_shares(found: Scan, fractions: SplitFractions) -> list[str]:
    """A line for each share that was chosen although the split it is for is a folder, or not drawn beside folders."""
    idle = [name for name in ("validation", "test") if found.has_splits and (name == "test" or name in found.folders)]
    usual = type(fractions)()
    return [
        f"data.splits.{name}: has no effect (received {getattr(fractions, name):g}), since "
        f"{printable(found.root)} has split folders; leave it out"
        for name in idle
        if getattr(fractions, name) != getattr(usual, name)
    ]


def _manifest(
    found: Scan,
    good: Sequence[ImageRecord],
    bad: Sequence[ImageRecord],
    notes: Sequence[str],
    near: Sequence[tuple[int, int, float]] = (),
) -> Manifest:
    """The manifest of readable images in their final splits; `near`: places of those that look alike."""
    rows = [
        Row(one.file, one.label, one.split, one.digest, one.facts.size_bytes, one.facts.width, one.facts.height)
        for one in good
    ]
    return Manifest(
        rows=tuple(sorted(rows, key=_order)),
        classes=tuple(sorted({row.label for row in rows})),
        left_out=dict(found.left_out),
        skipped=tuple((one.path, one.problem or "") for one in bad),
        notes=tuple(notes),
        near=tuple(_in_order(rows[one], rows[other], correlation) for one, other, correlation in near),
    )


def _in_order(one: Row, other: Row, correlation: float) -> tuple[Row, Row, float]:
    first, second = sorted((one, other), key=_order)
    return first, second, correlation


def _order(row: Row) -> tuple[int, str, str]:
    return SPLITS.index(row.split), row.label, row.file
