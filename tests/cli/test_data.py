"""`cnncli data check` and `cnncli data prepare`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.cli import main
from tests.images.making import jpeg, write_classes, write_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of two classes, nothing wrong with them."""
    write_classes(tmp_path / "data" / "train", {"cats": 12, "dogs": 14})
    write_classes(tmp_path / "data" / "test", {"cats": 5, "dogs": 5}, first_seed=100)
    return tmp_path / "data"


def test_check_of_a_fine_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0; the tables are the result, progress is not."""
    write_tree(folder, {"train/notes.txt": b"x", "train/cats/again.jpg": jpeg(0, 12, 16)})
    assert main(["data", "check", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        str(folder),
        "class  train  test",
        "cats      13     5",
        "dogs      14     5",
        "all       27    10",
        *out.splitlines()[5:9],
        "formats: JPEG 37",
        "color modes: RGB 37",
        "unreadable: 0",
        "groups of equal files: 1 within a split, 0 across splits",
        "pairs that look alike in different splits: 0",
        "left out: not an image 1",
        f"equal: {folder}/train/cats/again.jpg = {folder}/train/cats/cats.0.jpg",
        "fine: nothing keeps this folder from being trained on",
    ]


def test_check_lists_all_errors_and_exits_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unreadable images, a class that a split lacks, an image in two splits: at once, once each."""
    write_tree(folder, {"train/cats/bad.jpg": b"", "test/dogs/leak.jpg": jpeg(0, 12, 16)})
    write_classes(folder / "train", {"owls": 12}, first_seed=500)
    assert main(["data", "check", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("error: ")] == [
        f"error: {folder}/test: lacks the class owls of train",
        f"error: {folder}/train/cats/bad.jpg: is empty (0 bytes)",
        f"error: {folder}/train/cats/cats.0.jpg = {folder}/test/dogs/leak.jpg: the same image in train and test, "
        "under 2 labels: cats, dogs",
    ]
    assert ["owls", "12", "–"] in [line.split() for line in out.splitlines()]
    assert "error" not in err


def test_check_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document on stdout, alone; the exit code tells too."""
    assert main(["data", "check", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"train": {"cats": 12, "dogs": 14}, "test": {"cats": 5, "dogs": 5}}
    assert (document["fine"], document["total"], document["classes"]) == (True, 36, ["cats", "dogs"])
    write_tree(folder, {"train/cats/bad.jpg": b""})
    assert main(["data", "check", str(folder), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["problems"] == [f"{folder}/train/cats/bad.jpg: is empty (0 bytes)"]


def test_check_without_a_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, exit 2."""
    assert main(["--no-color", "data", "check", str(tmp_path / "none")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"error: {tmp_path / 'none'}: there is no such folder"


def test_prepare_prints_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And names broken files on stderr."""
    files = {
        f"PetImages/{name}/{k}.jpg": jpeg(k + n, 12, 16) for name, n in (("Cat", 0), ("Dog", 50)) for k in range(4)
    }
    write_tree(tmp_path / "source", {**files, "PetImages/Cat/666.jpg": b""})
    words = ["data", "prepare", "dogs-vs-cats", str(tmp_path / "source"), "--out", str(tmp_path / "out")]
    sizes = ["--train", "4", "--validation", "2", "--test", "2", "--seed", "3"]
    assert main(["--no-color", *words, *sizes]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out'}\n"
    assert "warning: PetImages/Cat/666.jpg: is empty (0 bytes); left out" in err.splitlines()
    assert main(["data", "check", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["train"] == {"cats": 2, "dogs": 2}


def test_prepare_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, nothing on stdout."""
    write_tree(tmp_path / "source", {"cat.0.jpg": jpeg(0), "dog.0.jpg": jpeg(1)})
    words = ["data", "prepare", "dogs-vs-cats", str(tmp_path / "source"), "--out", str(tmp_path / "out")]
    assert main(["--no-color", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-2:] == [f"error: 2,000 {label} are needed, and there are 1" for label in ("cats", "dogs")]
    assert not (tmp_path / "out").exists()


def test_neither_command_imports_tensorflow(folder: Path) -> None:
    """Looking at images has to be quick."""
    code = (
        "import sys; from cnncli.cli import main; main(['data', 'check', sys.argv[1]]);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'openvino', 'matplotlib')))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True)


def test_check_tells_of_a_class_too_small_to_be_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `train` would refuse is nothing that is fine."""
    write_classes(tmp_path, {"cats": 12, "dogs": 1})

    assert main(["data", "check", str(tmp_path)]) == 2
    assert (
        f"error: {tmp_path}/dogs: 1 image is too few to give at least one to each of train, validation, test"
        in capsys.readouterr().out
    )
