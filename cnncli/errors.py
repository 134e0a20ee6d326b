"""What can go wrong for a reader to mend, and the exit code of each.

    CnncliError                exit 2   the user's input or environment; a message and no traceback
    ├── ConfigError                     a config: unknown key, wrong type, contradiction, missing file
    ├── DataError                       a dataset: classes, splits, unreadable images
    │   └── ImageError                one image: what it is and why it is refused
    ├── WeightsError                    weights that cannot be fetched, read or matched
    ├── CutError                        a place where a classifier cannot be divided
    ├── EngineError                     an engine or precision this machine does not have
    ├── CacheError                      stored features that have gone, or a cache that cannot be written
    ├── TrainingError                   training went where no weights are worth keeping
    │   └── NonFiniteError              a loss, a score or a weight that is no number
    ├── RunError                        a run that is missing, unfinished or of another format
    └── MinimumMissedError     exit 3   the accuracy a gate required was not reached

Anything else that reaches the command line is a bug: exit 1, with the traceback in the log. A message says where,
what was received, what is allowed and what to do next, in one line per problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_MINIMUM_MISSED = 3


class CnncliError(Exception):
    """One or more problems for the user to mend, each a line of its own.

    Attributes:
        problems: the lines, all the problems of one phase together.
        exit_code: what the command exits with.
    """

    exit_code = EXIT_USER

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(CnncliError):
    """A config holds unknown keys, wrong values, contradictions or names files that are not there.

    Attributes:
        keys: for each problem the setting it is about, dotted; empty where it is about none. Without any where the
            problem was not found by reading a config.
    """

    def __init__(self, problems: str | Sequence[str], keys: Sequence[str] = ()) -> None:
        super().__init__(problems)
        self.keys = tuple(keys)


class DataError(CnncliError):
    """A dataset lacks classes, splits or readable images, or its splits disagree."""


class ImageError(DataError):
    """An image cannot be used.

    Attributes:
        path: the image, or a name such as `-` for standard input.
        reason: why, in words that fit behind a colon.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{printable(path)}: {reason}")


class WeightsError(CnncliError):
    """Weights cannot be fetched, cannot be read, or belong to another network."""


class CutError(CnncliError):
    """A classifier cannot be divided at the place that was named."""


class EngineError(CnncliError):
    """An engine or a precision was asked for that this machine does not have."""


class CacheError(CnncliError):
    """Features that were stored have gone, or cannot be stored; there can be no cache folder."""


class TrainingError(CnncliError):
    """Training became non-finite, or moved what it should not have, or nothing."""


class NonFiniteError(TrainingError):
    """A loss, a score or a weight became infinite or no number."""


class RunError(CnncliError):
    """A run is missing, unfinished, damaged or written by a newer cnncli."""


class MinimumMissedError(CnncliError):
    """A required minimum (`--min-accuracy`) was not reached."""

    exit_code = EXIT_MINIMUM_MISSED


def printable(path: str | Path) -> str:
    """A path as text that any terminal takes: bytes that are no UTF-8 and control characters are escaped."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
