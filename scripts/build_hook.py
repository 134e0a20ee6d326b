"""Add the man pages to the wheel. hatchling calls this; see `hooks` in pyproject.toml."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[misc]
    """Writes the man pages to a temporary folder while the wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add `share/man/man1`, except to an editable installation."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from scripts.write_man import write

        self._folder = tempfile.TemporaryDirectory()
        write(Path(self._folder.name))
        build_data["shared_data"][self._folder.name] = "share/man/man1"

    def finalize(self, version: str, *_: Any) -> None:
        """Delete the temporary folder."""
        if version != "editable":
            self._folder.cleanup()
