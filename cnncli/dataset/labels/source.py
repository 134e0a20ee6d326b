"""The label source of a config: class folders, or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.dataset.issues import note
from cnncli.dataset.labels.folders import read_folders
from cnncli.dataset.labels.table import read_table, tables_in
from cnncli.dataset.records import LabeledImages

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig


def read_labels(data: DataConfig) -> LabeledImages:
    """Find the images of a config's data with their labels; no image is decoded.

    Raises:
        DataError: There is no such folder, or the table of labels cannot be used.
    """
    if data.labels.path:
        return read_table(data)
    found = read_folders(data.path)
    found.issues += [note("data-table-in-folder", path) for path in tables_in(data.path) if found.records]
    return found
