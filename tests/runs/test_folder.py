"""How a run appears, ends, and is found again."""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cnncli.errors import RunError
from cnncli.runs import folder
from cnncli.runs.folder import (
    RunFolder,
    create_run,
    fail_run,
    finish_run,
    open_run,
    require_finished,
    run_folders,
    runs_dir_from,
    update_facts,
)
from cnncli.runtime.environment import cnncli_version

FILES = {"config.yaml": "name: a\n"}
NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """A clock that stands until a test sets it: its only item is the time."""
    now = [NOON]
    monkeypatch.setattr(folder, "utc_now", lambda: now[0])
    return now


def finished_run(runs_dir: Path, name: str = "a", **facts: Any) -> RunFolder:
    """A run that is finished."""
    run = create_run(runs_dir, name, FILES)
    finish_run(run, facts)
    return run


def test_a_run_has_the_time_and_its_name(tmp_path: Path, clock: list[datetime]) -> None:
    """UTC without colons, so that names sort by time and Windows takes them."""
    run = create_run(tmp_path / "runs", "vgg16-features", FILES)

    assert run.path == tmp_path / "runs" / "2026-11-21T120000Z_vgg16-features"
    assert (tmp_path / "runs" / "2026-11-21T120000Z_vgg16-features" / "config.yaml").read_text() == "name: a\n"


def test_a_run_appears_with_everything_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the one rename nothing is visible, after it every file is there."""
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


def test_a_run_without_its_config_cannot_be_created(tmp_path: Path) -> None:
    """The resolved config is what makes a run one that can be resumed."""
    with pytest.raises(ValueError, match=r"config\.yaml is missing"):
        create_run(tmp_path, "a", {})


def test_the_first_facts_of_a_run(tmp_path: Path, clock: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json says what was asked for, when and by which version, and what the caller adds."""
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
        "cnncli": cnncli_version(),
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
def test_the_command_of_a_run_can_be_typed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], command: str
) -> None:
    """As a shell would take it, however cnncli was called."""
    monkeypatch.setattr("sys.argv", argv)

    assert create_run(tmp_path, "a", FILES).read_facts()["command"] == command


def test_names_that_are_taken_get_a_number(tmp_path: Path, clock: list[datetime]) -> None:
    """Runs of one name in one second are -2, -3 and so on."""
    names = [create_run(tmp_path, "a", FILES).path.name for _ in range(3)]

    assert names == ["2026-11-21T120000Z_a", "2026-11-21T120000Z_a-2", "2026-11-21T120000Z_a-3"]


def test_a_file_of_that_name_is_not_overwritten(tmp_path: Path, clock: list[datetime]) -> None:
    """Whatever lies under the name keeps it."""
    (tmp_path / "2026-11-21T120000Z_a").write_text("mine")

    assert create_run(tmp_path, "a", FILES).path.name == "2026-11-21T120000Z_a-2"
    assert (tmp_path / "2026-11-21T120000Z_a").read_text() == "mine"


