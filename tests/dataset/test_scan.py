"""Which folders are splits and classes, and which files are passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncli.dataset.scan import images_below, scan
from cnncli.errors import DataError
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree


def found_paths(root: Path) -> list[str]:
    """The candidates of a scan, relative to the root."""
    return [os.path.relpath(one.path, root) for one in scan(root).candidates]


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Validation"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    """Train, test and the names that validation goes by."""
    for name in ("train", validation, "Test"):
        write_classes(tmp_path / name, {"cats": 1, "dogs": 2})
    found = scan(tmp_path)
    assert found.has_splits
    assert found.classes == dict.fromkeys(("train", "validation", "test"), ("cats", "dogs"))
    assert found.folders["validation"] == tmp_path / validation
    assert [one.split for one in found.candidates] == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert [one.label for one in found.candidates[:3]] == ["cats", "dogs", "dogs"]
    assert not found.left_out
    assert not found.problems
    assert not found.notes


def test_class_folders_alone(tmp_path: Path) -> None:
    """Their split is `all`; classes are sorted as text is."""
    write_classes(tmp_path, {"b": 1, "a": 1, "10": 1, "2": 1, "B": 1})
    found = scan(tmp_path)
    assert not found.has_splits
    assert found.classes == {"all": ("10", "2", "B", "a", "b")}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Vehicles: images lie in it directly, and other folders beside it."""
    write_classes(tmp_path, {"bus": 1, "car": 1, "train": 2})
    assert scan(tmp_path).classes == {"all": ("bus", "car", "train")}


def test_folders_beside_the_splits_are_left_out_with_a_note(tmp_path: Path) -> None:
    """They are neither classes nor forgotten."""
    write_classes(tmp_path / "train", {"cats": 1, "dogs": 1})
    write_classes(tmp_path / "unlabelled", {"x": 1})
    found = scan(tmp_path)
    assert found.left_out == {"folder beside the split folders": 1}
    assert found.notes == ["beside the split folders, left out: unlabelled/"]
    assert len(found.candidates) == 2


def test_two_names_of_one_split_are_a_problem(tmp_path: Path) -> None:
    """Which of them is meant cannot be known."""
    for name in ("train", "val", "validation"):
        write_classes(tmp_path / name, {"cats": 1, "dogs": 1})
    assert scan(tmp_path).problems == [f"{tmp_path}: val/ and validation/ are both the validation split; keep one"]


def test_what_is_no_image_is_counted_by_reason(tmp_path: Path) -> None:
    """Hidden files and folders, leftovers of macOS and Windows, other files, images outside the classes."""
    write_classes(tmp_path, {"cats": 2, "dogs": 2})
    write_tree(
        tmp_path,
        {
            "cats/.DS_Store": b"x",
            "cats/._cats.0.jpg": b"x",
            "cats/.ipynb_checkpoints/a.jpg": jpeg(50),
            ".git/config": b"x",
            "__MACOSX/cats/a.jpg": jpeg(51),
            "dogs/__MACOSX/b.jpg": jpeg(52),
            "dogs/Thumbs.db": b"x",
            "dogs/desktop.ini": b"x",
            "dogs/notes.txt": b"BMW is no bitmap",
            "dogs/labels.csv": b"a,b",
            "README.md": b"x",
            "loose.jpg": jpeg(53),
        },
    )
    assert scan(tmp_path).left_out == {
        "hidden file or folder": 4,
        "__MACOSX folder": 2,
        "system file such as Thumbs.db": 2,
        "not an image": 3,
        "image outside the class folders": 1,
    }
    assert len(scan(tmp_path).candidates) == 4


