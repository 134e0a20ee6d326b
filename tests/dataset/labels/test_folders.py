"""Recognizing split folders, class folders and images, and leaving out other files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncli.dataset.labels.folders import images_below, read_folders, split_named
from cnncli.dataset.records import LabeledImages
from cnncli.errors import DataError
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree


def found_paths(root: Path) -> list[str]:
    """Return the relative paths of the images that are found in a folder."""
    return [os.path.relpath(one.file, root) for one in read_folders(root).records]


def codes(found: LabeledImages, severity: str = "error") -> list[str]:
    """Return the codes of the issues with the given severity."""
    return [issue.code for issue in found.issues if issue.severity == severity]


@pytest.mark.parametrize(
    "names",
    [
        ("train", "validation", "test"),
        ("train", "val", "Test"),
        ("Training", "Valid", "Testing"),
        ("training_set", "dev_set", "test_set"),
        ("seg_train", "seg_val", "seg_test"),
        ("trainset", "validset", "testset"),
        ("Train Images", "Validation Images", "Test Images"),
    ],
)
def test_split_folders_have_many_names(tmp_path: Path, names: tuple[str, str, str]) -> None:
    """Common names of split folders are recognized in upper and lower case."""
    for name in names:
        write_classes(tmp_path / name, {"cats": 1, "dogs": 2})
    found = read_folders(tmp_path)
    assert found.has_splits
    assert found.classes == dict.fromkeys(("train", "validation", "test"), ("cats", "dogs"))
    assert found.folders["validation"] == tmp_path / names[1]
    assert [one.split for one in found.records] == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert [one.label for one in found.records[:3]] == ["cats", "dogs", "dogs"]
    assert not found.left_out
    assert not found.issues


def test_class_folders_without_splits(tmp_path: Path) -> None:
    """Without split folders, all images belong to the split `all`, and class names are sorted as text."""
    write_classes(tmp_path, {"b": 1, "a": 1, "10": 1, "2": 1, "B": 1})
    found = read_folders(tmp_path)
    assert not found.has_splits
    assert found.classes == {"all": ("10", "2", "B", "a", "b")}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """A folder called train that contains images, next to class folders, is treated as a class, with a warning."""
    write_classes(tmp_path, {"bus": 1, "car": 1, "train": 2})
    found = read_folders(tmp_path)
    assert found.classes == {"all": ("bus", "car", "train")}
    assert codes(found, "warning") == ["data-class-named-like-split"]


@pytest.mark.parametrize(
    "name", ["tested", "trainer", "strain", "valley", "device", "contest", "latest", "training wheels"]
)
def test_names_that_only_resemble_splits_are_classes(name: str) -> None:
    """Folder names that merely contain the name of a split are not recognized as splits."""
    assert split_named(name) is None


def test_a_dataset_next_to_the_splits_is_not_a_class(tmp_path: Path) -> None:
    """A dataset folder next to split folders is not treated as a class, but reported in a note."""
    for name in ("training_set", "test_set", "other_cats"):
        write_classes(tmp_path / name, {"cats": 1, "dogs": 1})
    found = read_folders(tmp_path)
    assert list(found.classes) == ["train", "test"]
    assert codes(found, "note") == ["data-beside-splits"]


def test_class_folders_with_the_same_subfolders_are_a_warning(tmp_path: Path) -> None:
    """Class folders with identical subfolders, such as one folder per camera, are reported in a warning."""
    for site in ("north", "south"):
        write_classes(tmp_path / site, {"cats": 1, "dogs": 1})
    found = read_folders(tmp_path)
    assert codes(found, "warning") == ["data-repeated-subfolders"]
    assert found.issues[0].facts["names"] == ("cats", "dogs")


def test_folders_of_annotations_and_of_systems_are_not_classes(tmp_path: Path) -> None:
    """Annotation and system folders are not classes, unless an annotation folder contains images."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1, "masks": 1})
    write_tree(tmp_path, {"annotations/a.xml": b"x", "@eaDir/a.jpg": jpeg(), "node_modules/a.png": jpeg()})
    (tmp_path / "$RECYCLE.BIN").mkdir()
    found = read_folders(tmp_path)
    assert found.classes == {"all": ("cats", "dogs", "masks")}
    assert found.left_out["folder of annotations"] == 1


