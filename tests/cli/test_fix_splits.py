"""`cnncli data check --fix-splits`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from cnncli.cli import main
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose two splits share one pair of identical images and one pair of similar images."""
    write_classes(tmp_path / "data" / "train", {"cats": 12, "dogs": 14})
    write_classes(tmp_path / "data" / "test", {"cats": 11, "dogs": 11}, first_seed=100)
    like = drawn_image(96, 128, seed=999)
    write_tree(
        tmp_path / "data",
        {
            "test/cats/leak.jpg": jpeg(0, 12, 16),
            "train/dogs/large.png": encoded(like),
            "test/dogs/small.jpg": encoded(like.resize((64, 48)), "JPEG"),
        },
    )
    return tmp_path / "data"


def moves_of(folder: Path) -> list[str]:
    """Return the lines that `--fix-splits` prints for the images it moves."""
    pairs = [("test/cats/leak.jpg", "train/cats/leak.jpg"), ("test/dogs/small.jpg", "train/dogs/small.jpg")]
    return [f"move {folder / source} to {folder / target}" for source, target in pairs]


def names(folder: Path) -> list[str]:
    """Return the sorted relative paths of all files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_check_suggests_fix_splits_for_similar_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning about similar images in different splits suggests `--fix-splits`."""
    assert main(["data", "check", str(folder)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "pairs of similar images in different splits: 1" in lines
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert warning.endswith("[data-near-duplicates]")
    assert f"{folder} --fix-splits" in warning


def test_images_are_moved_and_the_folder_is_checked_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The moves are printed to stderr, and the report describes the folder after the moves."""
    assert main(["--no-color", "data", "check", str(folder), "--fix-splits"]) == 0
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.startswith("move ")] == moves_of(folder)
    assert out.splitlines()[-2:] == ["OK: no problems found", "moved: 2"]
    assert {"train/cats/leak.jpg", "train/dogs/small.jpg"} <= set(names(folder))
    assert main(["data", "check", str(folder), "--fix-splits"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "moved: 0"


def test_dry_run_moves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints the moves and the problems of the folder, but moves nothing."""
    before = names(folder)
    assert main(["data", "check", str(folder), "--fix-splits", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.startswith("move ")] == moves_of(folder)
    assert out.splitlines()[-1] == "to be moved: 2"
    assert names(folder) == before


def test_moves_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, one document contains both the report and the moves."""
    assert main(["data", "check", str(folder), "--fix-splits", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["moves"][0] == {
        "from": str(folder / "test/cats/leak.jpg"),
        "to": str(folder / "train/cats/leak.jpg"),
        "moved": True,
    }
    assert (document["moved"], document["left"], document["not_moved"]) == (True, [], [])
    assert (document["ok"], document["near_duplicates"]) == (True, [])


@pytest.mark.parametrize(("answer", "moved"), [("y\n", True), ("n\n", False), ("", None)])
def test_fix_splits_asks_for_confirmation_on_a_terminal(
    folder: Path, answer: str, moved: bool | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, images are moved only after the user answers yes."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    before = names(folder)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code = main(["data", "check", str(folder), "--fix-splits"])
    assert "Images to move: 2. Move them?" in "".join(capsys.readouterr())
    assert (names(folder) != before) == bool(moved)
    assert code == {True: 0, False: 2, None: 130}[moved]


def test_yes_skips_the_confirmation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --yes, images are moved without a confirmation prompt."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["data", "check", str(folder), "--fix-splits", "--yes"]) == 0


def test_a_folder_without_splits_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--fix-splits on a folder without split folders fails with exit code 2 and an error code."""
    write_classes(tmp_path, {"cats": 3, "dogs": 3})
    assert main(["--no-color", "data", "check", str(tmp_path), "--fix-splits"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("[data-fix-no-splits]")


@pytest.mark.parametrize("word", ["--dry-run", "--yes"])
def test_options_of_the_moves_require_fix_splits(folder: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run and --yes are refused without --fix-splits."""
    assert main(["--no-color", "data", "check", str(folder), word]) == 2
    assert "--fix-splits" in capsys.readouterr().err
