"""Issues of a dataset: what the checks find, and how it is worded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cnncli.errors import Message, printable

log = logging.getLogger(__name__)

Severity = Literal["error", "warning", "note"]

MAX_NAMES = 5
"""Number of names that are listed if all are meant."""


@dataclass(frozen=True)
class Issue:
    """One finding about a dataset.

    Attributes:
        severity: error (cannot be trained on), warning (probably a mistake, or inflates metrics) or note.
        code: code of the message.
        paths: files and directories concerned, most important first.
        facts: values for the wording and for programs.
    """

    severity: Severity
    code: str
    paths: tuple[Path, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the issue as `data check --json` prints it."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": str(message_of(self)),
            "paths": [str(path) for path in self.paths],
            "facts": {name: _plain(value) for name, value in self.facts.items()},
        }


def message_of(issue: Issue) -> Message:
    """Word an issue."""
    values = {name: _shown(value) for name, value in issue.facts.items()}
    values |= {"path": printable(issue.paths[0]) if issue.paths else "", "paths": _joined(issue.paths, " = ")}
    facts = {**issue.facts, **({"path": issue.paths[0]} if issue.paths else {})}
    return Message(issue.code, _WORDING.get(issue.code, "{path}: {reason}").format_map(values), **facts)


def messages_of(issues: Iterable[Issue], severity: Severity) -> list[Message]:
    """Word the issues of one severity, in order."""
    return [message_of(issue) for issue in issues if issue.severity == severity]


def _shown(value: object) -> str:
    if isinstance(value, bool | float):
        return f"{value}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return _joined([f"{printable(str(name))} {_shown(one)}" for name, one in value.items()], ", ")
    if isinstance(value, tuple | list):
        return _joined(value, ", ")
    return printable(str(value))


def _joined(values: Iterable[object], separator: str) -> str:
    names = [printable(str(value)) for value in values]
    return separator.join([*names[:MAX_NAMES], "…"] if len(names) > MAX_NAMES else names)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if isinstance(value, int | float | str | None) else str(value)


# Placeholders are facts, `path` (the first path) and `paths`. Codes of unreadable images have no entry: their wording
# is the reason that the decoder gives.
_WORDING: Mapping[str, str] = {
    "data-folder-unreadable": "{path}: {reason}",
    "data-duplicate-split": "{path}: {first}/ and {second}/ are both the {split} split; keep one",
    "data-no-class-folders": "{path}: no class folders",
    "data-images-outside-classes": (
        "{path}: no class folders, but {n} images; put the images of each class into a folder of its own"
    ),
    "data-empty-class": "{path}: no readable image in this class",
    "data-no-train-split": "{path}: has the splits {splits} but no train folder",
    "data-class-renamed": '{path}: the class "{received}" is called "{expected}" in {other}; use one name',
    "data-classes-differ": "{path}: has no class of {other} ({expected}), but {received}",
    "data-class-missing": "{path}: lacks the class {label} of {other}",
    "data-class-extra": "{path}: has the class {label}, which {other} lacks",
    "data-single-class": "{path}: only one class, {label}; at least two are needed",
    "data-wrapped-folder": "{path}: only one class, {label}; at least two are needed. Did you mean {inner}?",
    "data-class-unknown": "{path}: unknown class {label}; the run knows {known}",
    "data-class-absent": "{path}: no images of the class {label}, which the run knows; --allow-missing accepts this",
    "data-no-known-class": "{path}: no images of any class that the run knows ({known})",
    "data-class-too-small": (
        "{path}: too few images in {n} classes to give at least one to each of {splits}: {counts}. {remedies}"
    ),
    "data-bad-images": "images that cannot be read: {n}; data.on_bad_image=skip leaves them out",
    "data-leak": "{paths}: the same image in {splits}",
    "data-leak-two-labels": "{paths}: the same image in {splits}, with the labels {labels}",
    "data-leaks": "images that are in several splits: {n}; data.allow_leakage=true accepts them{fix}",
    "data-split-without-effect": (
        "{key}: has no effect (received {received}) because {path} has split folders; remove it"
    ),
    "data-all-classes-left-out": "{path}: fewer than two classes have at least data.min_images={minimum} images",
    "data-class-names-similar": (
        '{path}: the classes "{one}" and "{other}" differ only in case, spaces or accents; are they one class?'
    ),
    "data-class-named-like-split": (
        "{path}: the classes {names} are named like splits; give every split folder its class folders if they are "
        "meant as splits"
    ),
    "data-repeated-subfolders": (
        "{path}: the class folders {labels} all contain the folders {names}; are those the classes?"
    ),
    "data-files-left-out": "{path}: {n} of {total} files are left out ({reasons})",
    "data-two-labels": "{paths}: the same image with two labels in one split; images of this kind: {n}",
    "data-few-images": "classes with fewer than {minimum} images to train on: {n} ({counts})",
    "data-uneven-classes": "{split}: {large} has {n_large} images, {small} has {n_small}{remedy}",
    "data-class-distribution": (
        "{split}: the class distribution differs from train (fraction of images here, in train): {fractions}"
    ),
    "data-splits-swapped": "{split} has {n} images and {first} only {n_first}; are the folders swapped?",
    "data-near-duplicates": (
        "similar images in different splits: {n} pairs{labels}, e.g. {one} and {other} ({similarity} similar); they "
        "inflate metrics{fix}"
    ),
    "data-narrow-range": (
        "{path}: 16-bit images hold values up to {peak} only; set data.range=[0,{suggested}] so that they use the "
        "whole range"
    ),
    "data-split-drawn": "no {missing}: {source} with seed {seed}, stratified ({counts})",
    "data-no-test-split": (
        "no test split: metrics are for validation, which training also uses to choose the best epoch"
    ),
    "data-beside-splits": "{path}: folders next to the split folders are left out: {names}",
    "data-skipped-images": "unreadable images left out: {n}",
    "data-leaks-accepted": "images in several splits, accepted by data.allow_leakage: {n}",
    "data-too-many-to-compare": (
        "{n} images are too many to compare each with each: only identical files were searched, not similar images"
    ),
    "data-classes-left-out": "classes with fewer than data.min_images={minimum} images left out: {n} ({counts})",
}


def log_issues(issues: Iterable[Issue]) -> None:
    """Log warnings and notes; errors are raised where they occur."""
    levels = {"warning": logging.WARNING, "note": logging.INFO}
    for issue in issues:
        if issue.severity in levels:
            log.log(levels[issue.severity], message_of(issue))
