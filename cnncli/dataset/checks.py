"""Dataset checks, shared by `train` and `data check`.

A check is a function that takes a `Dataset` and yields issues. To add one, write the function, put it into
`FOLDER_CHECKS` or `SPLIT_CHECKS`, and word its code in `issues.py`.
"""

from __future__ import annotations

import math
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.duplicates import Group, across_labels, across_splits, identical
from cnncli.dataset.issues import MAX_NAMES, Issue
from cnncli.dataset.labels.folders import OUTSIDE_CLASSES, split_named
from cnncli.dataset.records import ImageRecord, LabeledImages
from cnncli.dataset.split import SplitImages
from cnncli.errors import printable

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig

FEW_IMAGES = 10
"""Classes with fewer training images are reported."""
UNEVEN_RATIO = 3.0
"""Ratio of class sizes, and of a class's fractions of two splits, above which they are reported."""
SWAPPED_RATIO = 1.5
"""A split with so many times the images of train may have been swapped with it."""
SIGNIFICANT_Z = 3.0
"""Standard errors by which the fractions of a class in two splits must differ to be reported."""
LEFT_OUT_FRACTION = 0.1
"""Fraction of a class's files above which left-out files that are photographs are reported."""
MAX_LEAKS = 20
"""Number of images in several splits that are listed one by one."""
NARROW_PEAK = 16_383
"""16-bit images whose largest value is at most this (14 bits) use a quarter of the range or less."""


@dataclass(frozen=True)
class Dataset:
    """A verified dataset.

    Attributes:
        found: what the label source found.
        images: its records with facts, unreadable ones included.
        data: settings of the config.
        assigned: readable images in their final splits; None before they are assigned.
    """

    found: LabeledImages
    images: Sequence[ImageRecord]
    data: DataConfig
    assigned: SplitImages | None = None

    @cached_property
    def good(self) -> tuple[ImageRecord, ...]:
        """Readable images, in the splits of the source."""
        return tuple(one for one in self.images if one.problem is None)

    @cached_property
    def bad(self) -> tuple[ImageRecord, ...]:
        """Unreadable images."""
        return tuple(one for one in self.images if one.problem is not None)

    @cached_property
    def identical(self) -> list[Group]:
        """Groups of identical files."""
        return identical(self.good)

    @property
    def final(self) -> Sequence[ImageRecord]:
        """Readable images in their final splits, if these are assigned."""
        return self.assigned.images if self.assigned else self.good

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of readable images by split and class; the training split comes first."""
        found = Counter((one.split, one.label) for one in self.final)
        splits = list(dict.fromkeys([*(("train",) if self.assigned else ()), *(one.split for one in self.final)]))
        classes = sorted({one.label for one in self.final})
        return {split: {label: found[split, label] for label in classes} for split in splits}


Check = Callable[[Dataset], Iterator[Issue]]


def source_issues(dataset: Dataset) -> Iterator[Issue]:
    """Yield what the label source found wrong with itself."""
    yield from dataset.found.issues


def missing_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits without class folders, a missing train split, and data of fewer than two classes."""
    found = dataset.found
    for split, folder in found.folders.items():
        if not found.classes[split]:
            loose = found.left_out[OUTSIDE_CLASSES]
            code = "data-images-outside-classes" if loose else "data-no-class-folders"
            yield Issue("error", code, (folder,), {"n": loose})
    if found.has_splits and "train" not in found.folders:
        yield Issue("error", "data-no-train-split", (found.root,), {"splits": tuple(found.folders)})
    first = next(iter(found.folders))
    if len(found.classes[first]) == 1:
        only = found.classes[first][0]
        inner = found.class_folder(first, only)
        code = "data-wrapped-folder" if _wraps_a_dataset(inner) else "data-single-class"
        yield Issue("error", code, (found.folders[first],), {"label": only, "inner": inner})


