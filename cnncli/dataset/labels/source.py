"""The label source of a config: class folders, a table, or shards; several labels per image, and groups of images."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from cnncli.dataset.issues import Issue, error, note
from cnncli.dataset.labels.folders import divide_names, labels_in, read_folders
from cnncli.dataset.labels.shards import read_shards
from cnncli.dataset.labels.table import read_table, tables_in
from cnncli.dataset.records import LABEL_SEPARATOR, LabeledImages
from cnncli.shards.listing import is_sharded

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig, GroupsConfig

SEPARATORS = ";|,"
"""Usual separators of several labels in a cell."""


def read_labels(data: DataConfig) -> LabeledImages:
    """Find the images of a config's data with their labels and groups; no image is decoded.

    Raises:
        DataError: There is no such folder, or the table of labels cannot be used.
    """
    if data.labels.path:
        found = read_table(data)
        if not data.labels.is_multi_label and (separator := _separator_of(found.labels)):
            found.issues.append(
                note("data-labels-combined", data.labels.path, separator=separator, n=len(found.labels))
            )
    elif is_sharded(data.path):
        found = read_shards(data)
        if data.labels.separator:
            divide_names(found, data.labels.separator)
    else:
        found = read_folders(data.path, reads_arrays=data.color == "bands")
        found.issues += [note("data-table-in-folder", path) for path in tables_in(data.path) if found.records]
        if data.labels.separator:
            divide_names(found, data.labels.separator)
    if data.labels.is_multi_label:
        found.is_multi_label = True
        found.issues += _label_issues(found, is_one_hot=isinstance(data.labels.label, tuple))
    if data.groups:
        _add_groups(found, data.groups)
    return found


def count_classes(data: DataConfig) -> int:
    """Return the number of classes in a config's data, at least 2, or of labels, at least 1. No image is opened.

    Raises:
        DataError: As `read_labels`.
    """
    least, classes = 1 if data.labels.is_multi_label else 2, read_labels(data).classes.values()
    return max(least, max((len(names) for names in classes), default=least))


def _separator_of(names: Sequence[str]) -> str | None:
    """Return what seems to separate labels in names, because their parts occur in several of them."""
    counts = {sign: len({part for name in names for part in labels_in(name, sign)}) for sign in SEPARATORS}
    return next((sign for sign, n in counts.items() if n <= len(names) and any(sign in name for name in names)), None)


def _label_issues(found: LabeledImages, *, is_one_hot: bool) -> Iterator[Issue]:
    """Yield labels that a manifest cannot contain, and images without labels."""
    place = found.table or found.root
    if names := tuple(name for name in found.labels if LABEL_SEPARATOR in name):
        hint = f'; data.labels.separator="{LABEL_SEPARATOR}" divides them' if not is_one_hot else ""
        yield error("data-label-separator", place, separator=LABEL_SEPARATOR, labels=names, hint=hint)
    if n := sum(not one.labels for one in found.records):
        issue = note if found.labels else error
        yield issue("data-images-without-label", place, n=n, total=len(found.records))


def _add_groups(found: LabeledImages, groups: GroupsConfig) -> None:
    """Set the groups of all images; images without a group and groups in several splits are issues."""
    if not groups.column:
        found.records = [replace(one, group=_group_of(one.file, found.root, groups)) for one in found.records]
    splits: dict[str, dict[str, None]] = defaultdict(dict)
    for one in found.records:
        splits[one.group][one.split] = None
    if splits.pop("", None):
        without = [one.path for one in found.records if not one.group]
        found.issues.append(error("data-group-missing", without[0], n=len(without)))
    if divided := {group: _listed([*names]) for group, names in splits.items() if len(names) > 1}:
        found.issues.append(error("data-group-divided", found.table or found.root, n=len(divided), groups=divided))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _group_of(file: str, root: os.PathLike[str], groups: GroupsConfig) -> str:
    """Return the group that the path of an image names, or an empty text."""
    path = PurePath(os.path.relpath(file, root))
    if groups.folder:
        folders = path.parts[:-1]
        return folders[-groups.folder] if len(folders) >= groups.folder else ""
    match = re.search(groups.regex or "", path.as_posix())
    return "" if match is None else next((part for part in match.groups() if part), match[0])
