"""A run directory is created completely or not at all, and records how the run ends."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cnncli.errors import RunError
from cnncli.runs import folder
from cnncli.runs.folder import RunFolder, create_run, end_run, run_files, run_folders, runs_dir_from, update_facts
from cnncli.runs.listing import require_finished
from cnncli.version import __version__

FILES = {"config.yaml": "name: a\n"}
NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """A clock that a test sets: a list with the time as its only item."""
    now = [NOON]
    monkeypatch.setattr(folder, "utc_now", lambda: now[0])
    return now


def finished_run(runs_dir: Path, name: str = "a", **facts: Any) -> RunFolder:
    """Create a finished run."""
    run = create_run(runs_dir, name, FILES)
    end_run(run, "finished", facts)
    return run


def test_a_run_has_the_time_and_its_name(tmp_path: Path, clock: list[datetime]) -> None:
    """The directory is named by UTC time without colons, so that names sort by time and are valid on Windows."""
    run = create_run(tmp_path / "runs", "vgg16-features", FILES)

    assert run.path == tmp_path / "runs" / "2026-11-21T120000Z_vgg16-features"
    assert (tmp_path / "runs" / "2026-11-21T120000Z_vgg16-features" / "config.yaml").read_text() == "name: a\n"


def test_a_run_appears_with_everything_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is not visible before the rename, and contains every file after it."""
    seen: list[list[str]] = []
    rename = Path.rename

    def look(self: Path, target: Path) -> Path:
        seen.append([run.path.name for run in run_folders(tmp_path)])
        seen.append(sorted(path.relative_to(self).as_posix() for path in self.rglob("*") if path.is_file()))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", look)
    create_run(tmp_path, "a", {**FILES, "classes.json": "[]", "figures/x.txt": ""})

    assert seen == [[], ["classes.json", "config.yaml", "figures/x.txt", "run.json"]]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_first_facts_of_a_run(tmp_path: Path, clock: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json records the command, the time, the version, and the caller's facts."""
    monkeypatch.setattr("sys.argv", ["/usr/bin/cnncli", "train", "my config.yaml"])
    run = create_run(tmp_path, "a", FILES, parent=tmp_path / "p", facts={"engine": "openvino"})

    assert json.loads(run.facts.read_text()) == {
        "format": 1,
        "state": "running",
        "name": "a",
        "parent": str(tmp_path / "p"),
        "created": "2026-11-21T12:00:00.000Z",
        "finished": None,
        "seconds": None,
        "command": "cnncli train 'my config.yaml'",
        "cnncli": __version__,
        "engine": "openvino",
    }


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/usr/bin/cnncli", "train", "a b.yaml"], "cnncli train 'a b.yaml'"),
        (["/lib/cnncli/__main__.py", "train"], "python -m cnncli train"),
        (["my script.py"], "'my script.py'"),
        ([""], "python"),
    ],
)
def test_the_command_of_a_run_can_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], command: str
) -> None:
    """The command is quoted for a shell, however cnncli was called."""
    monkeypatch.setattr("sys.argv", argv)

    assert create_run(tmp_path, "a", FILES).read_facts()["command"] == command


def test_runs_of_one_name_and_second_are_numbered(tmp_path: Path, clock: list[datetime]) -> None:
    """Runs with the same name and second get the suffixes -2, -3, …."""
    names = [create_run(tmp_path, "a", FILES).path.name for _ in range(3)]

    assert names == ["2026-11-21T120000Z_a", "2026-11-21T120000Z_a-2", "2026-11-21T120000Z_a-3"]


def test_a_file_of_that_name_is_not_overwritten(tmp_path: Path, clock: list[datetime]) -> None:
    """A file with the name of a new run keeps its name and content."""
    (tmp_path / "2026-11-21T120000Z_a").write_text("mine")

    assert create_run(tmp_path, "a", FILES).path.name == "2026-11-21T120000Z_a-2"
    assert (tmp_path / "2026-11-21T120000Z_a").read_text() == "mine"


