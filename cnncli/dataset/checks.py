"""Dataset checks, shared by `train` and `data check`.

A check is a function that takes a `Dataset` and yields issues. To add one, write the function, add it to
`FOLDER_CHECKS` or `SPLIT_CHECKS`, and word its code in `issues.py`.
"""

from __future__ import annotations

import math
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cnncli.dataset.dataset import Dataset
from cnncli.dataset.duplicates import MOST_LISTED, across_labels, across_splits
from cnncli.dataset.issues import Issue, error, note, warning
from cnncli.dataset.labels.folders import OUTSIDE_CLASSES, RAW, folder_names, missing_readers, split_named
from cnncli.dataset.labels.table import tables_in
from cnncli.dataset.perceptual_hash import Pair
from cnncli.dataset.records import UNSPLIT, ImageRecord
from cnncli.terminal.formatting import short_path

FEW_IMAGES = 10  # classes with fewer training images are reported
UNEVEN_RATIO = 3.0  # ratio of class sizes, and of a class's fractions of two splits, from which they are reported
SWAPPED_RATIO = 1.5  # ratio of the images of a split to those of train above which the two may have been swapped
SIGNIFICANT_Z = 3.0  # standard errors by which the fractions of a class in two splits must differ to be reported
LEFT_OUT_FRACTION = 0.1  # fraction of a class's files above which photographs in formats that are not read are reported
MAX_LEAKS = 20  # number of images in several splits that are listed one by one
NARROW_PEAK = 16_383  # 16-bit images whose largest value is at most this (14 bits) use a quarter of the range or less

Check = Callable[[Dataset], Iterator[Issue]]


def missing_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits without class folders, a missing train split, and datasets with fewer than two classes."""
    found = dataset.found
    for split, folder in found.folders.items():
        if not found.classes[split] and not found.table and not found.shards:
            tables = tuple(path.name for path in tables_in(folder))
            hint = f", or use the table there: data.labels={shlex.quote(str(folder / tables[0]))}" if tables else ""
            yield error("data-no-class-folders", folder, n=found.left_out[OUTSIDE_CLASSES], hint=hint)
    if found.has_splits and "train" not in found.folders:
        yield error("data-no-train-split", found.root, splits=tuple(found.folders))
    first, folder = next(iter(found.folders.items()))
    if len(found.classes[first]) == 1 and not found.is_multi_label:
        only = found.classes[first][0]
        inside = folder_names(folder / only)
        # Archives are often unpacked into a single folder that contains the dataset.
        is_dataset = len(inside) > 1 or any(split_named(name) == "train" for name in inside)
        hint = f". Did you mean {folder / only}?" if is_dataset else ""
        if is_dataset or dataset.old is None:
            yield error("data-single-class", found.place(first), label=only, hint=hint)


def empty_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes without a readable image; with several labels per image, only those of training."""
    filled = {(one.split, label) for one in dataset.good for label in one.labels}
    for split, labels in dataset.found.classes.items():
        for label in labels if split in ("train", UNSPLIT) or not dataset.found.is_multi_label else ():
            if (split, label) not in filled:
                yield error("data-empty-class", dataset.found.place(split, label), label=label)


def different_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits whose classes differ from those of the first split, matched by name."""
    found = dataset.found
    first, *others = found.folders
    expected = found.classes[first]
    for split in others:
        received = found.classes[split]
        missing = tuple(name for name in expected if name not in received)
        additional = tuple(name for name in received if name not in expected)
        if expected and received and (missing or additional):
            facts = {"missing": missing, "additional": additional, "renamed": _renamed(missing, additional)}
            # A table or several labels per image have no folder for a class without images, and a rare class need not
            # have images in every split; a class folder that is missing was forgotten or has another name.
            issue = warning if (found.table or found.is_multi_label) and not additional else error
            yield issue("data-classes-differ", found.place(split), split=split, other=first, **facts)


def splits_without_effect(dataset: Dataset) -> Iterator[Issue]:
    """Yield fractions that are set for a split that has a folder, or that is never drawn next to split folders."""
    found, fractions = dataset.found, dataset.data.splits
    usual = type(fractions)()
    for name in ("validation", "test"):
        is_idle = found.has_splits and (name == "test" or name in found.folders)
        if is_idle and (received := getattr(fractions, name)) != getattr(usual, name):
            yield error("data-split-without-effect", found.root, key=f"data.splits.{name}", received=received)


def unreadable_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield an error for each unreadable image, or a note with the number of those left out."""
    if dataset.bad and dataset.data.on_bad_image == "skip":
        yield note("data-skipped-images", n=len(dataset.bad))
    elif dataset.bad:
        for path, problem in dataset.bad:
            yield error(problem.code, path, reason=str(problem))
        yield error("data-bad-images", n=len(dataset.bad))


