"""Problems of the machine are errors with a remedy, not bugs."""

from __future__ import annotations

import errno
import os
import pwd
import sys
from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import MachineError
from cnncli.runs.folder import create_run, runs_dir_from
from cnncli.runs.listing import open_run
from cnncli.runtime.machine import expand_home, machine_problem, require_utf8
from cnncli.storage.cache_dir import cache_dir, make_cache_dir

NOT_UTF8 = os.fsdecode(b"r\xff")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has no home folder and no entry in the user database."""

    def unknown(_: object) -> None:
        raise KeyError("no such user")

    for name in ("HOME", "CNNCLI_CACHE", "CNNCLI_RUNS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("Unable to allocate 28 GiB"), "machine-memory"),
        (MemoryError(), "machine-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "machine-memory"),
        (ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"), "machine-memory"),
        (RuntimeError("std::bad_alloc"), "machine-memory"),
        (RuntimeError("can't start new thread"), "machine-threads"),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "machine-disk-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", b"/a"), "machine-disk-full"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "machine-not-permitted"),
        (OSError(errno.EROFS, "Read-only file system", "/a"), "machine-not-writable"),
        (OSError(errno.EMFILE, "Too many open files"), "machine-open-files"),
        (OSError(errno.EIO, "Input/output error", 7), "machine-disk-failing"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/a"), "machine-path-unusable"),
    ],
)
def test_a_problem_of_the_machine_has_a_code(error: Exception, code: str) -> None:
    """The message names the path, if there is one."""
    problem = machine_problem(error)

    assert problem is not None
    assert problem.code == code
    if isinstance(error, OSError) and error.filename in ("/a", b"/a"):
        assert problem.startswith("/a: ")


def test_numpy_reports_memory_as_a_problem_of_the_machine() -> None:
    """An image of 100,000 pixels a side takes terabytes."""
    with pytest.raises(MemoryError) as caught:
        np.empty((1000, 100_000, 100_000, 3), np.uint8)

    assert (problem := machine_problem(caught.value)) is not None
    assert problem.code == "machine-memory"


@pytest.mark.parametrize("error", [ValueError("oh"), OSError(errno.ENOENT, "No such file"), RuntimeError("oh")])
def test_other_exceptions_may_be_bugs(error: Exception) -> None:
    """They have no message here."""
    assert machine_problem(error) is None


def test_warnings_as_errors_are_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A raised warning is a bug unless the user turned warnings into errors; libraries wrap it in other exceptions."""
    wrapped = ValueError("wrapped")
    wrapped.__cause__ = DeprecationWarning("old")
    monkeypatch.setattr(sys, "warnoptions", [])
    assert machine_problem(wrapped) is None

    monkeypatch.setattr(sys, "warnoptions", ["error"])
    for error in (DeprecationWarning("old"), wrapped):
        assert (problem := machine_problem(error)) is not None
        assert problem.code == "machine-warnings-are-errors"


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder_the_cache_needs_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable; with it, no home folder is needed."""
    with pytest.raises(MachineError) as caught:
        cache_dir()
    assert caught.value.code == "machine-home-unknown"
    assert caught.value.facts["key"] == "CNNCLI_CACHE"

    assert runs_dir_from(None) == Path.cwd() / "runs"
    monkeypatch.setenv("CNNCLI_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")


@pytest.mark.parametrize("variable", ["CNNCLI_CACHE", "CNNCLI_RUNS"])
def test_the_home_folder_of_nobody_is_an_error(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `~` followed by an unknown user name is an error, not the name of a folder."""
    monkeypatch.setenv(variable, "~nosuch/x")
    with pytest.raises(MachineError) as caught:
        cache_dir() if variable == "CNNCLI_CACHE" else runs_dir_from(None)

    assert (caught.value.code, caught.value.facts["path"]) == ("machine-home-unknown", "~nosuch/x")
    assert caught.value.facts["key"] == variable
    with pytest.raises(MachineError):
        expand_home("~nosuch/x")


def test_runs_and_caches_need_paths_in_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow and OpenVINO open no others; this is found before anything is computed."""
    assert require_utf8(tmp_path / "ä") == tmp_path / "ä"
    run = create_run(tmp_path / "runs", "a", {"config.yaml": ""})
    (tmp_path / "runs").rename(tmp_path / NOT_UTF8)
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / NOT_UTF8))

    for action in (
        lambda: create_run(tmp_path / NOT_UTF8, "a", {"config.yaml": ""}),
        lambda: open_run(run.path.name, tmp_path / NOT_UTF8),
        make_cache_dir,
    ):
        with pytest.raises(MachineError) as caught:
            action()
        assert caught.value.code == "machine-path-not-utf8"
