"""Images are sorted into folders of classes by links or copies, and nothing is lost or overwritten."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnncli.errors import CnncliError
from cnncli.inference.class_folders import ClassFolders, folder_names_of, require_outside
from cnncli.shards.index import read_index
from tests.images.making import write_tree
from tests.shards.writing import samples, write_parquet, write_tar, write_webdataset

CLASSES = ("cats", "dogs")


def below(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files below a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_image_becomes_a_link_in_the_folder_of_its_class(tmp_path: Path) -> None:
    """The sorted file is the image itself, which stays where it is."""
    image = write_tree(tmp_path, {"photos/a.jpg": b"a"}) / "photos/a.jpg"
    (path,) = ClassFolders(tmp_path / "sorted", CLASSES).add(image, ["cats"], is_unknown=False)

    assert path == tmp_path / "sorted/cats/a.jpg"
    assert path.samefile(image)


def test_a_copy_is_another_file(tmp_path: Path) -> None:
    """With copies, changing the sorted file leaves the image as it is."""
    image = write_tree(tmp_path, {"a.jpg": b"a"}) / "a.jpg"
    (path,) = ClassFolders(tmp_path / "sorted", CLASSES, copies=True).add(image, ["cats"], is_unknown=False)
    path.write_bytes(b"changed")

    assert image.read_bytes() == b"a"


def test_a_copy_keeps_time_and_permissions(tmp_path: Path) -> None:
    """A read-only image can be copied (the superuser may write to it in any case), and its copy is read-only."""
    image = write_tree(tmp_path, {"a.jpg": b"a"}) / "a.jpg"
    os.utime(image, (1e9, 1e9))
    image.chmod(0o444)
    (path,) = ClassFolders(tmp_path / "sorted", CLASSES, copies=True).add(image, ["cats"], is_unknown=False)

    assert path.read_bytes() == b"a"
    assert (path.stat().st_mtime, path.stat().st_mode) == (1e9, image.stat().st_mode)


@pytest.mark.parametrize("copies", [False, True])
def test_sorting_twice_changes_nothing_and_overwrites_nothing(tmp_path: Path, copies: bool) -> None:
    """Images of one name from several folders are all kept, and the second time nothing is added."""
    photos = {"a/1.jpg": b"first", "b/1.jpg": b"second", "c/1.jpg": b"third", "d/1.jpg": b"third"}
    root = write_tree(tmp_path / "photos", photos)
    write_tree(tmp_path / "sorted", {"cats/1-2.jpg": b"of somebody"})
    for _ in range(2):
        folders = ClassFolders(tmp_path / "sorted", CLASSES, copies=copies)
        for name in photos:
            folders.add(root / name, ["cats"], is_unknown=False)

        assert below(tmp_path / "sorted") == {
            "cats/1-2.jpg": b"of somebody",
            "cats/1-3.jpg": b"second",
            "cats/1-4.jpg": b"third",
            "cats/1.jpg": b"first",
        }
    assert below(root) == photos


def test_unknown_images_and_images_without_labels_have_folders(tmp_path: Path) -> None:
    """An image that is not answered is in `unknown`, one of several labels in the folder of each of them."""
    root = write_tree(tmp_path / "photos", {"a.jpg": b"a", "b.jpg": b"b", "c.jpg": b"c"})
    folders = ClassFolders(tmp_path / "sorted", CLASSES)
    folders.add(root / "a.jpg", ["cats"], is_unknown=True)
    folders.add(root / "b.jpg", ["cats", "dogs"], is_unknown=False)
    folders.add(root / "c.jpg", [], is_unknown=False)

    assert set(below(tmp_path / "sorted")) == {"unknown/a.jpg", "cats/b.jpg", "dogs/b.jpg", "no label/c.jpg"}


def test_the_target_of_a_link_is_sorted(tmp_path: Path) -> None:
    """An image behind a symbolic link is linked or copied itself, under the name of the link."""
    root = write_tree(tmp_path, {"far/3f2a9c": b"a"})
    (root / "link.jpg").symlink_to("far/3f2a9c")
    (path,) = ClassFolders(root / "sorted", CLASSES).add(root / "link.jpg", ["cats"], is_unknown=False)

    assert path == root / "sorted/cats/link.jpg"
    assert not path.is_symlink()
    assert path.samefile(root / "far/3f2a9c")


def test_another_file_system_gets_copies(tmp_path: Path) -> None:
    """An image is copied if the file system cannot link."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    image = memory / f"cnncli-{os.getpid()}.jpg"
    image.write_bytes(b"a")
    try:
        (path,) = ClassFolders(tmp_path, CLASSES).add(image, ["dogs"], is_unknown=False)
        assert path.read_bytes() == b"a"
        assert not path.samefile(image)
    finally:
        image.unlink()


@example(["\N{SNOWMAN}" * 100, "\N{SNOWMAN}" * 101])
@given(st.lists(st.text(max_size=120), unique=True, max_size=20))
def test_every_class_has_a_folder_of_its_own_inside(classes: list[str]) -> None:
    """Names of classes, which a run from elsewhere can choose, never lead out of the folder or to one another."""
    names = folder_names_of(classes)

    assert list(names) == classes
    assert len({name.casefold() for name in names.values()} | {"unknown", "no label"}) == len(classes) + 2
    assert all(len(os.fsencode(name)) <= 255 for name in names.values())
    assert all(Path(name).name == name and name not in (".", "..", "") for name in names.values())


