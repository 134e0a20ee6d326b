"""Only one process trains a run at a time, and a run consists only of its own files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.errors import RunError
from cnncli.runs.folder import ATTEMPTS, RunFolder, create_run, end_run, locked, state_of
from cnncli.runs.listing import open_run
from cnncli.storage.locks import Lock
from tests.support.no_locks import without_locks

NAMES = (
    *("config.yaml", "manifest.csv", "skipped.csv", "near_duplicates.csv", "classes.json", "environment.json"),
    *("log.txt", "history.csv", "stages.json", "predictions.csv", "outputs.npz"),
    *("metrics.json", "model.keras", "lock", "evaluations.jsonl", "state", "engine", "figures", "tensorboard"),
    *("state/000001", "state/.left-over", "engine/trunk.xml", "figures/curves.png", "tensorboard/train"),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run."""
    run = create_run(tmp_path / "runs", "a", {"config.yaml": "name: a\n"})
    end_run(run, "finished")
    return run


def test_the_holder_of_a_lock_is_named(run: RunFolder) -> None:
    """A second process gets the process id of the first."""
    with locked(run), pytest.raises(RunError) as caught, locked(run):
        pytest.fail("two train")

    assert caught.value.code == "run-locked"
    assert caught.value.facts["path"] == run.path
    assert caught.value.facts["received"] == str(os.getpid())


def test_a_lock_is_free_after_its_block(run: RunFolder) -> None:
    """The same process can acquire the lock again."""
    for _ in range(2):
        with locked(run):
            pass


def test_a_lock_released_at_the_last_moment_is_taken(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is released while the refusal is prepared is acquired."""
    holder, pauses = Lock(run.lock), []
    assert holder.try_alone()

    def pause(_: float) -> None:
        pauses.append(1)
        if len(pauses) == ATTEMPTS - 1:
            holder.release()

    monkeypatch.setattr("cnncli.runs.folder.time.sleep", pause)
    with locked(run), pytest.raises(RunError) as caught, locked(run):
        pytest.fail("two train")
    assert caught.value.code == "run-locked"


def test_without_locks_every_process_gets_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, training is not prevented."""
    without_locks(monkeypatch)
    with locked(run), locked(run):
        pass


def test_a_full_disk_keeps_no_process_id(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, the lock is held without the process id, which is only for people."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with locked(run), pytest.raises(RunError) as caught, locked(run):
        pytest.fail("two train")
    assert caught.value.facts["received"] == "(unknown)"


def test_a_lock_needs_a_folder_that_can_be_written_to(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(RunError) as caught, locked(RunFolder(tmp_path / "gone")):
        pytest.fail("locked nothing")
    assert caught.value.code == "run-folder-not-writable"


HOLD_AND_DIE = """
import os, sys
from pathlib import Path
from cnncli.runs.folder import RunFolder, locked
with locked(RunFolder(Path(sys.argv[1]))):
    print("locked", flush=True)
    input()
    os.kill(os.getpid(), 9)
"""


def test_a_killed_run_is_interrupted(tmp_path: Path) -> None:
    """A run whose run.json says `running` but whose lock is free is interrupted."""
    run = create_run(tmp_path, "a", {"config.yaml": ""})
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_DIE, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    assert state_of(run, run.read_facts()) == "running"
    process.communicate("\n")

    assert state_of(run, run.read_facts()) == "interrupted"
    assert run.read_facts()["state"] == "running"


def test_looking_at_a_run_writes_nothing(run: RunFolder) -> None:
    """Reading the state of a run that was never locked creates no lock file."""
    assert state_of(run, {"state": "running"}) == "interrupted"
    assert not run.lock.exists()


def test_without_locks_a_run_may_be_trained(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, a running run is not reported as interrupted."""
    run.lock.touch()
    without_locks(monkeypatch)

    assert state_of(run, {"state": "running"}) == "running"


def test_a_run_of_its_own_files_is_opened(run: RunFolder) -> None:
    """Nested folders are allowed, and files that cnncli does not use can be of any type."""
    (run.state / "000001").mkdir(parents=True)
    (run.state / "000001" / "arrays.npz").write_bytes(b"x")
    (run.path / "notes.txt").symlink_to("/etc/hostname")

    assert open_run(run.path, run.path.parent) == run


def _foreign(run: RunFolder) -> object:
    with pytest.raises(RunError) as caught:
        open_run(run.path, run.path.parent)
    assert caught.value.code == "run-foreign-files"
    assert caught.value.facts["path"] == run.path
    return caught.value.facts["received"]


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_place_of_a_file_is_refused(name: str, run: RunFolder, tmp_path: Path) -> None:
    """The error names the link."""
    (tmp_path / "elsewhere").mkdir()
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(tmp_path / "elsewhere")

    assert _foreign(run) == [name]


def test_a_link_to_nothing_is_refused(run: RunFolder) -> None:
    """A broken link is refused, because writing to it would create a file elsewhere."""
    run.log.symlink_to(run.path / "none")

    assert _foreign(run) == ["log.txt"]


def test_a_pipe_is_refused(run: RunFolder) -> None:
    """A pipe is refused, because writing to it would block forever."""
    os.mkfifo(run.lock)

    assert _foreign(run) == ["lock"]


def test_a_linked_run_directory_is_opened(run: RunFolder, tmp_path: Path) -> None:
    """Links in the path of a run are allowed; links inside the run are not."""
    (tmp_path / "link").symlink_to(run.path)

    assert open_run(tmp_path / "link", tmp_path).path == tmp_path / "link"