def test_images_are_found_by_content_or_by_the_claim_of_their_name(tmp_path: Path) -> None:
    """A PNG without a suffix is one; a text named .jpg is a broken one."""
    write_tree(tmp_path, {"a/x": encoded(drawn_image()), "a/y.dat": jpeg(), "a/z.JPG": b"text", "b/q.txt": b"text"})
    assert found_paths(tmp_path) == ["a/x", "a/y.dat", "a/z.JPG"]


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    """To any depth."""
    deep = "/".join(["d"] * 200)
    write_tree(tmp_path, {f"cats/{deep}/a.jpg": jpeg(), "dogs/2024/may/b.jpg": jpeg(1), "dogs/c.jpg": jpeg(2)})
    found = scan(tmp_path)
    assert [one.label for one in found.candidates] == ["cats", "dogs", "dogs"]


def test_loops_of_links_end_and_real_paths_are_preferred(tmp_path: Path) -> None:
    """A link to the folder itself, to its parent, to another class, and two folders that link to each other."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    (tmp_path / "cats" / "again").symlink_to(tmp_path / "cats")
    (tmp_path / "cats" / "all").symlink_to(tmp_path)
    (tmp_path / "dogs" / "a").mkdir()
    write_tree(tmp_path, {"dogs/z/inner.jpg": jpeg(9)})
    (tmp_path / "dogs" / "a" / "link").symlink_to(tmp_path / "dogs" / "z")
    (tmp_path / "dogs" / "z" / "link").symlink_to(tmp_path / "dogs" / "a")
    (tmp_path / "dogs" / "self").symlink_to(tmp_path / "dogs" / "self")
    assert found_paths(tmp_path) == ["cats/cats.0.jpg", "dogs/dogs.0.jpg", "dogs/z/inner.jpg"]
    assert scan(tmp_path).left_out == {
        "link that leads nowhere": 1,
        "link to a folder that was already visited": 4,
    }


def test_linked_images_and_class_folders_count(tmp_path: Path) -> None:
    """Datasets are often arranged by links."""
    store = write_classes(tmp_path / "store", {"cats": 2, "dogs": 1})
    root = tmp_path / "set"
    (root / "cats").mkdir(parents=True)
    (root / "cats" / "one.jpg").symlink_to(store / "cats" / "cats.0.jpg")
    (root / "dogs").symlink_to(store / "dogs")
    assert found_paths(root) == ["cats/one.jpg", "dogs/dogs.0.jpg"]


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_do_not_hang(tmp_path: Path) -> None:
    """One that is named like an image is a candidate, to be refused by name; another is left out."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    os.mkfifo(tmp_path / "cats" / "pipe.jpg")
    os.mkfifo(tmp_path / "cats" / "pipe")
    os.mkfifo(tmp_path / "pipe")
    assert found_paths(tmp_path) == ["cats/cats.0.jpg", "cats/pipe.jpg", "dogs/dogs.0.jpg"]
    assert scan(tmp_path).left_out == {"not a regular file": 2}


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    """Also those of classes."""
    name = os.fsdecode(b"\xff\xfe caf\xc3\xa9\n")
    write_classes(tmp_path, {name: 1, "dogs": 1})
    write_tree(tmp_path, {f"{name}/{name}.jpg": jpeg(7)})
    found = scan(tmp_path)
    assert found.classes["all"] == tuple(sorted([name, "dogs"]))
    assert len(found.candidates) == 3


def test_no_such_folder_and_a_file_are_errors(tmp_path: Path) -> None:
    """One line each."""
    with pytest.raises(DataError, match=r"nowhere: there is no such folder$"):
        scan(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file: is a file; a folder of images is expected$"):
        scan(tmp_path / "file")


def test_folder_that_cannot_be_listed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missed without a word."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert scan(tmp_path).problems == [f"{tmp_path / 'dogs'}: cannot be listed (Permission denied)"]


def test_images_below_a_folder(tmp_path: Path) -> None:
    """For predictions: no classes are asked for, and the path stays as it was given."""
    write_tree(tmp_path, {"b/x.jpg": jpeg(), "a.png": b"", "notes.txt": b"x", ".hidden.jpg": jpeg()})
    assert images_below(tmp_path) == ([tmp_path / "a.png", tmp_path / "b" / "x.jpg"], [])
    assert images_below(tmp_path / "none") == ([], [f"{tmp_path / 'none'}: No such file or directory"])