def empty_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield class folders without a readable image."""
    filled = {(one.split, one.label) for one in dataset.good}
    for split, labels in dataset.found.classes.items():
        for label in labels:
            if (split, label) not in filled:
                yield Issue("error", "data-empty-class", (dataset.found.class_folder(split, label),), {"label": label})


def different_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits whose classes are not those of the first split. Classes are matched by name."""
    found = dataset.found
    first = next(iter(found.folders))
    for split in found.folders if found.classes[first] else ():
        if found.classes[split]:
            yield from _difference(found.folders[split], found.classes[split], first, found.classes[first])


def splits_without_effect(dataset: Dataset) -> Iterator[Issue]:
    """Yield fractions that were set although the split is a folder, or is not drawn next to split folders."""
    found, fractions = dataset.found, dataset.data.splits
    usual = type(fractions)()
    for name in ("validation", "test"):
        is_idle = found.has_splits and (name == "test" or name in found.folders)
        if is_idle and getattr(fractions, name) != getattr(usual, name):
            facts = {"key": f"data.splits.{name}", "received": getattr(fractions, name)}
            yield Issue("error", "data-split-without-effect", (found.root,), facts)


def unreadable_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield unreadable images, as errors or as the number of those that are left out."""
    if not dataset.bad:
        return
    if dataset.data.on_bad_image == "skip":
        yield Issue("note", "data-skipped-images", facts={"n": len(dataset.bad)})
        return
    for one in dataset.bad:
        if one.problem is not None:
            yield Issue("error", one.problem.code, (one.path,), {"reason": str(one.problem)})
    yield Issue("error", "data-bad-images", facts={"n": len(dataset.bad)})


def leaked_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield identical images in several splits of the source."""
    leaks = across_splits(dataset.identical)
    if leaks and dataset.data.allow_leakage:
        yield Issue("note", "data-leaks-accepted", facts={"n": len(leaks)})
        return
    for leak in leaks[:MAX_LEAKS]:
        labels = tuple(sorted({one.label for one in leak}))
        facts = {"splits": tuple(one.split for one in leak), "labels": labels}
        code = "data-leak-two-labels" if len(labels) > 1 else "data-leak"
        yield Issue("error", code, tuple(one.path for one in leak), facts)
    if leaks:
        yield Issue("error", "data-leaks", (dataset.found.root,), {"n": len(leaks), "fix": _fix_command(dataset)})


def contradicting_labels(dataset: Dataset) -> Iterator[Issue]:
    """Yield identical images that have two labels within a split."""
    found = across_labels(dataset.identical)
    if found:
        paths = tuple(one.path for one in found[0])
        yield Issue("warning", "data-two-labels", paths, {"n": len(found)})


