"""`cnncli data check`: what a folder of images holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from cnncli.dataset.build import scan_folder
from cnncli.dataset.folder_report import FolderFacts
from cnncli.dataset.inventory import MAX_PIXELS
from cnncli.recipes.images import comparing_images
from cnncli.terminal.console import Console


def check_data(folder: Path, console: Console, max_pixels: int = MAX_PIXELS) -> FolderFacts:
    """Look at every image of a folder.

    Raises: DataError: there is no such folder; anything else is among the facts.
    """
    with console.progress(None, "images") as bar, comparing_images(console) as comparing:
        return scan_folder(folder, max_pixels, progress=lambda done, _: bar.update(done), comparing=comparing)
