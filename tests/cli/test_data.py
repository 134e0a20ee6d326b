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
    """Return a folder with two splits of two classes, without problems."""
    write_classes(tmp_path / "data" / "train", {"cats": 12, "dogs": 14})
    write_classes(tmp_path / "data" / "test", {"cats": 5, "dogs": 5}, first_seed=100)
    return tmp_path / "data"


def test_check_of_a_folder_without_problems(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a folder without problems, `data check` prints the report without progress bars and exits with 0."""
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
        "groups of identical files: 1 within a split, 0 across splits",
        "pairs of similar images in different splits: 0",
        "left out: not an image 1",
        f"identical: {folder}/train/cats/again.jpg = {folder}/train/cats/cats.0.jpg",
        *out.splitlines()[16:-1],
        "OK: no problems found",
    ]


def codes_of(out: str, severity: str = "error") -> list[str]:
    """Return the codes of the printed messages with the given severity."""
    return [line.rpartition("[")[2].rstrip("]") for line in out.splitlines() if line.startswith(f"{severity}: ")]


def test_check_lists_all_errors_first_and_exits_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unreadable images, differing classes and leaked images are reported together, before the tables."""
    write_tree(folder, {"train/cats/bad.jpg": b"", "test/dogs/leak.jpg": jpeg(0, 12, 16)})
    write_classes(folder / "train", {"owls": 12}, first_seed=500)
    assert main(["data", "check", str(folder)]) == 2
    out, err = capsys.readouterr()
    expected = ["data-classes-differ", "image-empty", "data-bad-images", "data-leak", "data-leaks"]
    assert codes_of(out) == expected
    assert all(line.startswith("error: ") for line in out.splitlines()[: len(expected)])
    assert ["owls", "12", "–"] in [line.split() for line in out.splitlines()]
    assert "error" not in err


def test_check_counts_warnings_in_its_last_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With warnings, `data check` exits with 0 and does not print that there are no problems."""
    write_classes(folder / "train", {"dogs": 40}, first_seed=500)
    assert main(["data", "check", str(folder)]) == 0
    out = capsys.readouterr().out

    assert codes_of(out, "warning") == ["data-uneven-classes"] * 2  # of train, and of the drawn validation split
    assert out.splitlines()[-1] == "OK: no errors, 2 warnings"


@pytest.mark.parametrize("name", ["", "a.tar", "cats/a.txt"])
def test_check_without_images_only_prints_why(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Without any image, `data check` reports errors and what was left out, and no facts about images."""
    if name:
        write_tree(tmp_path, {name: b"neither an image nor a tar"})
    assert main(["data", "check", str(tmp_path)]) == 2
    out = capsys.readouterr().out

    assert codes_of(out)
    assert {line.partition(":")[0] for line in out.splitlines()} <= {"error", "left out"}
    assert ("left out" in out) == (name == "cats/a.txt")


def test_check_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, `data check` prints one document with all issues; the exit code is the same as without --json."""
    assert main(["data", "check", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"train": {"cats": 12, "dogs": 14}, "test": {"cats": 5, "dogs": 5}}
    assert (document["ok"], document["total"], document["classes"]) == (True, 36, ["cats", "dogs"])
    write_tree(folder, {"train/cats/bad.jpg": b""})
    assert main(["data", "check", str(folder), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    errors = [issue for issue in document["issues"] if issue["severity"] == "error"]
    assert [(issue["code"], issue["paths"]) for issue in errors] == [
        ("image-empty", [str(folder / "train/cats/bad.jpg")]),
        ("data-bad-images", []),
    ]


def test_check_without_a_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the folder does not exist, `data check` prints one error line to stderr and nothing to stdout."""
    assert main(["--no-color", "data", "check", str(tmp_path / "none")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"error: {tmp_path / 'none'}: ")
    assert err.splitlines()[-1].endswith("[data-path-missing]")


def test_control_characters_in_class_names_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in class names are escaped when printed."""
    write_classes(tmp_path, {"a\nb\x1b[31m": 20, "c\rd": 20})
    assert main(["data", "check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    assert "a\\nb\\x1b[31m" in out


def test_prepare_prints_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`data prepare` prints the created folder to stdout and reports broken files on stderr."""
    files = {
        f"PetImages/{name}/{k}.jpg": jpeg(k + n, 12, 16) for name, n in (("Cat", 0), ("Dog", 50)) for k in range(4)
    }
    write_tree(tmp_path / "source", {**files, "PetImages/Cat/666.jpg": b""})
    words = ["data", "prepare", "dogs-vs-cats", str(tmp_path / "source"), "--out", str(tmp_path / "out")]
    sizes = ["--train", "4", "--validation", "2", "--test", "2", "--seed", "3"]
    assert main(["--no-color", *words, *sizes]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out'}\n"
    assert codes_of(err, "warning") == ["data-prepare-left-out"]
    assert main(["data", "check", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["train"] == {"cats": 2, "dogs": 2}


def test_prepare_refuses_too_few_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If there are too few images, `data prepare` prints one error per class, exits with 2 and creates no folder."""
    write_tree(tmp_path / "source", {"cat.0.jpg": jpeg(0), "dog.0.jpg": jpeg(1)})
    words = ["data", "prepare", "dogs-vs-cats", str(tmp_path / "source"), "--out", str(tmp_path / "out")]
    assert main(["--no-color", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert codes_of(err) == ["data-prepare-too-few"] * 2
    assert not (tmp_path / "out").exists()


def test_check_imports_no_slow_library(folder: Path) -> None:
    """`data check` imports neither TensorFlow, Keras, OpenVINO nor Matplotlib, so that it starts quickly."""
    code = (
        "import sys; from cnncli.cli import main; main(['data', 'check', sys.argv[1]]);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'openvino', 'matplotlib')))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True)


def test_check_reports_a_class_that_is_too_small_to_be_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`data check` reports a class that is too small to be split, because `train` would refuse it."""
    write_classes(tmp_path, {"cats": 12, "dogs": 1})

    assert main(["data", "check", str(tmp_path)]) == 2
    assert codes_of(capsys.readouterr().out) == ["data-class-too-small"]
