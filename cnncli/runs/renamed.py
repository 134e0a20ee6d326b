"""Names in the files of a run that were renamed after the first runs were written."""

from __future__ import annotations

from typing import Any

RENAMED = {"pictures": "images", "pictures_per_s": "images_per_s"}


def with_current_names(values: Any) -> Any:
    """Return JSON values in which numbers have their current names, at any depth.

    Only names of numbers are replaced: a layer may be called "pictures".

    >>> with_current_names({"sums": {"pictures": 10}, "pictures": {}})
    {'sums': {'images': 10}, 'pictures': {}}
    """
    if isinstance(values, dict):
        return {
            RENAMED.get(name, name) if isinstance(value, int | float) else name: with_current_names(value)
            for name, value in values.items()
        }
    return [with_current_names(value) for value in values] if isinstance(values, list) else values
