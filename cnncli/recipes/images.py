"""Images as the recipes meet them: looked at with progress, notes said aloud, those of an old run found unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnncli.config.schema import DataConfig
from cnncli.dataset.manifest import Manifest, Row
from cnncli.dataset.stat_index import StatIndex, StatKey, stat_key
from cnncli.errors import DataError, printable
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.threads import map_ordered
from cnncli.terminal.console import Console
from cnncli.terminal.progress import Progress

UNTOLD_S = 3.0


@contextmanager
def checking_images(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Inside, what is to be called with the number of images that are done and of all.

    It shows progress from the first image that is really read; where all are known there is nothing to show.
    """
    with ExitStack() as stack:
        shown: list[Progress] = []

        def show(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(console.progress(total, "checking images")))
            shown[0].update(done)

        yield show


@contextmanager
def comparing_images(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Inside, what is to be called with the number of comparisons that are done and of all.

    It shows progress once they have taken longer than one waits for without asking why.
    """
    with ExitStack() as stack:
        shown: list[Progress] = []
        began: float | None = None

        def show(done: int, total: int) -> None:
            nonlocal began
            began = console.clock() if began is None else began
            if not shown and console.clock() - began > UNTOLD_S:
                millions = console.progress(total // 10**6, "comparing images", "million pairs")
                shown.append(stack.enter_context(millions))
            if shown:
                shown[0].update(done // 10**6)

        yield show


def say_notes(manifest: Manifest, console: Console) -> None:
    """What there is to know about a folder, and each image that was left out."""
    for warning in manifest.warnings:
        console.warn(warning)
    for note in manifest.notes:
        console.say(note)
    for path, reason in manifest.skipped:
        console.detail(f"left out: {printable(path)}: {reason}")


def require_unchanged(rows: Sequence[Row], data: DataConfig, remedy: str, console: Console) -> None:
    """Make sure that images of a run are where they were, byte for byte, whether their features are stored or not.

    What the index of known images knows is not read again.

    Args:
        rows: of the run's manifest.
        data: of the run's config.
        remedy: what helps where the images cannot be put back.
        console: shows what happens.

    Raises:
        DataError: some have gone or have changed, a line each; one line where none is left.
    """
    facts = _facts_now(rows, data, console)
    if not any(isinstance(found, ImageFacts) for found in facts.values()):
        gone = f"the images of the run are no longer here, none of {len(facts):,}"
        raise DataError(f"{printable(data.path)}: {gone}; {remedy}")
    problems = []
    for row in rows:
        found = facts[row.file]
        if isinstance(found, str):
            problems.append(f"{printable(row.path)}: {found}")
        elif found.digest != row.digest:
            reason = "has changed since the run was trained" if found.digest else found.problem
            problems.append(f"{printable(row.path)}: {reason}")
    if problems:
        raise DataError([*problems, remedy])


def _facts_now(rows: Sequence[Row], data: DataConfig, console: Console) -> dict[str, ImageFacts | str]:
    """What each image is now, by path, or why there is none."""
    index, keys = StatIndex(), {row.file: _stat_key(row.path) for row in rows}
    known = index.below(data.path.resolve())
    facts: dict[str, ImageFacts | str] = {
        path: key if isinstance(key, str) else known[path][1]
        for path, key in keys.items()
        if isinstance(key, str) or (path in known and known[path][0] == key)
    }
    unknown = {path: key for path, key in keys.items() if path not in facts and not isinstance(key, str)}
    read: dict[str, ImageFacts] = {}
    with checking_images(console) as progress:
        for path, found in zip(
            unknown, map_ordered(lambda path: verify(Path(path), data.max_pixels), unknown), strict=True
        ):
            read[path] = found
            progress(len(read), len(unknown))
    index.remember((path, unknown[path], found) for path, found in read.items())
    return {**facts, **read}


def _stat_key(path: Path) -> StatKey | str:
    try:
        return stat_key(path.stat())
    except FileNotFoundError:
        return "has gone"
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