def test_a_folder_inside_the_images_is_refused(tmp_path: Path) -> None:
    """The sorted images must not be sorted again."""
    require_outside(tmp_path / "sorted", [str(tmp_path / "a.jpg"), str(tmp_path / "photos")])
    with pytest.raises(CnncliError) as error:
        require_outside(tmp_path / "sorted", [str(tmp_path)])

    assert error.value.code == "usage-sort-inside"


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_images_in_shards_become_files(tmp_path: Path, kind: str) -> None:
    """Each image is written with its content, once, under a name that shows its format."""
    chosen = samples(4)
    write = write_webdataset if kind == "tar" else write_parquet
    shards = [write(tmp_path / f"{number}.{kind}", chosen[number::2]) for number in range(2)]
    for _ in range(2):
        folders = ClassFolders(tmp_path / "sorted", CLASSES)
        for shard in shards:
            for name in read_index(str(shard)).names:
                folders.add(shard / name, ["cats", "dogs"], is_unknown=False)

        found = below(tmp_path / "sorted")
        contents = sorted(content for _, _, content in chosen)
        for label in CLASSES:
            assert sorted(content for name, content in found.items() if name.startswith(label)) == contents
        assert {Path(name).suffix for name in found} == {".jpg"}


def test_different_images_of_one_name_in_shards_are_kept(tmp_path: Path) -> None:
    """An image whose name is taken by another one gets a number, as a file does."""
    for number, sample in enumerate(samples(2)):
        shard = write_webdataset(tmp_path / f"{number}.tar", [("same/name", "cats", sample[2])])
        (path,) = ClassFolders(tmp_path / "sorted", CLASSES).add(shard / "same/name.jpg", ["cats"], is_unknown=False)
        assert path.read_bytes() == sample[2]

    assert set(below(tmp_path / "sorted")) == {"cats/name.jpg", "cats/name-2.jpg"}


def test_an_image_that_left_its_shard_is_not_found(tmp_path: Path) -> None:
    """The error is that of a file that does not exist anymore."""
    shard = write_webdataset(tmp_path / "a.tar", samples(2))
    with pytest.raises(FileNotFoundError):
        ClassFolders(tmp_path / "sorted", CLASSES).add(shard / "absent.jpg", ["cats"], is_unknown=False)


@pytest.mark.parametrize("place", ["class", "root", "link", "nowhere"])
def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path, place: str) -> None:
    """A file or a broken link in place of a folder is a mistake of the user, and not of the image."""
    image = write_tree(tmp_path, {"a.jpg": b"a", "file": b"", "sorted/cats": b""}) / "a.jpg"
    (tmp_path / "link").symlink_to("absent")
    roots = {"class": tmp_path / "sorted", "root": tmp_path / "file", "link": tmp_path / "link"}
    root = roots.get(place, Path("/proc/x"))
    if place == "nowhere" and not Path("/proc/self").exists():
        pytest.skip("needs a folder in which nothing can be created")
    with pytest.raises(CnncliError) as error:
        ClassFolders(root, CLASSES).add(image, ["cats"], is_unknown=False)

    assert (error.value.code, error.value.facts["path"]) == ("usage-sort-folder", root / "cats")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("kind", ["links", "copies", "shards"])
def test_nothing_is_lost_when_several_sort_into_one_folder(tmp_path: Path, kind: str) -> None:
    """Different images of one name that are sorted at the same time are all kept, and equal ones once."""
    contents = [b"%d" % (number // 2) for number in range(64)]
    folders = ClassFolders(tmp_path / "sorted", CLASSES, copies=kind == "copies")
    if kind == "shards":
        images = [write_tar(tmp_path / f"{n}.tar", [("1.jpg", one)]) / "1.jpg" for n, one in enumerate(contents)]
    else:
        write_tree(tmp_path, {f"{n}/1.jpg": one for n, one in enumerate(contents)})
        images = [tmp_path / f"{n}/1.jpg" for n in range(len(contents))]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda image: folders.add(image, ["cats"], is_unknown=False)[0], images))

    assert [path.read_bytes() for path in paths] == contents
    assert sorted(below(tmp_path / "sorted").values()) == sorted(set(contents))


@pytest.mark.parametrize("kind", ["links", "copies", "shards"])
@pytest.mark.parametrize("name", ["a" * 251 + ".jpg", "\N{SNOWMAN}" * 83 + "ab.jpg"], ids=["ascii", "wide"])
def test_names_as_long_as_a_file_system_allows_are_sorted(tmp_path: Path, kind: str, name: str) -> None:
    """Different images under a name of 255 bytes are all kept; the names with numbers are shorter before these."""
    images = []
    for number in range(3):
        if kind == "shards":
            images.append(write_tar(tmp_path / f"{number}.tar", [(name, b"%d" % number)]) / name)
        else:
            images.append(write_tree(tmp_path / str(number), {name: b"%d" % number}) / name)
    folders = ClassFolders(tmp_path / "sorted", CLASSES, copies=kind == "copies")
    paths = [folders.add(image, ["cats"], is_unknown=False)[0] for image in images]

    assert [path.read_bytes() for path in paths] == [b"0", b"1", b"2"]
    assert [path.name[-6:] for path in paths] == [name[-6:], "-2.jpg", "-3.jpg"]
    assert all(len(os.fsencode(path.name)) in range(250, 256) for path in paths)