def leaked_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield identical images in several splits of the source."""
    leaks = across_splits(dataset.identical)
    if leaks and dataset.data.allow_leakage:
        yield note("data-leaks-accepted", n=len(leaks))
        return
    for leak in leaks[:MAX_LEAKS]:
        labels = tuple(sorted({one.label for one in leak}))
        yield error("data-leak", *(one.path for one in leak), splits=tuple(one.split for one in leak), labels=labels)
    if leaks:
        yield error("data-leaks", dataset.found.root, n=len(leaks), fix=_fix_command(dataset))


def contradicting_labels(dataset: Dataset) -> Iterator[Issue]:
    """Yield identical images with two labels in one split."""
    found = across_labels(dataset.identical)
    if found:
        yield warning("data-two-labels", *(one.path for one in found[0]), n=len(found))


def similar_class_names(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes whose names differ only in case, spaces, hyphens or the encoding of accents."""
    names: dict[str, str] = {}
    for other in dataset.found.labels:
        one = names.setdefault(_plain_name(other), other)
        if one != other:
            yield warning("data-class-names-similar", dataset.found.root, one=one, other=other)


def left_out_files(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes with many photographs that are left out because their format cannot be read."""
    found = dataset.found
    sizes = Counter((one.split, one.label) for one in dataset.images)
    for (split, label), reasons in found.left_out_of_class.items():
        total = (n := reasons[RAW]) + sizes[split, label]
        if n > LEFT_OUT_FRACTION * total:
            yield warning("data-files-left-out", found.place(split, label), n=n, total=total, reasons={RAW: n})


def readers_not_installed(dataset: Dataset) -> Iterator[Issue]:
    """Yield formats of which images are left out because their reader is not installed."""
    yield from missing_readers(dataset.found)


def narrow_ranges(dataset: Dataset) -> Iterator[Issue]:
    """Yield datasets of 16-bit images that use at most 14 bits, such as 12-bit microscopy."""
    deep = [one for one in dataset.good if one.facts.peak]
    peak = max((one.facts.peak for one in deep), default=0)
    if deep and dataset.data.range is None and peak <= NARROW_PEAK:
        suggested = str(2 ** peak.bit_length() - 1)
        yield warning("data-narrow-range", dataset.found.root, peak=peak, suggested=suggested, n=len(deep))


def split_issues(dataset: Dataset) -> Iterator[Issue]:
    """Yield the issues of drawing splits: classes that are too small, or what was drawn."""
    # If classes are missing or empty, the sizes of the others do not matter.
    if not run_checks(dataset, LAYOUT_CHECKS):
        yield from dataset.assigned.issues


def similar_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield similar images in different splits, which inflate metrics."""
    found = dataset.assigned
    if found.pairs:
        paths, facts = _similar(found.images, found.pairs)
        if not dataset.found.has_splits:
            fix = "; a class has too many of them for the drawn splits to keep them together"
        else:  # too many pairs for copies: the dataset has few kinds of images
            fix = _fix_command(dataset) if len(found.pairs) <= MOST_LISTED else ""
        yield warning("data-near-duplicates", *paths, fix=fix, **facts)
    if found.divided:
        paths, facts = _similar(found.images, found.divided)
        yield note("data-near-duplicates-divided", *paths, **facts)


def _similar(images: Sequence[ImageRecord], pairs: Sequence[Pair]) -> tuple[tuple[Path, Path], dict[str, Any]]:
    """Return the files of an example, if possible with two labels, and the facts about pairs of similar images."""
    contradicting = [pair for pair in pairs if images[pair[0]].label != images[pair[1]].label]
    *places, similarity = max(contradicting or pairs, key=lambda pair: pair[2])
    one, other = (images[place] for place in places)
    facts = {
        "n": len(pairs),
        "labels": f", with two labels: {len(contradicting):,}" if contradicting else "",
        "one": f"{one.file} ({one.split})",
        "other": f"{other.file} ({other.split})",
        "similarity": f"{math.floor(100 * similarity)} %",
    }
    return (one.path, other.path), facts


def few_images(dataset: Dataset) -> Iterator[Issue]:
    """Yield classes with few training images."""
    training = sorted(dataset.counts()["train"].items(), key=lambda item: item[1])
    small = {label: n for label, n in training if 0 < n < FEW_IMAGES}
    if small:
        yield warning("data-few-images", dataset.found.root, minimum=FEW_IMAGES, n=len(small), counts=small)


def uneven_classes(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits whose largest class has several times as many images as the smallest."""
    for split, counts in dataset.counts().items():
        filled = sorted((n, label) for label, n in counts.items() if n)
        if filled and filled[-1][0] >= UNEVEN_RATIO * filled[0][0]:
            (n_small, small), (n_large, large) = filled[0], filled[-1]
            is_advised = split == "train" and dataset.data.class_weights == "none"
            remedy = "; data.class_weights=balanced compensates for this in training" if is_advised else ""
            facts = {"large": large, "small": small, "n_large": n_large, "n_small": n_small, "remedy": remedy}
            yield warning("data-uneven-classes", dataset.found.root, split=split, **facts)


def splits_unlike_train(dataset: Dataset) -> Iterator[Issue]:
    """Yield splits that have clearly more images than train, or class fractions that differ by more than chance.

    The standard error is that of a difference of two binomial fractions. No warning is given if, for example, a class
    with 1 % in a split of 100 images is absent from 2,000 training images.
    """
    (_, training), *others = dataset.counts().items()
    sizes = Counter(one.split for one in dataset.assigned.images)
    n_training = sizes["train"]
    for split, counts in others:
        n, odd = sizes[split], {}
        for label, there in training.items():
            if not n or not there:
                continue
            fraction, expected = counts[label] / n, there / n_training
            pooled = (counts[label] + there) / (n + n_training)
            error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_training))
            ratio = max(fraction, expected) / max(min(fraction, expected), 1e-9)
            if ratio >= UNEVEN_RATIO and abs(fraction - expected) > SIGNIFICANT_Z * error:
                odd[label] = f"{fraction:.0%} vs. {expected:.0%}"
        if odd:
            yield warning("data-class-distribution", dataset.found.root, split=split, fractions=odd, n=len(odd))
        # Of many images, `train_images` may leave fewer than there are for validation.
        if n_training and n > SWAPPED_RATIO * n_training and dataset.data.train_images is None:
            yield warning("data-splits-swapped", dataset.found.root, split=split, n=n, n_train=n_training)


LAYOUT_CHECKS: tuple[Check, ...] = (missing_classes, empty_classes, different_classes)
"""Checks of the class folders."""

FOLDER_CHECKS: tuple[Check, ...] = (
    *LAYOUT_CHECKS,
    splits_without_effect,
    unreadable_images,
    leaked_images,
    contradicting_labels,
    similar_class_names,
    left_out_files,
    readers_not_installed,
    narrow_ranges,
)
"""Checks of folders and files, made before splits are assigned."""

SPLIT_CHECKS: tuple[Check, ...] = (split_issues, similar_images, few_images, uneven_classes, splits_unlike_train)
"""Checks of the final splits."""


def run_checks(dataset: Dataset, checks: Sequence[Check]) -> list[Issue]:
    """Return the issues that the checks find, in order."""
    return [issue for check in checks for issue in check(dataset)]


def _renamed(missing: Iterable[str], additional: Iterable[str]) -> str:
    """Return hints about additional classes that seem to be missing classes under a different name."""
    plain = {_plain_name(name).rstrip("s"): name for name in additional}
    pairs = [(name, plain.get(_plain_name(name).rstrip("s"))) for name in missing]
    return "".join(f'. "{other}" is probably "{name}"' for name, other in pairs if other is not None)


def _plain_name(name: str) -> str:
    """Return a name without case, spaces, separators and differences in how accents are encoded."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    kept = [sign for place, sign in enumerate(plain) if sign not in " _\t" and (sign != "-" or not place)]
    return "".join(kept) or plain


def _fix_command(dataset: Dataset) -> str:
    """Return the advice to move similar images into one split, if there are split folders."""
    found = dataset.found
    command = f"cnncli data check {shlex.quote(str(short_path(found.root)))} --fix-splits"
    has_folders = found.has_splits and not found.table and not found.shards
    return f"; `{command}` moves each group into one split" if has_folders else ""
