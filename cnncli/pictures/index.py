"""From a folder to a manifest: every picture found, verified, split and put in order.

All that is wrong with a folder is told at once: its folders and classes, unreadable pictures, pictures in two splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnncli.errors import DataError, printable
from cnncli.pictures.check import FolderFacts, folder_facts
from cnncli.pictures.classes import class_problems, known_class_problems, too_small_problems
from cnncli.pictures.duplicates import across_splits, duplicates, leakage_lines, two_label_notes
from cnncli.pictures.inventory import MAX_PIXELS, Picture, Progress, verified
from cnncli.pictures.manifest import Manifest, Row
from cnncli.pictures.scan import ALL, SPLITS, Scan, pictures_below, scan
from cnncli.pictures.split import REST, split_pictures

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig, SplitFractions

__all__ = ["build_manifest", "manifest_of_folder", "pictures_below", "scan_folder"]


def build_manifest(
    data: DataConfig, seed: int, index_path: Path | None = None, progress: Progress | None = None
) -> Manifest:
    """The manifest of a config's data.

    Class folders alone are split by `data.splits`; where there is a train but no validation folder, validation is
    taken from train. Both are drawn by the seed, and a note says so.

    Args:
        data: which pictures.
        seed: of the split.
        index_path: file of the index of known pictures; default: in the cache folder.
        progress: is told how many pictures of how many are verified.
    Raises: DataError: everything that is wrong, a line each.
    """
    found = scan(data.path)
    pictures = verified(found, found.candidates, data.max_pixels, index_path, progress)
    good, bad = _sorted_out(pictures)
    problems = [*_idle_shares(found, data.splits), *class_problems(found, good)]
    if data.on_bad_image == "error" and bad:
        problems += [*_refusals(bad), "data.on_bad_image: skip leaves pictures that cannot be read out"]
    groups = duplicates(good)
    leaks = leakage_lines(groups)
    if leaks and not data.allow_leakage:
        problems += [*leaks, "data.allow_leakage: true accepts pictures that lie in several splits"]
    if not problems:
        good, problems, split_notes = _divided(found, good, data.splits, seed)
    if problems:
        raise DataError(problems)
    notes = [*found.notes, *split_notes, *_skip_notes(bad), *two_label_notes(groups)]
    if leaks:
        notes.append(
            f"accepted by data.allow_leakage: pictures that lie in several splits, {len(across_splits(groups)):,}"
        )
    return _manifest(found, good, bad, notes)


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
    """Another folder's pictures for a classifier that knows `classes`, all in the split test.

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
    path: Path, max_pixels: int = MAX_PIXELS, index_path: Path | None = None, progress: Progress | None = None
) -> FolderFacts:
    """A folder in figures, with everything that is wrong with it.

    Raises: DataError: there is no such folder; anything else is among the facts.
    """
    found = scan(path)
    return folder_facts(found, verified(found, found.candidates, max_pixels, index_path, progress))


def _sorted_out(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """The readable and the others."""
    return [one for one in pictures if one.problem is None], [one for one in pictures if one.problem is not None]


def _refusals(bad: Sequence[Picture]) -> list[str]:
    return [f"{printable(one.path)}: {one.problem}" for one in bad]


def _skip_notes(bad: Sequence[Picture]) -> list[str]:
    return [f"unreadable pictures left out: {len(bad):,}"] if bad else []


def _divided(
    found: Scan, good: list[Picture], fractions: SplitFractions, seed: int
) -> tuple[list[Picture], list[str], list[str]]:
    """The pictures with their final splits, problems and notes."""
    if not found.has_splits:
        shares = {"validation": fractions.validation, "test": fractions.test}
        whole = ALL
    elif "validation" not in found.folders:
        shares = {"validation": fractions.validation}
        whole = REST
    else:
        shares, whole = {}, REST
    shares = {name: share for name, share in shares.items() if share > 0}
    pool = [one for one in good if one.split == whole] if shares else []
    labels = [one.label for one in pool]
    splits = split_pictures([one.digest for one in pool], labels, shares, seed)
    problems = too_small_problems(found.folders[whole], labels, splits, (REST, *shares)) if shares else []
    divided = [replace(one, split=split) for one, split in zip(pool, splits, strict=True)]
    kept = [one for one in good if one.split != whole or not shares]
    return kept + divided, problems, _split_notes(found, divided, shares, seed)


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


def _split_notes(found: Scan, divided: Sequence[Picture], shares: dict[str, float], seed: int) -> list[str]:
    notes = []
    if shares:
        counts = {name: sum(one.split == name for one in divided) for name in (REST, *shares)}
        parts = ", ".join(f"{name} {n:,}" for name, n in counts.items())
        missing = "validation folder: taken from train" if found.has_splits else "split folders: divided"
        notes.append(f"no {missing} by seed {seed}, stratified ({parts})")
    if "test" not in (found.folders if found.has_splits else shares):
        notes.append("no test split: figures are for validation, which training also chooses by")
    return notes


def _manifest(found: Scan, good: Sequence[Picture], bad: Sequence[Picture], notes: Sequence[str]) -> Manifest:
    rows = [
        Row(one.file, one.label, one.split, one.digest, one.facts.size_bytes, one.facts.width, one.facts.height)
        for one in good
    ]
    rows.sort(key=lambda row: (SPLITS.index(row.split), row.label, row.file))
    skipped = tuple((one.path, one.problem or "") for one in bad)
    classes = tuple(sorted({row.label for row in rows}))
    return Manifest(tuple(rows), classes, dict(found.left_out), skipped, tuple(notes))
