"""`cnncli data check`: what a folder of pictures holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from cnncli.console import Console
from cnncli.pictures.check import FolderFacts
from cnncli.pictures.index import scan_folder
from cnncli.pictures.inventory import MAX_PIXELS
from cnncli.recipes.pictures import comparing_pictures


def check_data(folder: Path, console: Console, max_pixels: int = MAX_PIXELS) -> FolderFacts:
    """Look at every picture of a folder.

    Raises: DataError: there is no such folder; anything else is among the facts.
    """
    with console.progress(None, "pictures") as bar, comparing_pictures(console) as comparing:
        return scan_folder(folder, max_pixels, progress=lambda done, _: bar.update(done), comparing=comparing)