def test_runs_created_at_once_do_not_share_a_directory(tmp_path: Path, clock: list[datetime]) -> None:
    """Sixteen creators of one name in one second get sixteen whole runs."""
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda k: create_run(tmp_path, "a", {"config.yaml": f"seed: {k}"}), range(16)))

    assert len({run.path for run in runs}) == 16
    assert [run.config.read_text() for run in runs] == [f"seed: {k}" for k in range(16)]
    assert len(list(tmp_path.iterdir())) == 16


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    """The error names the folder and the option that chooses another."""
    (tmp_path / "runs").write_text("a file")

    with pytest.raises(RunError) as caught:
        create_run(tmp_path / "runs", "a", FILES)

    assert re.fullmatch(
        rf"{tmp_path}/runs: no run can be created here \(.+\); choose a folder with --runs-dir",
        caught.value.problems[0],
    )


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half run and no folder aside stay behind."""
    monkeypatch.setattr(folder, "write_atomically", lambda path, text: (_ for _ in ()).throw(OSError(28, "full")))

    with pytest.raises(RunError, match="full"):
        create_run(tmp_path, "a", FILES)

    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_says_when_and_how_long(tmp_path: Path, clock: list[datetime]) -> None:
    """The end adds state, time, seconds and the facts known by then, and keeps the rest."""
    run = create_run(tmp_path, "a", FILES, facts={"engine": "keras"})
    clock[0] += timedelta(seconds=12.5)
    finish_run(run, {"precision": "float32"})
    facts = run.read_facts()

    assert (facts["state"], facts["finished"], facts["seconds"]) == ("finished", "2026-11-21T12:00:12.500Z", 12.5)
    assert (facts["engine"], facts["precision"], facts["created"]) == ("keras", "float32", "2026-11-21T12:00:00.000Z")


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    """State and reason are on record, and whoever needs a finished run hears both."""
    run = create_run(tmp_path, "a", FILES)
    fail_run(run, "the loss is not a number")

    with pytest.raises(RunError) as caught:
        require_finished(run)

    assert caught.value.problems == (
        f"{run.path}: this run is not finished, its state is failed: the loss is not a number",
    )


def test_facts_can_be_added(tmp_path: Path) -> None:
    """What becomes known on the way is added, without touching the state."""
    run = create_run(tmp_path, "a", FILES)
    update_facts(run, {"engine": "keras"})

    assert (run.read_facts()["engine"], run.read_facts()["state"]) == ("keras", "running")


def test_require_finished_gives_the_facts(tmp_path: Path) -> None:
    """A finished run passes."""
    assert require_finished(finished_run(tmp_path, engine="keras"))["engine"] == "keras"


def test_the_newest_finished_run_is_the_default(tmp_path: Path, clock: list[datetime]) -> None:
    """By time of creation, not by name or by the age of files; unfinished runs do not count."""
    old = finished_run(tmp_path, "z")
    clock[0] += timedelta(seconds=0.25)
    newest = finished_run(tmp_path, "a")
    clock[0] += timedelta(seconds=5)
    create_run(tmp_path, "running", FILES)
    os.utime(old.path)

    assert open_run(None, tmp_path) == newest


def test_a_run_is_opened_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute or relative path, with or without a slash; the run's own path is absolute."""
    run = finished_run(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)

    for path in (run.path, f"runs/{run.path.name}", f"runs/{run.path.name}/"):
        assert open_run(path, tmp_path / "elsewhere") == run