def similar_class_names(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes whose names differ only in case, spaces, hyphens or the encoding of accents."""
    pairs: dict[tuple[str, str], None] = {}
    for names in dataset.found.classes.values():
        alike: dict[str, str] = {}
        for name in names:
            other = alike.setdefault(_plain_name(name), name)
            if other != name:
                pairs[other, name] = None
    for one, other in pairs:
        yield Issue("warning", "data-class-names-similar", (dataset.found.root,), {"one": one, "other": other})


def left_out_files(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes of which many files are left out that are photographs, in formats that are not read."""
    found = dataset.found
    sizes = Counter((one.split, one.label) for one in dataset.images)
    for (split, label), reasons in found.left_out_of_class.items():
        photographs = {reason: n for reason, n in reasons.items() if reason.endswith(("HEIC image", "RAW file"))}
        n = sum(photographs.values())
        total = n + sizes[split, label]
        if n > LEFT_OUT_FRACTION * total:
            named = tuple(f"{reason} {count:,}" for reason, count in photographs.items())
            path = found.class_folder(split, label)
            yield Issue("warning", "data-files-left-out", (path,), {"n": n, "total": total, "reasons": named})


def narrow_ranges(dataset: Dataset) -> Iterator[Issue]:
    """Yield 16-bit datasets of which no image uses more than 14 bits, such as 12-bit microscopy."""
    deep = [one for one in dataset.good if one.facts.peak]
    peak = max((one.facts.peak for one in deep), default=0)
    if deep and dataset.data.range is None and peak <= NARROW_PEAK:
        suggested = 2 ** math.ceil(math.log2(peak + 1)) - 1
        facts = {"peak": peak, "suggested": str(suggested), "n": len(deep)}
        yield Issue("warning", "data-narrow-range", (dataset.found.root,), facts)


def split_issues(dataset: Dataset) -> Iterator[Issue]:
    """Yield what the draw of splits reports: classes that are too small, or what was drawn."""
    yield from dataset.assigned.issues if dataset.assigned else ()


def similar_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield similar images in different splits, which inflate metrics."""
    assigned = dataset.assigned
    if assigned is None or not assigned.similar.pairs:
        return
    images, found = assigned.images, assigned.similar
    contradicting = [pair for pair in found.pairs if images[pair[0]].label != images[pair[1]].label]
    one, other, similarity = max(contradicting or found.pairs, key=lambda pair: pair[2])
    facts = {
        "n": len(found.pairs),
        "labels": f", {len(contradicting):,} of them with two labels" if contradicting else "",
        "one": f"{printable(images[one].path)} ({images[one].split})",
        "other": f"{printable(images[other].path)} ({images[other].split})",
        "similarity": f"{similarity:.0%}",
        "fix": _fix_command(dataset),
    }
    yield Issue("warning", "data-near-duplicates", (images[one].path, images[other].path), facts)


def few_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes with few images to train on."""
    training = next(iter(dataset.counts().values()), {})
    small = {label: n for label, n in sorted(training.items(), key=lambda item: item[1]) if 0 < n < FEW_IMAGES}
    if small:
        facts = {"minimum": FEW_IMAGES, "n": len(small), "counts": _first(small)}
        yield Issue("warning", "data-few-images", (dataset.found.root,), facts)


def uneven_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits whose largest class has several times the images of the smallest."""
    for split, counts in dataset.counts().items():
        filled = {label: n for label, n in counts.items() if n}
        small, large = min(filled, key=filled.__getitem__, default=""), max(filled, key=filled.__getitem__, default="")
        if filled and filled[large] >= UNEVEN_RATIO * filled[small]:
            advise = split == "train" and dataset.data.class_weights == "none"
            remedy = "; data.class_weights=balanced compensates for this in training" if advise else ""
            sizes = {"n_large": filled[large], "n_small": filled[small]}
            facts = {"split": split, "large": large, "small": small, **sizes, "remedy": remedy}
            yield Issue("warning", "data-uneven-classes", (dataset.found.root,), facts)


def class_distributions(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits whose class fractions differ from train by a large ratio and more than chance explains.

    The standard error is that of a difference of two binomial fractions; a class of 1 % in a split of 100 images that
    has none of 2,000 in train is not worth a warning.
    """
    (_, training), *others = dataset.counts().items() or [("", {})]
    n_training = sum(training.values())
    for split, counts in others:
        n = sum(counts.values())
        odd = {}
        for label, count in counts.items() if n and n_training else ():
            here, there = count / n, training.get(label, 0) / n_training
            pooled = (count + training.get(label, 0)) / (n + n_training)
            error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_training))
            ratio = max(here, there) / max(min(here, there), 1e-9)
            if there and ratio >= UNEVEN_RATIO and abs(here - there) > SIGNIFICANT_Z * error:
                odd[label] = f"{here:.0%} vs. {there:.0%}"
        if odd:
            facts = {"split": split, "fractions": _first(odd), "n": len(odd)}
            yield Issue("warning", "data-class-distribution", (dataset.found.root,), facts)


