"""Draw the quickstart's terminal session, from a real run, as SVG."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from scripts.figures.session import COLUMNS, run, workspace
from scripts.figures.svg import VARIANTS, Variant

COMMANDS = (
    "cnncli train configs/quickstart.yaml",
    "cnncli predict data/sample/test/cats/cat.0.jpg data/sample/test/dogs/dog.0.jpg --run quickstart --top 1",
)
SHOWN_EPOCHS = (1, 2, 20)
ANSI = [(36, 41, 47), (207, 34, 46), (17, 99, 41), (154, 103, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131)]
THEMES: dict[Variant, TerminalTheme] = {
    "light": TerminalTheme((246, 248, 250), (31, 35, 40), [*ANSI, (110, 119, 129)]),
    "dark": TerminalTheme(
        (13, 17, 23),
        (230, 237, 243),
        [
            *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
            *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
        ],
    ),
}
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" width="{width}" height="{height}" \
xmlns="http://www.w3.org/2000/svg" role="img"><title>A terminal session of cnncli</title>
<style>.{unique_id}-matrix {{font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; \
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;}} \
.{unique_id}-title {{font-family: system-ui, sans-serif; font-size: 16px;}} {styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" \
height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""
"""Rich's own format refers to fonts on another server."""


def draw(folder: Path) -> None:
    """Run the quickstart and write quickstart-light.svg and quickstart-dark.svg."""
    with workspace() as place:
        session = [(command, run(command, place)) for command in COMMANDS]
    for variant in VARIANTS:
        (folder / f"quickstart-{variant}.svg").write_text(_svg(session, variant), encoding="utf-8")


def _svg(session: list[tuple[str, str]], variant: Variant) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    for command, output in session:
        console.print(Text("$ ", "green").append(command, "bold default"))
        for line in _shorten(output.splitlines()):
            console.print(_colored(line), soft_wrap=False)
        console.print()
    return console.export_svg(title="cnncli", theme=THEMES[variant], code_format=FORMAT, unique_id=f"cnncli-{variant}")


def _shorten(lines: list[str]) -> list[str]:
    """Omit most epochs and the temporary directory of the runs."""
    kept: list[str] = []
    for line in lines:
        epoch = re.search(r"epoch (\d+)/", line)
        if epoch is None or int(epoch[1]) in SHOWN_EPOCHS:
            kept.append(line)
        elif kept[-1] != "…":
            kept.append("…")
    return kept


def _colored(line: str) -> Text:
    """Dim progress, and highlight percentages."""
    text = Text(line)
    if re.match(r"(checking|computing|decoding|run )", line) or line == "…":
        text.stylize("bright_black" if line == "…" else "white")
    text.highlight_regex(r"\d+(\.\d+)?(–\d+(\.\d+)?)? %", "cyan")
    text.highlight_regex(r"^(images|network|head|stage \S+|stages|split.*)", "bold")
    return text
