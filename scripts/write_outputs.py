"""Write the output of commands into the pages that show it: `python -m scripts.write_outputs [PAGE …]`.

In each `console` block, the commands (lines with a prompt) run in a temporary folder, and the text below each command
is replaced by its real output. A line `…` stands for omitted output; the number of lines before and after it is kept.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from scripts.figures.session import ROOT, run, workspace

PAGES = ("README.md", "docs/tutorial.md")
BLOCK = re.compile(r"^```(?P<language>sh|console)\n(?P<body>.*?)^```$", re.M | re.S)
INSTALL = "python3 -m venv"


def with_outputs(text: str, folder: Path) -> str:
    """Return a page with the current output of its commands, which run in the given folder in the order of the page."""
    state = _State(folder)

    def block(match: re.Match[str]) -> str:
        if match["language"] == "sh":
            for line in match["body"].splitlines():
                if line.strip() and not line.startswith(INSTALL):
                    state.run(line)
            return match[0]
        return f"```console\n{_refreshed(match['body'], state)}```"

    return BLOCK.sub(block, text)


class _State:
    """The current folder of the commands of a page."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here = folder, folder

    def run(self, command: str) -> str:
        output = run(f"{command}\npwd", self.folder, self.here)
        output, _, here = output.rstrip("\n").rpartition("\n")
        self.here = Path(here or output)
        return output.replace(f"{self.folder}/", "") if here else ""


def _refreshed(body: str, state: _State) -> str:
    parts = re.split(r"^(\$ .*)\n", body, flags=re.M)[1:]
    lines = []
    for prompt, shown in zip(parts[::2], parts[1::2], strict=True):
        lines += [prompt, *_like(shown.splitlines(), state.run(prompt.removeprefix("$ ")).splitlines())]
    return "\n".join(lines) + "\n"


def _like(shown: list[str], output: list[str]) -> list[str]:
    """Shorten an output to the lines that were shown before.

    >>> _like(["a", "…", "y", "z"], ["1", "2", "3", "4", "5"])
    ['1', '…', '4', '5']
    """
    if "…" not in shown:
        return output
    before = shown.index("…")
    after = len(shown) - before - 1
    return [*output[:before], "…", *output[len(output) - after :]]


def main(names: list[str]) -> None:
    """Update the pages."""
    for name in names or PAGES:
        page = ROOT / name
        with workspace() as folder:
            page.write_text(with_outputs(page.read_text(encoding="utf-8"), folder), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
