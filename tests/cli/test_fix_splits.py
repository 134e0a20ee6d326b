"""`cnncli data check --fix-splits`."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.dataset.fix_splits import Move
from cnncli.dataset.move_files import JOURNAL
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of two classes, with an equal image and one that looks alike in both."""
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


MOVES = ["move test/cats/leak.jpg to train/cats/leak.jpg", "move test/dogs/small.jpg to train/dogs/small.jpg"]


def names(folder: Path) -> list[str]:
    """All files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_check_tells_how_to_mend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal images are an error, those that look alike a warning that names the command."""
    assert main(["data", "check", str(folder)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "pairs that look alike in different splits: 1" in lines
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert f"{folder}/train/dogs/large.png (train) and {folder}/test/dogs/small.jpg (test)" in warning
    assert warning.endswith(f"`cnncli data check {folder} --fix-splits` moves them together")


def test_images_are_moved_and_the_folder_is_checked_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The moves are said on stderr before they are made; the facts are those afterwards."""
    assert main(["--no-color", "data", "check", str(folder), "--fix-splits"]) == 0
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.startswith("move ")] == MOVES
    assert out.splitlines()[-2:] == ["fine: nothing keeps this folder from being trained on", "moved: 2"]
    assert {"train/cats/leak.jpg", "train/dogs/small.jpg"} <= set(names(folder))
    assert main(["data", "check", str(folder), "--fix-splits"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "moved: 0"


def test_dry_run_moves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be moved, and what is wrong now."""
    before = names(folder)
    assert main(["data", "check", str(folder), "--fix-splits", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.startswith("move ")] == MOVES
    assert out.splitlines()[-1] == "to be moved: 2"
    assert names(folder) == before


def test_moves_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document: the facts, and what was moved."""
    assert main(["data", "check", str(folder), "--fix-splits", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["moves"][0] == {"from": "test/cats/leak.jpg", "to": "train/cats/leak.jpg", "moved": True}
    assert (document["moved"], document["left"], document["not_moved"]) == (True, [], [])
    assert (document["fine"], document["near_duplicates"], document["warnings"]) == (True, [], [])


@pytest.mark.parametrize(("answer", "moved"), [("y\n", True), ("n\n", False), ("", None)])
def test_on_a_terminal_it_asks(
    folder: Path, answer: str, moved: bool | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only yes moves anything."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    before = names(folder)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code = main(["data", "check", str(folder), "--fix-splits"])
    assert "Move these 2 images?" in "".join(capsys.readouterr())
    assert (names(folder) != before) == bool(moved)
    assert code == {True: 0, False: 2, None: 130}[moved]


@pytest.mark.parametrize(("answers", "moved"), [("n\n", [False]), ("y\nn\n", [True, False]), ("y\ny\n", [True, True])])
def test_each_move_tells_whether_it_was_made(
    folder: Path, answers: str, moved: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an interrupted call has left is asked for first, what is found then a second time."""
    left = Move("test/cats/leak.jpg", "train/cats/leak.jpg", sha256(jpeg(0, 12, 16)).hexdigest())
    (folder / JOURNAL).write_text(json.dumps({"format": 1, "moves": [asdict(left)]}))
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    main(["data", "check", str(folder), "--fix-splits", "--json"])
    document = json.loads(capsys.readouterr().out)

    assert [move["moved"] for move in document["moves"]] == moved
    assert document["moved"] == all(moved)


def test_yes_does_not_ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even on a terminal."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["data", "check", str(folder), "--fix-splits", "--yes"]) == 0


def test_without_split_folders_there_is_nothing_to_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit 2."""
    write_classes(tmp_path, {"cats": 3, "dogs": 3})
    assert main(["--no-color", "data", "check", str(tmp_path), "--fix-splits"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {tmp_path}: has no split folders to move images between; where training draws the splits, it keeps"
        " equal images and those that look alike together"
    )


@pytest.mark.parametrize("word", ["--dry-run", "--yes"])
def test_words_that_belong_to_the_moves_are_refused_alone(
    folder: Path, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody has forgotten the other."""
    assert main(["--no-color", "data", "check", str(folder), word]) == 2
    assert "[usage-options-conflict]" in capsys.readouterr().err
