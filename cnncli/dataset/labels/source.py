"""The label source of a config: class folders, or a table; and the groups of images."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from cnncli.dataset.issues import error, note
from cnncli.dataset.labels.folders import read_folders
from cnncli.dataset.labels.table import read_table, tables_in
from cnncli.dataset.records import LabeledImages

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig, GroupsConfig


def read_labels(data: DataConfig) -> LabeledImages:
    """Find the images of a config's data with their labels and groups; no image is decoded.

    Raises:
        DataError: There is no such folder, or the table of labels cannot be used.
    """
    if data.labels.path:
        found = read_table(data)
    else:
        found = read_folders(data.path)
        found.issues += [note("data-table-in-folder", path) for path in tables_in(data.path) if found.records]
    if data.groups:
        _add_groups(found, data.groups)
    return found


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
    if divided := {group: " and ".join(names) for group, names in splits.items() if len(names) > 1}:
        found.issues.append(error("data-group-divided", found.table or found.root, n=len(divided), groups=divided))


def _group_of(file: str, root: os.PathLike[str], groups: GroupsConfig) -> str:
    """Return the group that the path of an image names, or an empty text."""
    path = PurePath(os.path.relpath(file, root))
    if groups.folder:
        folders = path.parts[:-1]
        return folders[-groups.folder] if len(folders) >= groups.folder else ""
    match = re.search(groups.regex or "", path.as_posix())
    return "" if match is None else next((part for part in match.groups() if part), match[0])
