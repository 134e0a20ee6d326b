"""The pages that people read: README, CONTRIBUTING and docs/, with the commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (README, *sorted(DOCS.rglob("*.md")))}
"""Pages by their path in the repository."""

BLOCK = re.compile(
    r"^(?:<!-- parsed only: (?P<reason>[^>]*) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: Language after the fence: sh, console, python, yaml or text.
        body: Lines of the block.
        reason: Reason for only parsing the block; None for a block that is run.
    """

    language: str
    body: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """Return the shell commands: all lines of an `sh` block, and the lines with a prompt of a `console` block."""
        lines = self.body.replace("\\\n", " ").splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip()] if self.language == "sh" else []


def blocks(path: Path) -> list[Block]:
    """Return the code blocks of a page in order."""
    found = BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [Block(match["language"], match["body"], match["reason"]) for match in found]


def section(text: str, title: str) -> str:
    """Return the text below a heading, up to the next heading of any level."""
    return re.split(rf"^#+ {re.escape(title)}$", text, maxsplit=1, flags=re.M)[1].split("\n#", 1)[0]


def first_column(text: str) -> list[str]:
    """Return the numbers and the texts in backticks in the first column of the tables of a text."""
    cells = re.findall(r"^\| ([^|]*) \|", text, re.M)
    return [word for cell in cells for word in re.findall(r"`([^`]*)`|^([\d, ]+)$", cell) for word in word if word]
