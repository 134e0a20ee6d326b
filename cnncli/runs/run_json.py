"""run.json: what is known about a run, above all its state.

    {"format": 1, "state": "running" | "stopped" | "finished" | "failed", "name", "parent", "created", "finished",
     "seconds", "command", "cnncli", "engine", "precision", "stages", …}

Times are UTC in ISO 8601 with milliseconds. Older formats are read, newer ones are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnncli.errors import Message, RunError, printable
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json

FORMAT = 1
STATES = ("running", "stopped", "finished", "failed")
OPTIONAL_TEXTS = ("name", "parent", "reason")


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


def read_facts(path: Path) -> dict[str, Any]:
    """Read a run.json.

    Raises:
        RunError: it is missing or damaged, or a newer cnncli wrote it.
    """
    run = printable(path.parent)
    try:
        facts = read_json(path)
    except FileNotFoundError:
        raise RunError(not_a_run(path.parent)) from None
    except (OSError, ValueError) as error:
        raise RunError(damaged(path, f"cannot be read ({error})")) from None
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise RunError(damaged(path, "has no format number"))
    if facts["format"] > FORMAT:
        writer = _short(facts.get("cnncli", "of a later version"))
        text = f"{run}: written in format {facts['format']} by cnncli {writer}, this version reads up to {FORMAT}."
        received = facts["format"]
        raise RunError(
            Message("run-newer-format", f"{text} Update cnncli.", path=path.parent, received=received, expected=FORMAT)
        )
    if problem := _damage(facts):
        raise RunError(damaged(path, problem))
    return facts


def not_a_run(folder: Path) -> Message:
    """Return the message about a folder that is not a run directory."""
    return Message("run-not-a-run", f"{printable(folder)}: not a run directory, it has no run.json", path=folder)


def damaged(path: Path, problem: str) -> Message:
    """Return the message about a damaged file of a run."""
    text = f"{printable(path.parent)}: {printable(path.name)} is damaged: {problem}"
    return Message("run-file-damaged", text, path=path, reason=problem)


def _damage(facts: Mapping[str, Any]) -> str | None:
    if facts.get("state") not in STATES:
        return f"invalid state {_short(facts.get('state'))!r}, expected one of {', '.join(STATES)}"
    try:
        created = datetime.fromisoformat(facts["created"])
    except (KeyError, TypeError, ValueError):
        return f"invalid time of creation {_short(facts.get('created'))!r}"
    if created.tzinfo is None:
        return f"time of creation without a time zone: {facts['created']!r}"
    if wrong := [name for name in OPTIONAL_TEXTS if not isinstance(facts.get(name), str | None)]:
        return f"{', '.join(wrong)}: not a string"
    try:
        facts_text(facts)
    except (ValueError, RecursionError) as error:  # it could not be written again when the run is resumed
        return str(error)
    return None


def _short(value: object) -> object:
    """Return a value that fits into a message: a number or a short string, or else the name of its type."""
    if isinstance(value, str):
        return printable(value[:80])
    return value if isinstance(value, int | float | None) else type(value).__name__


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a run.json in one step, so that a reader finds the old or the new content."""
    write_atomically(path, facts_text(facts))


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return the text of a run.json."""
    return json.dumps({"format": FORMAT, **facts}, indent=2, allow_nan=False) + "\n"
