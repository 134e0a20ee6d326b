"""Issues found by dataset checks, and their wording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cnncli.errors import Message, printable

Severity = Literal["error", "warning", "note"]

MAX_NAMES = 5  # maximum number of names in a list; more are abbreviated


@dataclass(frozen=True)
class Issue:
    """A finding about a dataset.

    Attributes:
        severity: Severity; see the functions below, which create issues.
        code: Code of the message.
        paths: Files and folders concerned, most important first.
        facts: Values for the wording and for programs, in JSON types.
    """

    severity: Severity
    code: str
    paths: tuple[Path, ...]
    facts: Mapping[str, Any]

    @property
    def message(self) -> Message:
        """Wording of the issue."""
        path = {"path": self.paths[0]} if self.paths else {}
        values = {name: _text(value) for name, value in {**self.facts, **path}.items()}
        template = _WORDING.get(self.code, "{path}: {reason}")
        text = template.format_map({**values, "paths": _text(self.paths, " = ")})
        return Message(self.code, text, **{**self.facts, **path})

    def to_dict(self) -> dict[str, Any]:
        """Return the issue as printed by `data check --json`."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": str(self.message),
            "paths": [str(path) for path in self.paths],
            "facts": dict(self.facts),
        }


def error(code: str, *paths: Path, **facts: Any) -> Issue:
    """Return an issue that prevents training."""
    return Issue("error", code, paths, facts)


def warning(code: str, *paths: Path, **facts: Any) -> Issue:
    """Return an issue that is probably a mistake or inflates metrics."""
    return Issue("warning", code, paths, facts)


def note(code: str, *paths: Path, **facts: Any) -> Issue:
    """Return an issue that the user should know about."""
    return Issue("note", code, paths, facts)


def messages_of(issues: Iterable[Issue], severity: Severity) -> list[Message]:
    """Return the messages of the issues of one severity, in order."""
    return [issue.message for issue in issues if issue.severity == severity]


def _text(value: object, separator: str = ", ") -> str:
    """Format a fact for a terminal: lists are abbreviated, and large integers have commas."""
    if isinstance(value, Mapping):
        colon = "" if all(isinstance(one, int) for one in value.values()) else ":"
        value = tuple(f"{name}{colon} {_text(one)}" for name, one in value.items())
    if isinstance(value, tuple):
        names = [printable(str(one)) for one in value[:MAX_NAMES]]
        return separator.join([*names, "…"] if len(value) > MAX_NAMES else names) or "none"
    return f"{value:,}" if type(value) is int else printable(str(value))


