"""Problems of the machine, not of cnncli: memory, disk, permissions, home folder, paths, Python's options."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cnncli.errors import MachineError, Message, printable

# Code and remedy by name of the error number; platforms may lack some of them.
_REMEDIES = {
    ("ENOSPC", "EDQUOT"): Message("machine-disk-full", "Free disk space, or ask for a larger quota."),
    ("EROFS",): Message("machine-not-writable", "Choose a folder with write access."),
    ("EACCES", "EPERM"): Message("machine-not-permitted", "Change its permissions, or choose another path."),
    ("EMFILE", "ENFILE"): Message("machine-open-files", "Raise the limit of open files (ulimit -n)."),
    ("EIO",): Message("machine-disk-failing", "Check the disk or the network drive."),
    ("ENAMETOOLONG", "ELOOP"): Message("machine-path-unusable", "Choose a shorter path without circular links."),
    ("ENOMEM",): Message("machine-memory", "Free up memory, or raise the memory limit (ulimit -v)."),
}
_REMEDY_OF = {
    getattr(errno, name): remedy for names, remedy in _REMEDIES.items() for name in names if hasattr(errno, name)
}

_MEMORY_REMEDY = "A smaller data.image_size or training.batch_size needs less. A limit (ulimit -v) may be too low."
_OUT_OF_MEMORY = (
    *("failed to map segment", "cannot allocate memory"),  # the loader of shared libraries
    *("bad_alloc", "bad allocation"),  # C++
    *("out of memory", "oom when", "failed to allocate memory"),  # TensorFlow
    "could not create a memory",  # oneDNN
    "no reason supplied",  # OpenSSL's only message for it
)
"""Parts of messages that report a lack of memory, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports a lack of memory."""
    return isinstance(error, MemoryError) or any(part in str(error).lower() for part in _OUT_OF_MEMORY)


def machine_problem(error: BaseException) -> Message | None:
    """Return a message if the machine caused an exception, or None if it may be a bug."""
    if isinstance(error, OSError) and error.errno in _REMEDY_OF:
        remedy = _REMEDY_OF[error.errno]
        where = f"{printable(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
        text = f"{where}{error.strerror}. {remedy}"
        return Message(remedy.code, text, path=error.filename, received=error.strerror)
    text = " ".join(str(error).split())[:200]
    if is_out_of_memory(error):
        reason = f" ({text})" if text else ""
        return Message("machine-memory", f"Not enough memory{reason}. {_MEMORY_REMEDY}", received=text)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        limits = "Raise the limit of processes (ulimit -u) or of memory (ulimit -v)."
        return Message("machine-threads", f"Cannot start another thread. {limits}")
    if sys.warnoptions and (warning := next((one for one in causes(error) if isinstance(one, Warning)), None)):
        options = "Unset PYTHONWARNINGS, or leave out -W, which turn warnings into errors."
        text = f"A library warns: {text}. {options}"
        return Message("machine-warnings-are-errors", text, received=type(warning).__name__)
    return None


def expand_home(path: str | Path, source: str = "") -> Path:
    """Return an absolute path with `~` or `~user` replaced by the home folder; `source` is its variable or option.

    Raises:
        MachineError: There is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        named = f"{source}={printable(path)}" if source else printable(path)
        text = f"{named}: no such home folder. Write an absolute path, or set HOME."
        raise MachineError(Message("machine-home-unknown", text, path=str(path), key=source)) from error


def require_utf8(path: Path) -> Path:
    """Return a path if it is valid UTF-8, which TensorFlow and OpenVINO require for files that they write.

    Raises:
        MachineError: The path is not valid UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        text = f"{printable(path)}: not valid UTF-8, which TensorFlow and OpenVINO require. Choose a different folder."
        raise MachineError(Message("machine-path-not-utf8", text, path=path)) from error
    return path


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
