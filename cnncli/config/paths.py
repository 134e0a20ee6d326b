"""Paths in a config: relative to where they are written, and whether what they name is there."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cnncli.config.draft import Draft
from cnncli.config.problems import Problem
from cnncli.errors import printable

WEIGHTS_WORDS = ("imagenet", "none")
WEIGHTS_SUFFIXES = (".weights.h5", ".h5", ".keras")
MOST_PARTS, LONGEST = 256, 2_000
"""Of a path beyond which nobody looks for what is there instead; characters of it that are shown."""


def absolute(written: str, folder: Path) -> Path:
    """A path as written, made absolute: `~` is the home folder, and relative is relative to `folder`."""
    path = Path(written)
    # `~somebody` whom this machine does not know, and what no path can be: names like any other.
    with suppress(RuntimeError, ValueError):
        path = path.expanduser()
    path = folder / path
    with suppress(RuntimeError, ValueError, OSError):  # links that lead round in a circle
        # `..` behind a link leads where the system says, not where the text does.
        return path.resolve() if ".." in path.parts else path.absolute()
    return path.absolute()


def missing_paths(draft: Draft) -> Iterator[Problem]:
    """The paths of a config that lead to nothing, or to the wrong thing."""
    if draft.is_sound("data.path"):
        yield from _data_path(draft, draft.config.data.path)
    weights = draft.config.backbone.weights
    if draft.is_sound("backbone.weights") and weights not in WEIGHTS_WORDS:
        yield from _weights_file(draft, Path(weights))


def _data_path(draft: Draft, path: Path) -> Iterator[Problem]:
    what = _what_is(path)
    if what == "a file":
        hint = "`cnncli data prepare` arranges known archives." if path.suffix == ".zip" else ""
        yield draft.problem("data.path", "a file", "a folder of images", hint)
    elif what != "a folder":
        what = f"{what or 'no such folder'}: {_shown(path)}"
        yield draft.problem("data.path", what, "a folder of images", _nearby(path))


def _weights_file(draft: Draft, path: Path) -> Iterator[Problem]:
    expected = f"imagenet, none or a file ({', '.join(WEIGHTS_SUFFIXES)})"
    what = _what_is(path)
    if what == "a file":
        if not path.name.endswith(WEIGHTS_SUFFIXES):
            yield draft.problem("backbone.weights", "not a weights file by its name", expected)
        return
    if what == "a folder":
        yield draft.problem("backbone.weights", "a folder", expected)
        return
    word = difflib.get_close_matches(path.name.lower(), WEIGHTS_WORDS, n=1, cutoff=0.75)
    hint = f"Did you mean {word[0]}?" if word else _nearby(path)
    yield draft.problem("backbone.weights", f"{what or 'no such file'}: {_shown(path)}", expected, hint)


def _shown(path: Path) -> str:
    """A path that a line can hold; the system takes none as long as those that are cut."""
    text = printable(path)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _what_is(path: Path) -> str:
    """`a folder`, `a file`, empty where there is nothing, or why that cannot be told."""
    try:
        return "a folder" if stat.S_ISDIR(path.stat().st_mode) else "a file"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return str(error.strerror).lower()
    except ValueError:
        return "a name that no file can have"


def _nearby(path: Path) -> str:
    """What is there instead of a path that is not."""
    if len(path.parts) > MOST_PARTS:
        return ""
    there = next((parent for parent in path.parents if _what_is(parent) == "a folder"), None)
    if there is None or there != path.parent:
        return f"The path exists up to {printable(there)}." if there is not None else ""
    try:
        names = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith("."))
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"Did you mean {printable(close[0])}?"
    return f"Beside it are {', '.join(map(printable, names[:6]))}." if names else ""
