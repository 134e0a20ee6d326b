"""JSON documents of a run, each with the number of its format, above all run.json: state and key facts.

    {"format": 1, "state": "running" | "stopped" | "finished" | "failed", "name", "parent", "created", "finished",
     "seconds", "command", "cnncli", "engine", "precision", "stages", …}

Times are UTC in ISO 8601 with milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnncli.errors import Message, RunError, printable
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import MOST_JSON_BYTES, read_json

FORMAT = 1
STATES = ("running", "stopped", "finished", "failed")
OPTIONAL_TEXTS = ("name", "parent", "reason", "mode", "backbone")


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def time_text(moment: datetime) -> str:
    """Format a time as it stands in run.json.

    >>> time_text(datetime(2026, 11, 21, 15, 12, 0, 42_000, tzinfo=UTC))
    '2026-11-21T15:12:00.042Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(moment: datetime) -> str:
    """Format a time for the name of a run or a log: without colons, which Windows forbids, and sortable.

    >>> stamp(datetime(2026, 11, 21, 15, 12, tzinfo=UTC))
    '2026-11-21T151200Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H%M%SZ")


def damaged(path: Path, problem: str) -> RunError:
    """Return the error about a file or folder of a run that cannot be used."""
    text = f"{printable(path)} is damaged: {printable(problem)}. Copy the run again, or train a new one."
    return RunError(Message("run-file-damaged", text, path=path, reason=problem))


def read_document(path: Path, newest_format: int, max_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object with a format number. Older formats are read.

    Raises:
        RunError: it is missing or damaged, or a newer cnncli wrote it.
    """
    try:
        document = read_json(path, max_bytes)
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise damaged(path, "has no format number")
    if document["format"] > newest_format:
        text = f"{printable(path)}: written by a newer cnncli. Update cnncli."
        facts = {"path": path, "received": document["format"], "expected": newest_format}
        raise RunError(Message("run-newer-format", text, **facts))
    return document


def read_facts(path: Path) -> dict[str, Any]:
    """Read a run.json.

    Raises:
        RunError: it is missing or damaged, or a newer cnncli wrote it.
    """
    if not path.exists():
        raise not_a_run(path.parent)
    facts = read_document(path, FORMAT)
    if problem := _problem(facts):
        raise damaged(path, problem)
    return facts


def not_a_run(folder: Path) -> RunError:
    """Return the error about a folder that is not a run directory."""
    text = f"{printable(folder)}: not a run directory, it has no run.json"
    return RunError(Message("run-not-a-run", text, path=folder))


def _problem(facts: Mapping[str, Any]) -> str | None:
    if facts.get("state") not in STATES:
        return f"its state is not one of {', '.join(STATES)}"
    if wrong := [name for name in OPTIONAL_TEXTS if not isinstance(facts.get(name), str | None)]:
        return f"{', '.join(wrong)}: not a string"
    try:
        if datetime.fromisoformat(facts["created"]).tzinfo is None:
            return "its time of creation has no time zone"
        facts_text(facts)  # it is written again when the run is resumed
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a run.json in one step, so that a reader finds the old or the new content."""
    write_atomically(path, facts_text(facts))


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return the text of a run.json."""
    return json.dumps({"format": FORMAT, **facts}, indent=2, allow_nan=False) + "\n"
