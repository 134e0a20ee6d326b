"""Checkpoints: the newest whole one counts, and what goes wrong with one leaves those before it."""

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
from cnncli.storage.checksums import sealed


def _checkpoint(number: int, between_epochs: bool = True) -> Checkpoint:
    return Checkpoint({"number": number}, {"weight": np.full((3, 4), number, np.float32)}, between_epochs)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Three of them, the last in the middle of an epoch."""
    checkpoints = Checkpoints(tmp_path / "state")
    for number in (1, 2):
        checkpoints.save(_checkpoint(number))
    checkpoints.save(_checkpoint(3, between_epochs=False))
    return checkpoints


def _folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state").iterdir())


def test_the_newest_comes_back(checkpoints: Checkpoints) -> None:
    """Its facts and its arrays, bit for bit."""
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 3
    assert newest.arrays["weight"].tobytes() == _checkpoint(3).arrays["weight"].tobytes()
    assert newest.arrays["weight"].dtype == np.float32


def test_the_newest_between_epochs_comes_back(checkpoints: Checkpoints) -> None:
    """However many lie within an epoch."""
    for number in (4, 5, 6):
        checkpoints.save(_checkpoint(number, between_epochs=False))
    newest = checkpoints.newest(between_epochs=True)

    assert newest is not None
    assert newest.document["number"] == 2


def test_two_are_kept_and_the_newest_between_epochs(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Older ones go, as does what a killed process has left."""
    (tmp_path / "state" / ".000009-abc").mkdir()
    for number in (4, 5, 6):
        checkpoints.save(_checkpoint(number, between_epochs=False))

    assert [path.name for path in _folders(tmp_path)] == ["000002", "000005", "000006"]


@pytest.mark.parametrize("name", ["arrays.npz", "state.json", "sha256.json"])
@pytest.mark.parametrize("kind", ["flip", "cut", "remove"])
def test_a_damaged_one_gives_way_to_the_one_before(
    checkpoints: Checkpoints, tmp_path: Path, name: str, kind: str
) -> None:
    """A bit, half a file, none: its checksums do not agree."""
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


def test_what_is_damaged_is_told(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Each with the reason; where none is left, that is no secret either."""
    for folder in _folders(tmp_path):
        (folder / "arrays.npz").unlink()
    said: list[str] = []

    assert Checkpoints(tmp_path / "state", said.append).newest() is None
    assert said == [
        f"{folder}: arrays.npz is missing; an older checkpoint is taken, or the training begins anew"
        for folder in reversed(_folders(tmp_path))
    ]


def test_a_save_after_a_damaged_one_takes_a_new_number(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Nothing that is there is written to."""
    (_folders(tmp_path)[-1] / "state.json").unlink()
    checkpoints.save(_checkpoint(9))
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 9


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("name", ["fsync", "rename", "mkdir"])
def test_a_failing_disk_is_one_line_and_leaves_the_others(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, name: str
) -> None:
    """It names the path; the checkpoint before it is whole."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(RunError, match=rf"state/000004: {os.strerror(code)}; the checkpoint before this one is"):
            checkpoints.save(_checkpoint(4))
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 3
    assert [path.name for path in _folders(tmp_path)] == ["000002", "000003"]


def test_one_of_a_newer_version_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """It is not passed over for an older one."""
    document = {"format": 99, "between_epochs": True}
    with sealed(tmp_path / "state" / "000004") as aside:
        (aside / "state.json").write_text(json.dumps(document))
        np.savez(aside / "arrays.npz")
    with pytest.raises(RunError, match="written by a newer cnncli"):
        checkpoints.newest()


def test_a_pickle_among_the_arrays_is_never_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Whoever wrote it and sealed it: it counts as damaged."""

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    with sealed(tmp_path / "state" / "000004") as aside:
        (aside / "state.json").write_text(json.dumps({"format": 1, "between_epochs": True, "number": 4}))
        np.savez(aside / "arrays.npz", allow_pickle=True, weight=np.array([Evil()], dtype=object))
    newest = checkpoints.newest()

    assert newest is not None
    assert newest.document["number"] == 3
    assert not (tmp_path / "ran").exists()
