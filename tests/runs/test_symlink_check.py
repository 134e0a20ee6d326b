"""A run holds its own files: a link in the place of one would lead whoever writes to it astray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncli.errors import RunError
from cnncli.runs.folder import RunFolder, create_run, finish_run, open_run

NAMES = (
    *("config.yaml", "manifest.csv", "skipped.csv", "near_duplicates.csv", "classes.json", "environment.json"),
    *("log.txt", "history.csv", "stages.json"),
    *("metrics.json", "model.keras", "lock", "evaluations.jsonl", "state", "engine", "figures", "tensorboard"),
    *("state/000001", "state/.left-over", "engine/trunk.xml", "figures/curves.png", "tensorboard/train"),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run."""
    run = create_run(tmp_path / "runs", "a", {"config.yaml": "name: a\n"})
    finish_run(run)
    return run


def test_a_run_of_its_own_files_is_opened(run: RunFolder) -> None:
    """Folders in folders as well; files of others beside them are nobody's business."""
    (run.state / "000001").mkdir(parents=True)
    (run.state / "000001" / "arrays.npz").write_bytes(b"x")
    (run.path / "notes.txt").symlink_to("/etc/hostname")

    assert open_run(run.path, run.path.parent) == run


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_the_place_of_a_file_is_refused(name: str, run: RunFolder, tmp_path: Path) -> None:
    """Named, and what it leads to is as it was."""
    (tmp_path / "elsewhere").mkdir()
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RunError) as error:
        open_run(run.path, run.path.parent)

    assert str(error.value).startswith(f"{run.path}: {name}: no plain file of this run")


def test_a_link_that_leads_nowhere_is_a_link_all_the_same(run: RunFolder) -> None:
    """Whoever wrote to it would make the file it leads to."""
    run.log.symlink_to(run.path / "none")

    with pytest.raises(RunError, match=r"log\.txt: no plain file"):
        open_run(run.path, run.path.parent)


def test_a_pipe_is_refused(run: RunFolder) -> None:
    """It would hold whoever writes to it for ever."""
    os.mkfifo(run.lock)

    with pytest.raises(RunError, match=r"lock: no plain file"):
        open_run(run.path, run.path.parent)


def test_a_linked_run_folder_is_opened(run: RunFolder, tmp_path: Path) -> None:
    """The way to a run may be what it will: it is what lies in it that has to be its own."""
    (tmp_path / "link").symlink_to(run.path)

    assert open_run(tmp_path / "link", tmp_path).path == tmp_path / "link"