@pytest.mark.parametrize("runs_dir", ["runs", "."])
def test_runs_are_not_classes(tmp_path: Path, runs_dir: str) -> None:
    """Runs in the folder of the images do not become a class, whatever figures they contain."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    for name in ("1_cats", "2_cats"):
        files = {"run.json": b"{}", "manifest.csv": b"", "figures/a.png": encoded(drawn_image(), "PNG")}
        write_tree(tmp_path / runs_dir / name, files)
    found = read_folders(tmp_path)
    assert found.classes == {"all": ("cats", "dogs")}
    assert len(found.records) == 2
    assert found.left_out["run of cnncli"] == 2


def test_an_empty_folder_of_the_runs_is_not_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the runs without a run is not a class; a folder of that name with images is one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CNNCLI_RUNS", raising=False)
    write_classes(tmp_path, {"cats": 1})
    (tmp_path / "runs").mkdir()
    assert read_folders(tmp_path).classes == {"all": ("cats",)}
    write_classes(tmp_path, {"runs": 1})
    assert read_folders(tmp_path).classes == {"all": ("cats", "runs")}


def test_folders_next_to_the_splits_are_left_out_with_a_note(tmp_path: Path) -> None:
    """A folder next to the split folders is left out, counted and reported in a note."""
    write_classes(tmp_path / "train", {"cats": 1, "dogs": 1})
    write_classes(tmp_path / "unlabeled", {"x": 1})
    found = read_folders(tmp_path)
    assert found.left_out == {"folder next to the split folders": 1}
    assert found.issues[0].facts["names"] == ("unlabeled",)
    assert len(found.records) == 2


def test_two_names_of_one_split_are_a_problem(tmp_path: Path) -> None:
    """Two folders that could both be the validation split are reported as a problem."""
    for name in ("train", "val", "validation"):
        write_classes(tmp_path / name, {"cats": 1, "dogs": 1})
    (issue,) = read_folders(tmp_path).issues
    assert (issue.code, issue.facts["first"], issue.facts["second"]) == ("data-duplicate-split", "val", "validation")


def test_files_that_are_not_images_are_counted_by_reason(tmp_path: Path) -> None:
    """Hidden files, system files, other files and images outside class folders are counted by reason."""
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
    assert read_folders(tmp_path).left_out == {
        "hidden file or folder": 4,
        "__MACOSX folder": 2,
        "system file such as Thumbs.db": 2,
        "not an image": 3,
        "image outside the class folders": 1,
    }
    assert len(read_folders(tmp_path).records) == 4


def test_images_are_found_by_content_or_by_name(tmp_path: Path) -> None:
    """Files with the content or the name of an image are found as images."""
    write_tree(tmp_path, {"a/x": encoded(drawn_image()), "a/y.dat": jpeg(), "a/z.JPG": b"text", "b/q.txt": b"text"})
    assert found_paths(tmp_path) == ["a/x", "a/y.dat", "a/z.JPG"]


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    """Images in subfolders of any depth belong to their class folder."""
    deep = "/".join(["d"] * 200)
    write_tree(tmp_path, {f"cats/{deep}/a.jpg": jpeg(), "dogs/2024/may/b.jpg": jpeg(1), "dogs/c.jpg": jpeg(2)})
    found = read_folders(tmp_path)
    assert [one.label for one in found.records] == ["cats", "dogs", "dogs"]


def test_loops_of_links_end_and_real_paths_are_preferred(tmp_path: Path) -> None:
    """Links that form loops are followed only once, and images are listed under their real paths."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    (tmp_path / "cats" / "again").symlink_to(tmp_path / "cats")
    (tmp_path / "cats" / "all").symlink_to(tmp_path)
    (tmp_path / "dogs" / "a").mkdir()
    write_tree(tmp_path, {"dogs/z/inner.jpg": jpeg(9)})
    (tmp_path / "dogs" / "a" / "link").symlink_to(tmp_path / "dogs" / "z")
    (tmp_path / "dogs" / "z" / "link").symlink_to(tmp_path / "dogs" / "a")
    (tmp_path / "dogs" / "self").symlink_to(tmp_path / "dogs" / "self")
    assert found_paths(tmp_path) == ["cats/cats.0.jpg", "dogs/dogs.0.jpg", "dogs/z/inner.jpg"]
    assert read_folders(tmp_path).left_out == {
        "broken link": 1,
        "link to a folder that was already visited": 4,
    }