def test_the_current_folder_can_be_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` is a path as any other."""
    run = finished_run(tmp_path)
    monkeypatch.chdir(run.path)

    assert open_run(".", tmp_path / "elsewhere").read_facts()["name"] == "a"


def test_a_run_is_opened_by_the_name_of_its_directory(tmp_path: Path) -> None:
    """Within the folder of the runs the bare name is enough."""
    run = finished_run(tmp_path)

    assert open_run(run.path.name, tmp_path) == run


def test_a_run_is_opened_by_its_own_name(tmp_path: Path, clock: list[datetime]) -> None:
    """The name from the config finds the newest finished run so named, else the newest unfinished one."""
    finished_run(tmp_path, "a")
    clock[0] += timedelta(seconds=1)
    newest = finished_run(tmp_path, "a")
    clock[0] += timedelta(seconds=1)
    create_run(tmp_path, "a", FILES)
    only = create_run(tmp_path, "b", FILES)

    assert open_run("a", tmp_path) == newest
    assert open_run("b", tmp_path) == only


def test_a_folder_of_the_same_name_does_not_hide_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder `a` in the current one, which is no run, leaves the name to the run `a`."""
    run = finished_run(tmp_path / "runs", "a")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)

    assert open_run("a", tmp_path / "runs") == run


def test_a_copied_run_works_where_it_is(tmp_path: Path) -> None:
    """A run knows nothing of the folder it lies in."""
    run = finished_run(tmp_path / "runs", engine="keras")
    shutil.copytree(run.path, tmp_path / "usb" / "my-run")
    copy = open_run(tmp_path / "usb" / "my-run", tmp_path / "runs")

    assert require_finished(copy) == run.read_facts()
    assert copy.config.read_text() == run.config.read_text()


def test_an_unknown_run_lists_what_there_is(tmp_path: Path, clock: list[datetime]) -> None:
    """The nearest names come first, each with its state."""
    finished_run(tmp_path, "vgg16-features")
    create_run(tmp_path, "mobilenet", FILES)

    with pytest.raises(RunError) as caught:
        open_run("vgg61-features", tmp_path)

    assert caught.value.problems == (
        f"vgg61-features: no such directory, and no run in {tmp_path}; "
        "there are 2026-11-21T120000Z_vgg16-features (finished), 2026-11-21T120000Z_mobilenet (running)",
    )


def test_a_long_list_is_cut(tmp_path: Path, clock: list[datetime]) -> None:
    """Eight names are enough for a line."""
    for k in range(11):
        create_run(tmp_path, f"r{k}", FILES)

    with pytest.raises(RunError, match=r"and 3 more$"):
        open_run("zzz", tmp_path)


def test_no_finished_run_lists_the_others(tmp_path: Path, clock: list[datetime]) -> None:
    """The newest finished run was asked for, and there are only unfinished ones."""
    create_run(tmp_path, "a", FILES)

    with pytest.raises(RunError) as caught:
        open_run(None, tmp_path)

    assert caught.value.problems == (f"no finished run in {tmp_path}; there are 2026-11-21T120000Z_a (running)",)


@pytest.mark.parametrize("folder_exists", [True, False])
def test_no_run_at_all_says_how_to_make_one(tmp_path: Path, folder_exists: bool) -> None:
    """An empty or missing folder is no special case."""
    runs = tmp_path / "runs"
    if folder_exists:
        runs.mkdir()

    with pytest.raises(RunError) as caught:
        open_run(None, runs)

    assert caught.value.problems == (
        f"no finished run in {runs}, which holds none; `cnncli train` makes one, --runs-dir names another folder",
    )


def test_a_directory_that_is_no_run_says_so(tmp_path: Path) -> None:
    """A folder of images, say, is not a run."""
    (tmp_path / "images").mkdir()

    with pytest.raises(RunError) as caught:
        open_run(tmp_path / "images", tmp_path)

    assert caught.value.problems == (f"{tmp_path}/images: not a run, it holds no run.json",)


def test_what_is_hidden_is_no_run(tmp_path: Path) -> None:
    """Logs, locks and runs being created start with a dot."""
    run = finished_run(tmp_path)
    shutil.copytree(run.path, tmp_path / ".creating-0123")
    (tmp_path / ".logs").mkdir()
    (tmp_path / "notes.txt").write_text("")

    assert list(run_folders(tmp_path)) == [run]


def test_a_broken_run_does_not_hide_the_others(tmp_path: Path, clock: list[datetime]) -> None:
    """The newest run that can be read is the newest."""
    run = finished_run(tmp_path)
    clock[0] += timedelta(seconds=1)
    finished_run(tmp_path).facts.write_text("{")

    assert open_run(None, tmp_path) == run


def test_every_file_of_a_run_has_a_name_of_its_own() -> None:
    """No two properties share a file, and all lie inside the run."""
    run = RunFolder(Path("run"))
    names = [name for name in dir(RunFolder) if isinstance(getattr(RunFolder, name), property)]
    paths = [getattr(run, name) for name in names]

    assert len(set(paths)) == len(paths) >= 14
    assert all(path.parts[0] == "run" and len(path.parts) > 1 for path in paths)
    assert all(getattr(RunFolder, name).__doc__ for name in names)


def test_the_folder_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins over CNNCLI_RUNS, which wins over ./runs; an empty variable counts as absent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNCLI_RUNS", "from-env")

    assert runs_dir_from("from-option") == tmp_path / "from-option"
    assert runs_dir_from(None) == tmp_path / "from-env"

    monkeypatch.setenv("CNNCLI_RUNS", "")

    assert runs_dir_from(None) == tmp_path / "runs"
    assert runs_dir_from("~/r") == Path("~/r").expanduser()