def swapped_splits(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits with more images than train."""
    (first, training), *others = dataset.counts().items() or [("", {})]
    n_first = sum(training.values())
    for split, counts in others:
        n = sum(counts.values())
        if n_first and n > SWAPPED_RATIO * n_first:
            facts = {"split": split, "n": n, "first": first, "n_first": n_first}
            yield Issue("warning", "data-splits-swapped", (dataset.found.root,), facts)


LAYOUT_CHECKS: tuple[Check, ...] = (missing_classes, empty_classes, different_classes)
"""Checks of the class folders."""

FOLDER_CHECKS: tuple[Check, ...] = (
    source_issues,
    *LAYOUT_CHECKS,
    splits_without_effect,
    unreadable_images,
    leaked_images,
    contradicting_labels,
    similar_class_names,
    left_out_files,
    narrow_ranges,
)
"""Checks of folders and files, made before splits are assigned."""

SPLIT_CHECKS: tuple[Check, ...] = (
    split_issues,
    similar_images,
    few_images,
    uneven_classes,
    class_distributions,
    swapped_splits,
)
"""Checks of the final splits."""


def run_checks(dataset: Dataset, checks: Sequence[Check]) -> list[Issue]:
    """Return the issues that checks find, in order."""
    return [issue for check in checks for issue in check(dataset)]


def known_class_issues(
    folder: Path, present: Iterable[str], images: Sequence[ImageRecord], classes: Sequence[str], allow_missing: bool
) -> Iterator[Issue]:
    """Yield what keeps class folders from being evaluated with a classifier that knows `classes`.

    Args:
        folder: parent of the class folders.
        present: names of the class folders.
        images: readable images in them.
        classes: classes of the classifier.
        allow_missing: accept classes that are absent or empty.
    """
    filled = {one.label for one in images}
    for name in sorted(set(present) - set(classes)):
        yield Issue("error", "data-class-unknown", (folder,), {"label": name, "known": tuple(classes)})
    if not allow_missing:
        for name in sorted(set(classes) - filled):
            yield Issue("error", "data-class-absent", (folder,), {"label": name})
    elif not filled:
        yield Issue("error", "data-no-known-class", (folder,), {"known": tuple(classes)})


def _difference(folder: Path, classes: Collection[str], other: str, expected: Collection[str]) -> Iterator[Issue]:
    missing = [name for name in expected if name not in classes]
    extra = [name for name in classes if name not in expected]
    renamed = _renamed(missing, extra)
    for there, here in renamed.items():
        facts = {"received": here, "expected": there, "other": other}
        yield Issue("error", "data-class-renamed", (folder,), facts)
    missing = [name for name in missing if name not in renamed]
    extra = [name for name in extra if name not in renamed.values()]
    if len(missing) == len(expected) and extra:
        names = {"expected": tuple(expected), "received": tuple(classes)}
        yield Issue("error", "data-classes-differ", (folder,), {"other": other, **names})
        return
    for name in missing:
        yield Issue("error", "data-class-missing", (folder,), {"label": name, "other": other})
    for name in extra:
        yield Issue("error", "data-class-extra", (folder,), {"label": name, "other": other})


def _renamed(missing: Iterable[str], extra: Iterable[str]) -> dict[str, str]:
    """Return missing class names with the names that these classes seem to have instead."""
    plain = {_plain_name(name).rstrip("s"): name for name in extra}
    return {name: plain.pop(key) for name in missing if (key := _plain_name(name).rstrip("s")) in plain}


def _plain_name(name: str) -> str:
    """Return a name without case, spaces, separators and differences in the encoding of accents."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    kept = [sign for place, sign in enumerate(plain) if sign not in " _\t" and (sign != "-" or not place)]
    return "".join(kept) or plain


def _wraps_a_dataset(folder: Path) -> bool:
    """Return whether a folder holds a dataset; archives often unpack into one folder around everything."""
    try:
        inside = {path.name for path in folder.iterdir() if path.is_dir()}
    except OSError:
        return False
    return len(inside) > 1 or any(split_named(name) == "train" for name in inside)


def _fix_command(dataset: Dataset) -> str:
    if not dataset.found.has_splits:
        return ""
    return f"; `cnncli data check {printable(shlex.quote(str(dataset.found.root)))} --fix-splits` moves them together"


def _first(values: Mapping[str, object]) -> dict[str, object]:
    return dict(list(values.items())[:MAX_NAMES])