def test_linked_images_and_class_folders_are_used(tmp_path: Path) -> None:
    """Linked images and linked class folders are used like real ones."""
    store = write_classes(tmp_path / "store", {"cats": 2, "dogs": 1})
    root = tmp_path / "set"
    (root / "cats").mkdir(parents=True)
    (root / "cats" / "one.jpg").symlink_to(store / "cats" / "cats.0.jpg")
    (root / "dogs").symlink_to(store / "dogs")
    assert found_paths(root) == ["cats/one.jpg", "dogs/dogs.0.jpg"]


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_do_not_hang(tmp_path: Path) -> None:
    """Named pipes do not block the search; those named like images are listed, to be refused later, others left out."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    os.mkfifo(tmp_path / "cats" / "pipe.jpg")
    os.mkfifo(tmp_path / "cats" / "pipe")
    os.mkfifo(tmp_path / "pipe")
    assert found_paths(tmp_path) == ["cats/cats.0.jpg", "cats/pipe.jpg", "dogs/dogs.0.jpg"]
    assert read_folders(tmp_path).left_out == {"not a regular file": 2}


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    """Names of files and classes may contain bytes that are not UTF-8."""
    name = os.fsdecode(b"\xff\xfe caf\xc3\xa9\n")
    write_classes(tmp_path, {name: 1, "dogs": 1})
    write_tree(tmp_path, {f"{name}/{name}.jpg": jpeg(7)})
    found = read_folders(tmp_path)
    assert found.classes["all"] == tuple(sorted([name, "dogs"]))
    assert len(found.records) == 3


def test_a_missing_folder_and_a_file_are_errors(tmp_path: Path) -> None:
    """A path that is missing or a file raises an error; for `dogs-vs-cats`, the error suggests `data prepare`."""
    (tmp_path / "file").write_bytes(b"")
    for name in ("nowhere", "file", "dogs-vs-cats"):
        with pytest.raises(DataError) as error:
            read_folders(tmp_path / name)
        assert (error.value.code, error.value.facts["path"]) == ("data-path-missing", tmp_path / name)
        assert ("data prepare dogs-vs-cats" in str(error.value)) == (name == "dogs-vs-cats")
    (tmp_path / "pets.yaml").write_text("data: {path: pets}")
    with pytest.raises(DataError) as error:
        read_folders(tmp_path / "pets.yaml")
    assert "cnncli config validate" in str(error.value)


def test_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class folder that cannot be listed is an error, because its images would be missing silently."""
    write_classes(tmp_path, {"cats": 1, "dogs": 1})
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert set(codes(read_folders(tmp_path))) == {"data-folder-unreadable"}
    assert {issue.paths for issue in read_folders(tmp_path).issues} == {(tmp_path / "dogs",)}


def test_images_below_a_folder(tmp_path: Path) -> None:
    """`images_below` returns all images below a folder as given, without needing class folders."""
    write_tree(tmp_path, {"b/x.jpg": jpeg(), "a.png": b"", "notes.txt": b"x", ".hidden.jpg": jpeg()})
    assert images_below(tmp_path) == ([tmp_path / "a.png", tmp_path / "b" / "x.jpg"], [])
    found, issues = images_below(tmp_path / "none")
    assert (found, [issue.code for issue in issues]) == ([], ["data-folder-unreadable"])
