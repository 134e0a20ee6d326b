"""What the recipes say about pictures while these are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cnncli.console import Console
from cnncli.errors import printable
from cnncli.pictures.manifest import Manifest
from cnncli.progress import Progress


@contextmanager
def checking_pictures(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Inside, what is to be called with the number of pictures that are done and of all.

    It shows progress from the first picture that is really read; where all are known there is nothing to show.
    """
    with ExitStack() as stack:
        shown: list[Progress] = []

        def show(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(console.progress(total, "checking pictures")))
            shown[0].update(done)

        yield show


def say_notes(manifest: Manifest, console: Console) -> None:
    """What there is to know about a folder, and each picture that was left out."""
    for note in manifest.notes:
        console.say(note)
    for path, reason in manifest.skipped:
        console.detail(f"left out: {printable(path)}: {reason}")
