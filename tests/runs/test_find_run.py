"""`cnncli train` interprets its argument as a run's path or name, or as a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.errors import RunError
from cnncli.runs.folder import RunFolder, create_run, end_run
from cnncli.runs.listing import find_run


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the runs, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def _run(runs_dir: Path, name: str, *, finished: bool = False) -> RunFolder:
    run = create_run(runs_dir, name, {"config.yaml": ""})
    if finished:
        end_run(run, "finished")
    return run


def test_a_run_is_found_by_its_path_its_directory_and_its_name(runs_dir: Path) -> None:
    """Of several runs with the same name, the newest unfinished one is resumed."""
    unfinished, finished = _run(runs_dir, "a"), _run(runs_dir, "a", finished=True)

    for source in (Path("a"), Path(unfinished.path.name), unfinished.path):
        assert find_run(source, runs_dir) == unfinished
    assert find_run(Path(finished.path.name), runs_dir) == finished


def test_a_finished_run_is_found_by_its_name(runs_dir: Path) -> None:
    """If all runs with that name are finished, the newest is found."""
    run = _run(runs_dir, "a", finished=True)

    assert find_run(Path("a"), runs_dir) == run


def test_files_and_folders_come_before_names(runs_dir: Path) -> None:
    """A config or a folder of images in the current folder takes precedence over a run of the same name."""
    for name in ("images", "config.yaml"):
        _run(runs_dir, name)
    Path("images").mkdir()
    Path("config.yaml").touch()

    assert find_run(Path("images"), runs_dir) is None
    assert find_run(Path("config.yaml"), runs_dir) is None
    assert find_run(Path("missing.yaml"), runs_dir) is None


def test_a_damaged_run_is_an_error(runs_dir: Path) -> None:
    """A damaged run is not mistaken for a config."""
    run = _run(runs_dir, "a")
    run.facts.write_text("{")

    with pytest.raises(RunError) as caught:
        find_run(run.path, runs_dir)
    assert caught.value.code == "run-file-damaged"
