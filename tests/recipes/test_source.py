"""`cnncli train` takes configs, folders of images and runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.errors import RunError
from cnncli.recipes.source import find_run, read_config
from cnncli.runs.folder import RunFolder, create_run, finish_run
from tests.support.drawing import draw_dataset


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the runs, with an unfinished run `a` that is older than a finished one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def _run(runs_dir: Path, name: str, *, finished: bool = False) -> RunFolder:
    run = create_run(runs_dir, name, {"config.yaml": ""})
    if finished:
        finish_run(run)
    return run


def test_a_run_is_found_by_its_path_its_directory_and_its_name(runs_dir: Path) -> None:
    """Of several runs of a name, the newest unfinished one is resumed."""
    unfinished, finished = _run(runs_dir, "a"), _run(runs_dir, "a", finished=True)

    for source in (Path("a"), Path(unfinished.path.name), unfinished.path):
        assert find_run(source, runs_dir) == unfinished
    assert find_run(Path(finished.path.name), runs_dir) == finished


def test_a_finished_run_is_found_by_its_name(runs_dir: Path) -> None:
    """It shows its metrics, or is extended by more epochs."""
    run = _run(runs_dir, "a", finished=True)

    assert find_run(Path("a"), runs_dir) == run


def test_files_and_folders_come_before_names(runs_dir: Path) -> None:
    """A config or a folder of images of the same name is what the user sees in the current folder."""
    for name in ("images", "config.yaml"):
        _run(runs_dir, name)
    Path("images").mkdir()
    Path("config.yaml").touch()

    assert find_run(Path("images"), runs_dir) is None
    assert find_run(Path("config.yaml"), runs_dir) is None
    assert find_run(Path("missing.yaml"), runs_dir) is None


def test_a_damaged_run_is_an_error(runs_dir: Path) -> None:
    """It is not taken for a config."""
    run = _run(runs_dir, "a")
    run.facts.write_text("{")

    with pytest.raises(RunError) as caught:
        find_run(run.path, runs_dir)
    assert caught.value.code == "run-file-damaged"


@pytest.mark.parametrize(
    ("size", "overrides", "expected"),
    [
        (8, (), (128, {})),
        (200, (), (None, {})),
        (8, ("data.image_size=null",), (None, {})),
        (8, ("data.image_size=64",), (64, {})),
        (8, ("mode=from-scratch", "backbone.name=ConvNet"), (8, {"filters": [32, 64], "padding": "same"})),
    ],
)
def test_a_folder_of_small_images_gets_a_small_image_size(
    size: int, overrides: tuple[str, ...], expected: tuple[int | None, dict[str, object]], tmp_path: Path
) -> None:
    """`cnncli train DIR` chooses as `cnncli init DIR` does, and a small network from scratch."""
    draw_dataset(tmp_path / "data", 1, 1, 1, size=size)
    (tmp_path / "data" / "train" / "dots" / "broken.png").write_bytes(b"broken")
    config = read_config(tmp_path / "data", overrides)

    assert (config.data.image_size, config.backbone.options) == expected
