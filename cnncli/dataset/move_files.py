"""Images moved one by one, so that a kill in between loses none and a second call does the rest.

Before the first move all of them are written down in a hidden file of the folder, which goes when they are done. A move
is a hard link under the new name and the end of the old one, so it never takes the place of another file; where there
are no hard links, a rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from cnncli.dataset.fix_splits import Move
from cnncli.dataset.scan import Scan
from cnncli.errors import DataError, ImageError, printable
from cnncli.images.formats import regular_file
from cnncli.images.verify import digest_of
from cnncli.storage.atomic import sync_folder, write_atomically
from cnncli.storage.safe_io import read_json

JOURNAL = ".cnncli-moves.json"
FORMAT = 1
_MOST_BYTES = 100_000_000  # a move takes about 300


def interrupted_moves(found: Scan) -> list[Move]:
    """The moves that an earlier call has not finished; none where there was none.

    Raises: DataError: the file that lists them is none of cnncli's, or lists what no call would have moved.
    """
    journal = found.root / JOURNAL
    try:
        document = read_json(journal, _MOST_BYTES)
        if document["format"] != FORMAT:
            raise ValueError("of another format")
        moves = [Move(**{name: str(value) for name, value in one.items()}) for one in document["moves"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{printable(journal)}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DataError(_no_journal(journal)) from None
    splits = {folder.name for folder in found.folders.values()}
    if not all(_is_inside(path, found.root, splits) for move in moves for path in (move.source, move.target)):
        raise DataError(_no_journal(journal))
    pending = [move for move in moves if _is_still_there(found.root, move)]
    if not pending:
        with suppress(OSError):
            journal.unlink()  # all of them had been made
    return pending


def carry_out(root: Path, moves: Sequence[Move]) -> list[str]:
    """Move the images; gives a line for each that could not be moved.

    Raises: DataError: nothing can be written into the folder; nothing has been moved.
    """
    journal = root / JOURNAL
    document: dict[str, Any] = {"format": FORMAT, "moves": [asdict(move) for move in moves]}
    try:
        write_atomically(journal, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise DataError(f"{printable(root)}: nothing can be moved in it ({error.strerror})") from error
    problems = []
    for move in moves:
        try:
            _move(root / move.source, root / move.target)
        except OSError as error:
            problems.append(
                f"{printable(root / move.source)}: cannot be moved to {printable(move.target)} ({error.strerror})"
            )
    for folder in {(root / path).parent for move in moves for path in (move.source, move.target)}:
        sync_folder(folder)
    journal.unlink(missing_ok=True)
    return problems


def _move(source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        return  # an earlier call has moved it
    if os.path.lexists(target) and os.path.samestat(source.lstat(), target.lstat()):
        source.unlink()  # an earlier call was killed between the link and the end of the old name
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise
        source.rename(target)
        return
    try:
        source.unlink()
    except FileNotFoundError:
        return  # another call, at the same time, has found both names and ended the old one
    except OSError:
        target.unlink()
        raise


def _is_inside(path: str, root: Path, splits: Collection[str]) -> bool:
    """Whether a path of the journal leads from a split folder to a file below one of its folders, without links."""
    parts = PurePath(path).parts
    folder = (root / path).parent
    return (
        len(parts) > 2
        and parts[0] in splits
        and not {"..", os.sep} & set(parts)
        and "\0" not in path
        and os.path.realpath(folder) == os.fspath(folder)
    )


def _is_still_there(root: Path, move: Move) -> bool:
    """Whether the file that was to be moved is the one that was looked at."""
    try:
        with regular_file(root / move.source) as file:
            return digest_of(file) == move.digest and not (root / move.source).is_symlink()
    except (ImageError, OSError):
        return False


def _no_journal(path: Path) -> str:
    return f"{printable(path)}: is no list of moves that `data check --fix-splits` left; look at it and delete it"