# Placeholders are facts, `path` (the first path) and `paths`. Codes of unreadable images have no entry: their wording
# is the reason that the decoder gives.
_WORDING: Mapping[str, str] = {
    "data-folder-unreadable": "{path}: {reason}",
    "data-duplicate-split": "{path}: {first}/ and {second}/ are both the {split} split; keep one",
    "data-no-class-folders": "{path}: no class folders (images found: {n}); put each class into its own folder{hint}",
    "data-empty-class": "{path}: no readable image of class {label}",
    "data-no-train-split": "{path}: has a {splits} split, but none for training",
    "data-classes-differ": (
        "{path}: classes of {split} differ from {other}. Missing: {missing}. Extra: {additional}{renamed}"
    ),
    "data-single-class": "{path}: only one class, {label}; at least two are needed{hint}",
    "data-class-unknown": "{path}: classes unknown to this run: {labels}; it was trained on {known}",
    "data-class-absent": "{path}: no images of these classes of the run: {labels}{hint}",
    "data-class-few-groups": "{path}: classes with too few groups of images for the splits {splits}: {groups} (images: "
    "{counts}). {remedies}",
    "data-class-too-small": "{path}: classes with too few images for the splits {splits}: {counts}. {remedies}",
    "data-bad-images": "unreadable images: {n}; repair or remove them, or train with data.on_bad_image=skip",
    "data-leak": "{paths}: the same image in {splits}, labeled {labels}",
    "data-leaks": "images in several splits: {n}; use data.allow_leakage=true to accept them{fix}",
    "data-split-without-effect": "{key}: has no effect (received {received}); {path} has splits of its own; remove it",
    "data-all-classes-left-out": "{path}: fewer than two classes have data.min_images={minimum} or more images",
    "data-train-images-too-few": "data.train_images={received}, but there are {minimum} classes",
    "data-train-images-too-many": "data.train_images={received}, but there are only {n}; all of them are used",
    "data-train-images-limited": "training images: {n} of {total} (data.train_images)",
    "data-table-cells": "{path}: rows that do not have {expected} cells, as the header has: {n} ({rows})",
    "data-table-split": "{path}: rows whose split is not train, validation or test: {n} ({rows})",
    "data-table-image-ambiguous": "{path}: rows whose image is the name of several files: {n} ({rows})",
    "data-table-image-missing": "{path}: rows whose image does not exist: {n} ({rows})",
    "data-table-label-missing": "{path}: rows without a label: {n} ({rows})",
    "data-table-contradiction": "{path}: rows that contradict an earlier row of the image: {n} ({rows})",
    "data-label-separator": '{path}: labels that contain "{separator}", which separates labels: {labels}{hint}',
    "data-labels-combined": '{path}: {n} classes combine labels; data.labels.separator="{separator}" divides them',
    "data-images-without-label": "{path}: images without a label: {n} of {total}",
    "data-table-not-one-hot": "{path}: rows with a label that is neither 0 nor 1: {n} ({rows})",
    "data-class-names-similar": '{path}: the classes "{one}" and "{other}" differ only in case, spaces or accents',
    "data-class-named-like-split": "{path}: classes named like splits: {names}; split folders contain class folders",
    "data-repeated-subfolders": "{path}: the class folders {labels} contain {names}; are those the real classes?",
    "data-reader-not-installed": "{path}: {reason}",
    "data-files-left-out": "{path}: {n} of {total} files are left out ({reasons})",
    "data-two-labels": "{paths}: the same image with two labels in one split (such images: {n})",
    "data-few-images": "classes with fewer than {minimum} training images: {n} ({counts})",
    "data-uneven-classes": "{split}: {large} has {n_large} images, {small} has {n_small}{remedy}",
    "data-class-distribution": "{split}: class fractions differ from train ({split} vs. train): {fractions}",
    "data-splits-swapped": "{split} has more images ({n}) than train ({n_train}); are the folders swapped?",
    "data-near-duplicates": (
        "pairs of similar images in different splits: {n}{labels}, e.g. {one} and {other} ({similarity} similar); they "
        "inflate metrics{fix}"
    ),
    "data-near-duplicates-divided": (
        "pairs of similar images of train of which one was drawn for validation: {n}{labels}, e.g. {one} and {other} "
        "({similarity} similar)"
    ),
    "data-narrow-range": "{path}: 16-bit values only go up to {peak}; data.range=[0,{suggested}] uses the full range",
    "data-split-drawn": "no {missing}: {source} (stratified, seed {seed}): {counts}",
    "data-split-empty": "{path}: no images were drawn for {splits}: too few images, or groups (data.groups), to divide",
    "data-split-inherited": "images of groups of the run, or similar to its images, that are in their split: {n}",
    "data-no-test-split": "no test split: metrics are those of validation, which also selects the best epoch",
    "data-no-validation-split": "no validation split: the last epoch is kept, and no metric shows overfitting",
    "data-beside-splits": "{path}: ignored folders next to the split folders: {names}",
    "data-skipped-images": "unreadable images left out: {n}",
    "data-leaks-accepted": "images in several splits, accepted by data.allow_leakage: {n}",
    "data-update-not-compared": (
        "images of the run without a thumbnail in the cache: {n}; new images that resemble them can be in another split"
    ),
    "data-too-many-to-compare": "too many images ({n}) or similar pairs to compare; some may not have been found",
    "data-shard-refused": "{path}: {reason}",
    "data-shard-without-labels": (
        "{path}: images without a label: {n} of {total}; they need a .cls or .json file or a folder, as all others"
    ),
    "data-shards-without-split": "{path}: shards without a split in their name, unlike the others: {n} ({names})",
    "data-shards-without-images": "{path}: no images in the shards, which have {n} files",
    "data-shards-other-folders": "{path}: each shard has one folder of its own with only folders in it: {names}",
    "data-shard-split-contradiction": "{path}: shards of the {split} split contain other split folders: {names}",
    "data-shard-folders-ambiguous": (
        "{path}: the only folder in the shards, {label}, has images and folders: {names}; expected nothing but class "
        "folders, or split folders with class folders, in it or at the top"
    ),
    "data-shard-unknown-class": "{path}: labels beyond the {n} names of the classes: {labels}",
    "data-group-missing": "{path}: has no group by data.groups; images without a group: {n}",
    "data-group-divided": "{path}: groups of data.groups that are in several splits: {n} ({groups})",
    "data-table-repeated-rows": "{path}: rows that repeat an earlier row left out: {n}",
    "data-table-files-without-row": "{path}: images without a row left out: {n}, e.g. {example}",
    "data-table-in-folder": "{path}: class folders are used, not this table; data.labels={path} uses it",
    "data-classes-left-out": "classes with fewer than data.min_images={minimum} images left out: {n} ({counts})",
}
