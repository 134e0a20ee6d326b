"""Resolve the paths of a config relative to where they are written, and check that they exist."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cnncli.config.rules import Draft
from cnncli.config.suggestions import names_beside
from cnncli.config.tree import Problem
from cnncli.errors import printable
from cnncli.terminal.suggestions import did_you_mean

WEIGHTS_WORDS = ("imagenet", "none")
WEIGHTS_SUFFIXES = (".weights.h5", ".h5", ".keras")
KNOWN = ("dogs-vs-cats",)
"""Datasets that `cnncli data prepare` arranges."""
MAX_PARTS, MAX_SHOWN = 256, 2_000
"""Parts of a path up to which close names are suggested; characters of a path that are shown."""


def absolute(written: str, folder: Path) -> Path:
    """Return the absolute form of a path: `~` is the home folder, and relative is relative to `folder`."""
    path = Path(written)
    # `~somebody` without an account here, and text that cannot be a path, are taken literally.
    with suppress(RuntimeError, ValueError):
        path = path.expanduser()
    path = folder / path
    with suppress(RuntimeError, ValueError, OSError):  # circular links
        # `..` after a link is resolved by the file system, not textually.
        return path.resolve() if ".." in path.parts else path.absolute()
    return path.absolute()


def missing_paths(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for each path of a config that does not exist or is of the wrong kind."""
    yield from _check(draft, "data.path", draft.config.data.path, "a folder", "a folder of images")
    weights, expected = draft.config.backbone.weights, f"imagenet, none or a file ({', '.join(WEIGHTS_SUFFIXES)})"
    if weights not in WEIGHTS_WORDS:
        yield from _check(draft, "backbone.weights", Path(weights), "a file", expected)


def _check(draft: Draft, key: str, path: Path, right_kind: str, expected: str) -> Iterator[Problem]:
    kind = _kind_of(path)
    if kind not in ("a file", "a folder"):
        what = f"{kind or 'does not exist'}: {printable(path)[:MAX_SHOWN]}"
        yield from draft.problem("config-path-missing", key, what, expected, _hint_for_missing(path, key))
    elif kind != right_kind:
        hint = "`cnncli data prepare` arranges known archives." if path.suffix == ".zip" else ""
        yield from draft.problem("config-path-wrong-kind", key, kind, expected, hint)
    elif kind == "a file" and not path.name.endswith(WEIGHTS_SUFFIXES):
        yield from draft.problem("config-path-wrong-kind", key, "not the name of a weights file", expected)


def _hint_for_missing(path: Path, key: str) -> str:
    if key == "data.path" and path.name in KNOWN:
        return f"Create it with: cnncli data prepare {path.name} DOWNLOAD --out {printable(path)}"
    words = did_you_mean(path.name, WEIGHTS_WORDS) if key == "backbone.weights" else ""
    return words or _nearby(path)


def _kind_of(path: Path) -> str:
    """Return `a folder`, `a file`, an empty text if nothing is there, or the reason why this is unknown."""
    try:
        return "a folder" if stat.S_ISDIR(path.stat().st_mode) else "a file"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return str(error.strerror).lower()
    except ValueError:
        return "not a valid file name"


def _nearby(path: Path) -> str:
    """Describe what exists near a path that does not."""
    if len(path.parts) > MAX_PARTS:
        return ""
    there = next((parent for parent in path.parents if _kind_of(parent) == "a folder"), None)
    if there is None or there != path.parent:
        return f"The path exists up to {printable(there)}." if there is not None else ""
    return names_beside(path)