def test_runs_created_at_once_do_not_share_a_directory(tmp_path: Path, clock: list[datetime]) -> None:
    """Sixteen threads that create a run with the same name get sixteen complete runs."""
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda k: create_run(tmp_path, "a", {"config.yaml": f"seed: {k}"}), range(16)))

    assert len({run.path for run in runs}) == 16
    assert [run.config.read_text() for run in runs] == [f"seed: {k}" for k in range(16)]
    assert len(list(tmp_path.iterdir())) == 16


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    """The error has the folder and the operating system's reason."""
    (tmp_path / "runs").write_text("a file")

    with pytest.raises(RunError) as caught:
        create_run(tmp_path / "runs", "a", FILES)

    assert caught.value.codes == ("run-folder-not-writable",)
    assert caught.value.facts["path"] == tmp_path / "runs"
    assert caught.value.facts["reason"]


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a partial run nor a temporary folder is left behind."""
    monkeypatch.setattr(folder, "write_atomically", lambda path, text: (_ for _ in ()).throw(OSError(28, "full")))

    with pytest.raises(RunError) as caught:
        create_run(tmp_path, "a", FILES)

    assert (caught.value.code, caught.value.facts["reason"]) == ("run-folder-not-writable", "full")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_says_when_and_how_long(tmp_path: Path, clock: list[datetime]) -> None:
    """State, time, seconds and facts of the end are added to the initial facts."""
    run = create_run(tmp_path, "a", FILES, facts={"engine": "keras"})
    clock[0] += timedelta(seconds=12.5)
    end_run(run, "finished", {"precision": "float32"})
    facts = run.read_facts()

    assert (facts["state"], facts["finished"], facts["seconds"]) == ("finished", "2026-11-21T12:00:12.500Z", 12.5)
    assert (facts["engine"], facts["precision"], facts["created"]) == ("keras", "float32", "2026-11-21T12:00:00.000Z")


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    """A failed run records its state and reason, and `require_finished` reports both."""
    run = create_run(tmp_path, "a", FILES)
    end_run(run, "failed", {"reason": "the loss is not a number"})

    with pytest.raises(RunError) as caught:
        require_finished(run)

    assert caught.value.codes == ("run-not-finished",)
    assert caught.value.facts["path"] == run.path
    assert (caught.value.facts["received"], caught.value.facts["reason"]) == ("failed", "the loss is not a number")


def test_facts_can_be_added(tmp_path: Path) -> None:
    """Adding facts during training does not change the state."""
    run = create_run(tmp_path, "a", FILES)
    update_facts(run, {"engine": "keras"})

    assert (run.read_facts()["engine"], run.read_facts()["state"]) == ("keras", "running")


def test_require_finished_gives_the_facts(tmp_path: Path) -> None:
    """The facts of a finished run are returned."""
    assert require_finished(finished_run(tmp_path, engine="keras"))["engine"] == "keras"


def test_hidden_folders_are_not_runs(tmp_path: Path) -> None:
    """Folders with a leading dot, such as logs, locks and unfinished runs, are not listed."""
    run = finished_run(tmp_path)
    shutil.copytree(run.path, tmp_path / ".creating-0123")
    (tmp_path / ".logs").mkdir()
    (tmp_path / "notes.txt").write_text("")

    assert list(run_folders(tmp_path)) == [run]


def test_every_file_of_a_run_has_a_name_of_its_own() -> None:
    """All paths are different and inside the run, and each has a sentence for the documentation."""
    names = [file.name for file in run_files()]

    assert len(set(names)) == len(names) >= 14
    assert not any(Path(name).is_absolute() or ".." in name for name in names)
    assert all(file.contents.endswith(".") for file in run_files())
    assert RunFolder(Path("run")).config == Path("run/config.yaml")


def test_the_folder_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option takes precedence over CNNCLI_RUNS, which takes precedence over ./runs; empty variables are ignored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNCLI_RUNS", "from-env")

    assert runs_dir_from("from-option") == tmp_path / "from-option"
    assert runs_dir_from(None) == tmp_path / "from-env"

    monkeypatch.setenv("CNNCLI_RUNS", "")

    assert runs_dir_from(None) == tmp_path / "runs"
    assert runs_dir_from("~/r") == Path("~/r").expanduser()
