"""The newest valid checkpoint is used, and a failed save leaves earlier ones unchanged."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.errors import RunError
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.storage.checksums import checksummed


def _checkpoint(number: int, between_epochs: bool = True) -> Checkpoint:
    return Checkpoint({"number": number}, {"weight": np.full((3, 4), number, np.float32)}, between_epochs)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Return a folder of three checkpoints, the last one in the middle of an epoch."""
    checkpoints = Checkpoints(tmp_path / "state")
    for number in (1, 2):
        checkpoints.save(_checkpoint(number))
    checkpoints.save(_checkpoint(3, between_epochs=False))
    return checkpoints


def _folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state").iterdir())


def test_the_newest_is_read(checkpoints: Checkpoints) -> None:
    """Document and arrays of the newest checkpoint are read bit for bit."""
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 3
    assert newest.arrays["weight"].tobytes() == _checkpoint(3).arrays["weight"].tobytes()
    assert newest.arrays["weight"].dtype == np.float32


def test_the_newest_between_epochs_is_read(checkpoints: Checkpoints) -> None:
    """The newest checkpoint between epochs is found behind any number of checkpoints within epochs."""
    for number in (4, 5, 6):
        checkpoints.save(_checkpoint(number, between_epochs=False))
    newest = checkpoints.newest(between_epochs=True)

    assert newest is not None
    assert newest.document["number"] == 2


def test_two_are_kept_and_the_newest_between_epochs(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Older checkpoints, and files that a killed process left behind, are deleted."""
    (tmp_path / "state" / ".000009-abc").mkdir()
    for number in (4, 5, 6):
        checkpoints.save(_checkpoint(number, between_epochs=False))

    assert [path.name for path in _folders(tmp_path)] == ["000002", "000005", "000006"]


@pytest.mark.parametrize("name", ["arrays.npz", "state.json", "sha256.json"])
@pytest.mark.parametrize("kind", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_skipped(checkpoints: Checkpoints, tmp_path: Path, name: str, kind: str) -> None:
    """Checksums detect a flipped bit, a truncated file and a missing file."""
    file = _folders(tmp_path)[-1] / name
    data = bytearray(file.read_bytes())
    match kind:
        case "flip":
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        case "cut":
            file.write_bytes(data[: len(data) // 2])
        case "remove":
            file.unlink()
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 2


def test_damaged_checkpoints_are_logged(
    checkpoints: Checkpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each damaged checkpoint causes a warning with the reason, even if no valid one is left."""
    for folder in _folders(tmp_path):
        (folder / "arrays.npz").unlink()
    with caplog.at_level("WARNING", "cnncli"):
        assert Checkpoints(tmp_path / "state").newest() is None

    assert [(record.msg.code, record.msg.facts["path"]) for record in caplog.records] == [
        ("run-checkpoint-damaged", folder) for folder in reversed(_folders(tmp_path))
    ]


def test_a_checkpoint_after_a_damaged_one_has_a_new_number(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Existing checkpoints are never written to, so the next one gets a new number."""
    (_folders(tmp_path)[-1] / "state.json").unlink()
    checkpoints.save(_checkpoint(9))
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 9


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("name", ["fsync", "rename", "mkdir"])
def test_a_failing_disk_leaves_earlier_checkpoints(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, name: str
) -> None:
    """The error names the path, and the previous checkpoint stays valid."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(RunError) as caught:
            checkpoints.save(_checkpoint(4))
    assert caught.value.code == "run-checkpoint-not-writable"
    assert str(caught.value.facts["path"]).endswith("state/000004")
    assert caught.value.facts["reason"] == os.strerror(code)
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 3
    assert [path.name for path in _folders(tmp_path)] == ["000002", "000003"]


def test_a_checkpoint_of_a_newer_version_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """A checkpoint of a newer version is an error, and no older checkpoint is used instead."""
    document = {"format": 99, "between_epochs": True}
    with checksummed(tmp_path / "state" / "000004") as temporary:
        (temporary / "state.json").write_text(json.dumps(document))
        np.savez(temporary / "arrays.npz")
    with pytest.raises(RunError) as caught:
        checkpoints.newest()
    assert (caught.value.code, caught.value.facts["received"]) == ("run-newer-format", 99)


def test_a_pickle_among_the_arrays_is_never_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """An array of Python objects counts as damage, even if its checksum is valid."""

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    with checksummed(tmp_path / "state" / "000004") as temporary:
        (temporary / "state.json").write_text(json.dumps({"format": 1, "between_epochs": True, "number": 4}))
        np.savez(temporary / "arrays.npz", allow_pickle=True, weight=np.array([Evil()], dtype=object))
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 3
    assert not (tmp_path / "ran").exists()


def test_a_finished_run_keeps_its_newest_checkpoint(tmp_path: Path) -> None:
    """The newest valid checkpoint is kept, so that more epochs can resume from it."""
    checkpoints = Checkpoints(tmp_path / "state")
    for number in (1, 2, 3):
        checkpoints.save(_checkpoint(number))
    (_folders(tmp_path)[-1] / "arrays.npz").write_bytes(b"")
    checkpoints.keep_newest()
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 2
    for number in (4, 5):
        checkpoints.save(_checkpoint(number))
    checkpoints.keep_newest()
    assert [path.name for path in _folders(tmp_path)] == ["000005"]


def test_a_checkpoint_within_an_epoch_is_kept_with_the_one_before_the_epoch(checkpoints: Checkpoints) -> None:
    """Both are kept, because extended training may be rolled back to the start of the epoch."""
    checkpoints.keep_newest()

    assert [path.name for path in checkpoints.folders()] == ["000003", "000002"]


def test_deleted_checkpoints_leave_the_rest_of_the_state(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Deleting checkpoints keeps the initial config in the same folder."""
    (tmp_path / "state" / "config.yaml").write_text("")
    checkpoints.delete()

    assert [path.name for path in _folders(tmp_path)] == ["config.yaml"]
