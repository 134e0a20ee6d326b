"""Write the approved wording, `tests/approved/messages.txt`: run `python -m tests.support.approve` and read the diff.

The file contains the texts of all messages by code and the help of all commands. A test compares it with the source, so
a change of wording shows in one file and does not affect other tests.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from cnncli.cli.app import app
from scripts.write_reference import help_texts
from tests.support.messages import message_sites

APPROVED = Path(__file__).parents[1] / "approved" / "messages.txt"
HELP_WIDTH = 80


def wording() -> str:
    """Return the texts of all messages by code, then the help of all commands."""
    lines = ["# Approved by `python -m tests.support.approve`. Do not edit.", ""]
    for code, sites in groupby(message_sites(), key=lambda site: site.code):
        lines += [code, *sorted({f"    {site.template}" for site in sites if site.template})]
    for path, text in help_texts(app, "cnncli", HELP_WIDTH):
        lines += ["", f"$ {path} --help", *(f"    {line}".rstrip() for line in text.splitlines())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    APPROVED.parent.mkdir(exist_ok=True)
    APPROVED.write_text(wording(), encoding="utf-8")
