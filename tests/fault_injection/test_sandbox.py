"""The sandbox detects every kind of harm; otherwise its results would prove nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.errors import DataError
from tests.fault_injection.sandbox import FORBIDDEN, MAX_BYTES, run_sandboxed

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the sandbox uses limits of Linux")


def _runs(here: Path) -> None:
    os.system("true")


def _starts(here: Path) -> None:
    subprocess.run(["true"], check=True)


def _writes(here: Path) -> None:
    (here.parent.parent / "evil.txt").write_text("x")


def _reads(here: Path) -> None:
    (here.parent / FORBIDDEN / "secret.txt").read_text()


def _removes(here: Path) -> None:
    (here.parent / FORBIDDEN / "secret.txt").unlink()


def _talks(here: Path) -> None:
    import socket

    socket.create_connection(("127.0.0.1", 9), timeout=0.1)


def _fills(here: Path) -> None:
    data = bytearray(MAX_BYTES + 2**28)
    data[:: 2**12] = b"x" * len(data[:: 2**12])


def _raises(here: Path) -> None:
    raise KeyError("x")


def _dies(here: Path) -> None:
    os.kill(os.getpid(), 11)


@pytest.mark.parametrize("harm", [_runs, _starts, _writes, _reads, _removes, _talks, _fills, _raises, _dies])
def test_harm_is_noticed(harm: Callable[[Path], None], tmp_path: Path) -> None:
    """Each kind of harm raises an AssertionError."""
    here = _place(tmp_path)
    with pytest.raises(AssertionError):
        run_sandboxed(harm, here, here).require_harmless()


def _works(here: Path) -> None:
    (here / "a.txt").write_text("x")
    (here / "a.txt").unlink()
    time.sleep(0.01)


def _refuses(here: Path) -> None:
    raise DataError("no")


def test_work_and_refusal_are_harmless(tmp_path: Path) -> None:
    """Reading and writing inside the sandbox and raising a cnncli error are allowed."""
    here = _place(tmp_path)
    assert run_sandboxed(_works, here, here).problems == ()
    outcome = run_sandboxed(_refuses, here, here)
    outcome.require_harmless()
    assert outcome.problems == ("no",)


def _place(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    for folder in (work / "here", work / FORBIDDEN):
        folder.mkdir(parents=True)
    (work / FORBIDDEN / "secret.txt").write_text("secret")
    return work / "here"
