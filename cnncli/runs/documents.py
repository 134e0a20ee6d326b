"""Common parts of a run's files: JSON documents with a format number, times in UTC, and errors about damage."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnncli.errors import Message, RunError, printable
from cnncli.storage.safe_io import MOST_JSON_BYTES, read_json

RENAMED = {"pictures": "images", "pictures_per_s": "images_per_s"}
"""Names of numbers in the files of older runs, with their current names."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def time_text(moment: datetime) -> str:
    """Format a time as in run.json.

    >>> time_text(datetime(2026, 11, 21, 15, 12, 0, 42_000, tzinfo=UTC))
    '2026-11-21T15:12:00.042Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(moment: datetime) -> str:
    """Format a time for the name of a run or a log: sortable, and without colons, which Windows forbids.

    >>> stamp(datetime(2026, 11, 21, 15, 12, tzinfo=UTC))
    '2026-11-21T151200Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H%M%SZ")


def damaged(path: Path, problem: str) -> RunError:
    """Return the error about a damaged file or folder of a run."""
    text = f"{printable(path)} is damaged: {printable(problem)}. Copy the run again, or train a new one."
    return RunError(Message("run-file-damaged", text, path=path, reason=problem))


def read_document(path: Path, newest_format: int, max_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object with a format number. Older formats are accepted.

    Raises:
        RunError: The file is missing, damaged, or from a newer version of cnncli.
    """
    try:
        document = read_json(path, max_bytes)
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise damaged(path, "has no format number")
    if document["format"] > newest_format:
        text = f"{printable(path)}: written by a newer version of cnncli. Update cnncli."
        facts = {"path": path, "received": document["format"], "expected": newest_format}
        raise RunError(Message("run-newer-format", text, **facts))
    return document


def with_current_names(values: Any) -> Any:
    """Return JSON values in which numbers have their current names, at any depth.

    Only names of numbers are replaced, because a layer can be called "pictures".
    """
    if isinstance(values, dict):
        return {
            RENAMED.get(name, name) if isinstance(value, int | float) else name: with_current_names(value)
            for name, value in values.items()
        }
    return [with_current_names(value) for value in values] if isinstance(values, list) else values
