"""Add the generated reference to the documentation. mkdocs calls this; see `hooks` in mkdocs.yml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def on_startup(**_: Any) -> None:
    """Make `scripts` importable, because mkdocs imports a hook by its file name."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages and figures."""
    from mkdocs.structure.files import File

    from scripts.write_reference import pages

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Insert the generated tables into hand-written pages."""
    from scripts.write_reference import fill_in

    return fill_in(markdown)
