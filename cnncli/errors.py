"""Exceptions with exit codes, and messages with stable codes that are explained in `catalogue/messages/`.

Every error that a user can fix is a `CnncliError`, reported without a traceback. Any other exception that reaches the
command line is a bug: exit code 1, with the traceback in a log.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_MINIMUM_MISSED = 3

MOST_PROBLEMS = 20
"""Number of files with the same kind of problem that are named; the others are counted."""


class Message(str):
    """Text for the user, with a stable code and the facts it reports.

    A `str` in every respect; strings derived from it (`+`, `format`) are plain. One line: location, received value,
    allowed values, next step.

    Attributes:
        code: Identifier in kebab case that starts with its domain, e.g. `data-class-missing`; empty for plain text.
        facts: Values in the text, by name. By convention `path` (file or folder), `key` (dotted setting), `received`,
            `expected`, `line`, `column`.
    """

    code: str
    facts: Mapping[str, object]

    def __new__(cls, code: str, text: str, **facts: object) -> Message:
        """Create a message."""
        message = super().__new__(cls, text)
        message.code, message.facts = code, facts
        return message

    def __getnewargs_ex__(self) -> tuple[tuple[str, str], dict[str, object]]:
        """Return the arguments of `__new__`, for copies and pickles."""
        return (self.code, str(self)), dict(self.facts)

    @classmethod
    def of(cls, text: str) -> Message:
        """Return `text` itself if it is a message, else a message without a code."""
        return text if isinstance(text, Message) else cls("", text)


class CnncliError(Exception):
    """One or more problems that the user can fix.

    Args:
        problems: A message, or all messages of one phase.

    Attributes:
        problems: The messages.
        exit_code: Exit code of the command.
    """

    exit_code = EXIT_USER

    def __init__(self, problems: str | Sequence[str]) -> None:
        lines = (problems,) if isinstance(problems, str) else tuple(problems)
        self.problems: tuple[Message, ...] = tuple(map(Message.of, lines))
        super().__init__("\n".join(self.problems))

    @property
    def code(self) -> str:
        """Code of the first problem."""
        return self.problems[0].code

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of all problems, in order."""
        return tuple(problem.code for problem in self.problems)

    @property
    def facts(self) -> Mapping[str, object]:
        """Facts of the first problem."""
        return self.problems[0].facts


class ConfigError(CnncliError):
    """A config has unknown keys, wrong values or contradictions, or names files that do not exist.

    The facts of a problem include `key`, `received` and `expected`, and its position: `path`, `line` and `column` of
    the file, or `source`, the override or variable.
    """


class DataError(CnncliError):
    """A dataset lacks classes, splits or readable images, or its splits disagree."""


class ImageError(DataError):
    """An image cannot be used.

    Args:
        path: The image, or a name such as `-` for standard input.
        reason: A message, or text, that follows the path and a colon.

    Attributes:
        path: As given.
        reason: As given.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        cause = Message.of(reason)
        facts = {**cause.facts, "path": path, "reason": str(cause)}
        super().__init__(Message(cause.code or "image-unusable", f"{printable(path)}: {reason}", **facts))


class WeightsError(CnncliError):
    """Weights cannot be downloaded or read, or belong to a different network."""


class CutError(CnncliError):
    """A classifier cannot be cut at the given place."""


class EngineError(CnncliError):
    """The requested engine or precision is not available on this machine."""


class CacheError(CnncliError):
    """Cached features are missing or cannot be stored, or the cache directory cannot be created."""


class ClusterError(CnncliError):
    """A cluster cannot be reached, or its nodes cannot do the work of this machine."""


class TrainingError(CnncliError):
    """Training became non-finite, changed frozen weights, or changed no weights."""


class NonFiniteError(TrainingError):
    """A loss, a metric or a weight became NaN or Inf."""


class RunError(CnncliError):
    """A run is missing, unfinished or damaged, or was written by a newer version of cnncli."""


class MachineError(CnncliError):
    """The machine lacks memory, disk space, a home folder or another resource."""


class MinimumMissedError(CnncliError):
    """A required minimum (`--min-accuracy`) was not reached."""

    exit_code = EXIT_MINIMUM_MISSED


class ParityError(CnncliError):
    """A saved classifier does not give the results that were reported."""

    exit_code = EXIT_MINIMUM_MISSED


_STORE = re.compile(r"^(s3|gs|hf):/(?=[^/])")  # `Path` leaves one of the two slashes of a URL


def printable(path: str | Path) -> str:
    """Return text that is safe on any terminal, with control characters and bytes that are not UTF-8 escaped."""
    text = _STORE.sub(r"\1://", str(path)).encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def reason_of(error: BaseException) -> str:
    """Return the reason of an exception in one line: the operating system's text, or else that of the exception."""
    # The text of a KeyError is quoted, and a TimeoutError loses its text when it gets a file name.
    text = error.args[0] if isinstance(error, KeyError | TimeoutError) and error.args else error
    if isinstance(error, FileNotFoundError):
        text = os.strerror(errno.ENOENT)  # other libraries give the path alone, which the message has already
    words = str(getattr(error, "strerror", None) or text).split()
    return printable(" ".join(words))[:200] or type(error).__name__
