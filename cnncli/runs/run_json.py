"""run.json: what is known about a run, its state above all.

    {"format": 1, "state": "running" | "stopped" | "finished" | "failed", "name", "parent", "created", "finished",
     "seconds", "command", "cnncli", "engine", "precision", "stages", …}

Times are UTC in ISO 8601 with milliseconds. A newer format is refused, an older one is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnncli.errors import RunError, printable
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json

FORMAT = 1
STATES = ("running", "stopped", "finished", "failed")
TEXTS = ("name", "parent", "reason")
"""Facts that are texts where they are known."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def time_text(moment: datetime) -> str:
    """A moment as run.json has it.

    >>> time_text(datetime(2026, 11, 21, 15, 12, 0, 42_000, tzinfo=UTC))
    '2026-11-21T15:12:00.042Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(moment: datetime) -> str:
    """A moment as the name of a run or a log has it: no colons, which Windows forbids, and sorted by time.

    >>> stamp(datetime(2026, 11, 21, 15, 12, tzinfo=UTC))
    '2026-11-21T151200Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H%M%SZ")


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a run, from its run.json.

    Raises:
        RunError: there is none, it is damaged, or a newer cnncli wrote it.
    """
    run = printable(path.parent)
    try:
        facts = read_json(path)
    except FileNotFoundError:
        raise RunError(f"{run}: not a run, it holds no {path.name}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{run}: {path.name} cannot be read ({error})") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise RunError(f"{run}: {path.name} is damaged: it names no format")
    if facts["format"] > FORMAT:
        writer = _shown(facts.get("cnncli", "of a later version"))
        raise RunError(
            f"{run}: written in format {facts['format']} by cnncli {writer}; this one reads up to format {FORMAT}: "
            "update cnncli"
        )
    problem = _damage(facts)
    if problem:
        raise RunError(f"{run}: {path.name} is damaged: {problem}")
    return facts


def _damage(facts: Mapping[str, Any]) -> str | None:
    if facts.get("state") not in STATES:
        return f"its state is {_shown(facts.get('state'))!r}, which is none of {', '.join(STATES)}"
    try:
        created = datetime.fromisoformat(facts["created"])
    except (KeyError, TypeError, ValueError):
        return f"its time of creation is {_shown(facts.get('created'))!r}"
    if created.tzinfo is None:
        return f"its time of creation has no time zone: {facts['created']!r}"
    odd = [name for name in TEXTS if not isinstance(facts.get(name), str | None)]
    if odd:
        return f"{', '.join(odd)}: no text"
    try:
        facts_text(facts)
    except (ValueError, RecursionError) as error:  # what could not be written again when the run goes on
        return str(error)
    return None


def _shown(value: object) -> object:
    """A value that a message can hold: a number or a short text; of anything else, what it is."""
    if isinstance(value, str):
        return printable(value[:80])
    return value if isinstance(value, int | float | None) else type(value).__name__


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts of a run in one step, so that a reader meets the old ones or the new ones."""
    write_atomically(path, facts_text(facts))


def facts_text(facts: Mapping[str, Any]) -> str:
    """The facts of a run as run.json holds them."""
    return json.dumps({"format": FORMAT, **facts}, indent=2, allow_nan=False) + "\n"
