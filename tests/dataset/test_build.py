"""From a folder to a manifest, and everything that may be wrong on the way, told at once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.schema import DataConfig
from cnncli.dataset import inventory
from cnncli.dataset.build import build_manifest, manifest_of_folder, scan_folder
from cnncli.dataset.manifest import Manifest
from cnncli.errors import DataError
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree

TWO = {"cats": 4, "dogs": 4}


def build(root: Path, seed: int = 0, **settings: Any) -> Manifest:
    """The manifest of a folder."""
    return build_manifest(DataConfig(path=root, **settings), seed)


def problems(root: Path, **settings: Any) -> list[str]:
    """What is wrong with a folder, with its name left out of each line."""
    with pytest.raises(DataError) as error:
        build(root, **settings)
    return [line.replace(str(root), "DIR") for line in error.value.problems]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder with three splits of two classes."""
    for k, (split, n) in enumerate({"train": 4, "validation": 2, "test": 3}.items()):
        write_classes(tmp_path / split, {"cats": n, "dogs": n}, first_seed=100 * k)
    return tmp_path


def test_rows_say_what_the_files_are(three: Path) -> None:
    """Path, label, split, digest, size; sorted by split in the order train, validation, test."""
    found = build(three)
    assert found.classes == ("cats", "dogs")
    assert found.counts() == {
        "train": {"cats": 4, "dogs": 4},
        "validation": {"cats": 2, "dogs": 2},
        "test": {"cats": 3, "dogs": 3},
    }
    assert [row.split for row in found.rows] == ["train"] * 8 + ["validation"] * 4 + ["test"] * 6
    row = found.split("validation")[3]
    path = three / "validation" / "dogs" / "dogs.1.jpg"
    assert (row.path, row.label, row.width, row.height) == (path, "dogs", 16, 12)
    assert row.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert row.size_bytes == path.stat().st_size
    assert found.notes == ()
    assert found.skipped == ()


def test_sizes_are_those_that_are_seen(tmp_path: Path) -> None:
    """After EXIF orientation, in every format."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "TIFF"):
        write_tree(tmp_path, {f"a/{kind}": encoded(drawn_image(24, 32), kind, exif=exif)})
    write_classes(tmp_path, {"b": 3})
    sizes = {(row.width, row.height) for row in build(tmp_path).rows if row.label == "a"}
    assert sizes == {(24, 32)}


def test_class_folders_are_split_by_seed(tmp_path: Path) -> None:
    """Stratified, and said in a note."""
    write_classes(tmp_path, {"cats": 20, "dogs": 10})
    found = build(tmp_path, splits={"validation": 0.2, "test": 0.1})
    assert found.counts() == {
        "train": {"cats": 14, "dogs": 7},
        "validation": {"cats": 4, "dogs": 2},
        "test": {"cats": 2, "dogs": 1},
    }
    assert found.notes == ("no split folders: divided by seed 0, stratified (train 21, validation 6, test 3)",)
    assert build(tmp_path, splits={"validation": 0.2, "test": 0.1}).rows == found.rows
    assert build(tmp_path, seed=1, splits={"validation": 0.2, "test": 0.1}).rows != found.rows


def test_split_follows_the_bytes_and_not_the_names(tmp_path: Path) -> None:
    """Renamed files stay on their side."""
    write_classes(tmp_path, {"cats": 20, "dogs": 20})
    before = {row.digest: row.split for row in build(tmp_path).rows}
    for k, path in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        path.rename(path.with_name(f"{97 * k % 101}.jpg"))
    assert {row.digest: row.split for row in build(tmp_path).rows} == before


def test_no_test_split_is_said(tmp_path: Path) -> None:
    """With class folders and a share of 0, and with split folders."""
    write_classes(tmp_path / "a", {"cats": 5, "dogs": 5})
    found = build(tmp_path / "a", splits={"validation": 0.2, "test": 0.0})
    note = "no test split: figures are for validation, which training also chooses by"
    assert list(found.counts()) == ["train", "validation"]
    assert found.notes[1:] == (note,)
    for k, split in enumerate(("train", "val")):
        write_classes(tmp_path / "b" / split, TWO, first_seed=50 * k)
    assert build(tmp_path / "b").notes == (note,)


def test_missing_validation_is_taken_from_train_and_never_from_test(tmp_path: Path) -> None:
    """Stratified, with a note."""
    write_classes(tmp_path / "train", {"cats": 20, "dogs": 40})
    write_classes(tmp_path / "test", TWO, first_seed=100)
    found = build(tmp_path)
    assert found.counts() == {
        "train": {"cats": 17, "dogs": 34},
        "validation": {"cats": 3, "dogs": 6},
        "test": {"cats": 4, "dogs": 4},
    }
    assert {row.path.parts[-3] for row in found.split("validation")} == {"train"}
    assert {row.path.parts[-3] for row in found.split("test")} == {"test"}
    assert found.notes == ("no validation folder: taken from train by seed 0, stratified (train 51, validation 9)",)


def test_train_alone_gives_train_and_validation(tmp_path: Path) -> None:
    """Two notes."""
    write_classes(tmp_path / "train", {"cats": 20, "dogs": 20})
    found = build(tmp_path)
    assert {split: sum(of.values()) for split, of in found.counts().items()} == {"train": 34, "validation": 6}
    assert len(found.notes) == 2


def test_shares_for_splits_that_are_folders_have_no_effect(three: Path) -> None:
    """Whoever chooses them believes otherwise; the usual ones, as a run's config has them, are no choice."""
    assert problems(three, splits={"validation": 0.2, "test": 0.3}) == [
        "data.splits.validation: has no effect (received 0.2), since DIR has split folders; leave it out",
        "data.splits.test: has no effect (received 0.3), since DIR has split folders; leave it out",
    ]
    assert build(three, splits={"validation": 0.15, "test": 0.15}).rows == build(three).rows


def test_a_share_for_validation_has_one_where_there_is_no_such_folder(tmp_path: Path) -> None:
    """It is taken from train; a test split never is."""
    write_classes(tmp_path / "train", {"cats": 10, "dogs": 10})

    assert problems(tmp_path, splits={"validation": 0.2, "test": 0.3}) == [
        "data.splits.test: has no effect (received 0.3), since DIR has split folders; leave it out"
    ]
    assert build(tmp_path, splits={"validation": 0.2}).counts()["validation"] == {"cats": 2, "dogs": 2}


def test_split_that_lacks_or_adds_a_class_is_named(three: Path) -> None:
    """Keras would number the others anew and score them against the wrong names."""
    (three / "validation" / "cats").rename(three / "validation" / "kittens")
    write_classes(three / "test", {"birds": 1}, first_seed=900)
    assert problems(three) == [
        "DIR/validation: lacks the class cats of train",
        "DIR/validation: holds the class kittens, which train lacks",
        "DIR/test: holds the class birds, which train lacks",
    ]


def test_empty_class_is_named(three: Path) -> None:
    """Whether it holds nothing, or nothing that is an image."""
    (three / "train" / "dogs" / "x").mkdir()
    for path in (three / "train" / "dogs").glob("*.jpg"):
        path.rename(path.with_suffix(".bak"))
        path.with_suffix(".bak").write_text("no image")
    for path in (three / "test" / "cats").glob("*.jpg"):
        path.unlink()
    assert problems(three) == [
        "DIR/train/dogs: no readable image in this class",
        "DIR/test/cats: no readable image in this class",
    ]


def test_one_class_is_too_few(tmp_path: Path) -> None:
    """With a hint where the folder is the wrapper that archives unpack into."""
    write_classes(tmp_path / "a", {"cats": 3})
    assert problems(tmp_path / "a") == ["DIR: only one class, cats; at least two are needed"]
    write_classes(tmp_path / "b" / "dogs-vs-cats" / "train", TWO)
    assert problems(tmp_path / "b") == [
        "DIR: only one class, dogs-vs-cats; at least two are needed. Did you mean DIR/dogs-vs-cats?"
    ]


def test_no_class_folders(tmp_path: Path) -> None:
    """In an empty folder, and in one with images that lie loose."""
    (tmp_path / "empty").mkdir()
    assert problems(tmp_path / "empty") == ["DIR: no class folders in it"]
    write_tree(tmp_path / "flat", {f"cat.{k}.jpg": jpeg(k) for k in range(3)})
    assert problems(tmp_path / "flat") == [
        "DIR: no class folders in it (images that lie loose: 3); give every class a folder of its own"
    ]


def test_split_without_class_folders_and_splits_without_train(tmp_path: Path) -> None:
    """Each is said once."""
    write_classes(tmp_path / "a" / "train", TWO)
    (tmp_path / "a" / "test").mkdir()
    assert problems(tmp_path / "a") == ["DIR/test: no class folders in it"]
    write_classes(tmp_path / "b" / "test", TWO)
    assert problems(tmp_path / "b") == ["DIR: a test folder but no train folder"]


def test_classes_too_small_to_split_are_named(tmp_path: Path) -> None:
    """Two images do not make three splits, and neither do five that are the same."""
    write_classes(tmp_path, {"ants": 1, "cats": 9, "dogs": 2})
    write_tree(tmp_path, {f"owls/{k}.jpg": jpeg(999) for k in range(5)})
    assert problems(tmp_path) == [
        "DIR/ants: 1 image is too few to give at least one to each of train, validation, test"
    ] + [
        f"DIR/{name}: {n} images, identical ones kept together, are too few to give at least one to each of"
        " train, validation, test"
        for name, n in (("dogs", 2), ("owls", 5))
    ]


def test_all_unreadable_images_are_listed_together(three: Path) -> None:
    """With the reason of each."""
    write_tree(three, {"train/cats/a.jpg": b"", "test/dogs/b.png": b"<html>", "train/dogs/c.jpg": jpeg()[:-100]})
    assert problems(three) == [
        "DIR/train/cats/a.jpg: is empty (0 bytes)",
        problems(three)[1],
        "DIR/test/dogs/b.png: is not a JPEG, PNG, BMP, GIF, WebP or TIFF image (begins with b'<html>')",
        "data.on_bad_image: skip leaves images that cannot be read out",
    ]
    assert problems(three)[1].startswith("DIR/train/dogs/c.jpg: is truncated (")


def test_unreadable_images_can_be_skipped(three: Path) -> None:
    """They are listed in the manifest and said in a note."""
    write_tree(three, {"train/cats/a.jpg": b"", "train/notes.txt": b"x"})
    found = build(three, on_bad_image="skip")
    assert found.skipped == ((three / "train/cats/a.jpg", "is empty (0 bytes)"),)
    assert found.notes == ("unreadable images left out: 1",)
    assert found.left_out == {"not an image": 1}
    assert found.counts()["train"] == {"cats": 4, "dogs": 4}


def test_skipping_a_whole_class_is_an_error(tmp_path: Path) -> None:
    """Nothing of it is left."""
    write_classes(tmp_path, {"cats": 5, "dogs": 5})
    write_tree(tmp_path, {"owls/a.jpg": b"x"})
    assert problems(tmp_path, on_bad_image="skip") == ["DIR/owls: no readable image in this class"]


def test_max_pixels_holds_for_known_and_unknown_images(three: Path) -> None:
    """Also when an earlier look had another limit."""
    build(three)
    said = problems(three, max_pixels=100)
    assert len([line for line in said if "has 16 × 12 = 192 pixels, more than data.max_pixels = 100" in line]) == 18
    build(three)


def test_same_image_in_two_splits_is_an_error(three: Path) -> None:
    """Byte for byte, under any name; all pairs are listed."""
    write_tree(three, {"test/cats/copy.jpg": jpeg(0, 12, 16), "validation/dogs/z.jpg": jpeg(0, 12, 16)})
    write_tree(three, {"test/dogs/copy.jpg": jpeg(5, 12, 16)})
    assert problems(three) == [
        "DIR/train/cats/cats.0.jpg = DIR/validation/dogs/z.jpg = DIR/test/cats/copy.jpg:"
        " the same image in train and validation and test, under 2 labels: cats, dogs",
        "DIR/train/dogs/dogs.1.jpg = DIR/test/dogs/copy.jpg: the same image in train and test",
        "data.allow_leakage: true accepts images that lie in several splits;"
        " `cnncli data check DIR --fix-splits` moves them together",
    ]
    found = build(three, allow_leakage=True)
    assert found.notes == ("accepted by data.allow_leakage: images that lie in several splits, 2",)


def test_long_lists_of_pairs_are_cut_and_counted(tmp_path: Path) -> None:
    """Twenty are enough to see what happened."""
    write_classes(tmp_path / "train", {"cats": 30, "dogs": 30})
    write_classes(tmp_path / "test", {"cats": 30, "dogs": 30})
    said = problems(tmp_path)
    assert len(said) == 22
    assert said[20] == "… and 40 more images that lie in two splits, 60 in all"


def test_two_labels_for_one_image_are_noted(three: Path) -> None:
    """Within a split it is a contradiction, not a leak."""
    write_tree(three, {"train/dogs/same.jpg": jpeg(0, 12, 16)})
    (note,) = build(three).notes
    assert note == (
        f"images with two labels in one split: 1, e.g. {three}/train/cats/cats.0.jpg = {three}/train/dogs/same.jpg"
    )


def test_everything_is_told_at_once(three: Path) -> None:
    """Classes, unreadable images and leaks in one message."""
    write_classes(three / "test", {"birds": 1}, first_seed=900)
    write_tree(three, {"train/cats/a.jpg": b"", "test/cats/copy.jpg": jpeg(0, 12, 16)})
    assert [line.split(":")[0] for line in problems(three)] == [
        "DIR/test",
        "DIR/train/cats/a.jpg",
        "data.on_bad_image",
        "DIR/train/cats/cats.0.jpg = DIR/test/cats/copy.jpg",
        "data.allow_leakage",
    ]


def test_known_files_are_not_read_again(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is new or changed is; what is gone is forgotten; the outcome is the same."""
    write_tree(three, {"train/cats/bad.jpg": b"x"})
    time.sleep(0.06)
    first = build(three, on_bad_image="skip")
    read: list[str] = []
    verify = inventory.verify
    monkeypatch.setattr(inventory, "verify", lambda path, limit: (read.append(path.name), verify(path, limit))[1])
    assert build(three, on_bad_image="skip") == first
    assert read == []
    (three / "train/cats/bad.jpg").write_bytes(jpeg(77))
    write_tree(three, {"train/dogs/new.jpg": jpeg(78)})
    (three / "test/cats/cats.0.jpg").unlink()
    found = build(three)
    assert sorted(read) == ["bad.jpg", "new.jpg"]
    assert len(found.rows) == len(first.rows) + 1


def test_index_that_cannot_be_used_changes_nothing(three: Path, tmp_path: Path) -> None:
    """Neither a damaged nor an impossible file."""
    (tmp_path / "damaged").write_bytes(b"no database" * 100)
    for path in (tmp_path / "damaged", three):
        assert len(build_manifest(DataConfig(path=three), 0, path).rows) == 18


def test_progress_is_told(three: Path) -> None:
    """How many of how many, up to all."""
    told: list[tuple[int, int]] = []
    build_manifest(DataConfig(path=three), 0, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, 18) for k in range(1, 19)]


def test_relative_paths_become_absolute(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest is read from other folders too."""
    monkeypatch.chdir(three.parent)
    assert build(Path(three.name)).rows == build(three).rows


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_of_any_bytes_go_all_the_way(tmp_path: Path) -> None:
    """From the folder to the manifest, its file and back, and through the index."""
    name = os.fsdecode(b'\xff caf\xc3\xa9\r\n"')
    write_classes(tmp_path / "data", {name: 5, "dogs": 5})
    time.sleep(0.06)
    found = build(tmp_path / "data")
    assert build(tmp_path / "data").rows == found.rows
    assert found.classes == ("dogs", name)
    found.to_csv(tmp_path / "manifest.csv")
    assert Manifest.from_csv(tmp_path / "manifest.csv").rows == found.rows


def test_other_folder_gives_its_test_split(three: Path) -> None:
    """And is not asked about the others, which may be broken."""
    write_tree(three, {"train/cats/a.jpg": b""})
    found = manifest_of_folder(three, ("cats", "dogs"))
    assert {row.split for row in found.rows} == {"test"}
    assert len(found.rows) == 6
    assert found.classes == ("cats", "dogs")


def test_other_folder_of_class_folders_is_taken_whole(tmp_path: Path) -> None:
    """As test."""
    write_classes(tmp_path, TWO)
    found = manifest_of_folder(tmp_path, ("cats", "dogs"))
    assert found.counts() == {"test": TWO}


def test_other_folder_with_splits_but_no_test_is_an_error(three: Path) -> None:
    """Which of them is meant has to be said."""
    import shutil

    shutil.rmtree(three / "test")
    with pytest.raises(DataError) as error:
        manifest_of_folder(three, ("cats", "dogs"))
    assert str(error.value) == (
        f"{three}: no test folder; name one of its other splits: {three}/train, {three}/validation"
    )


def test_other_folders_classes_are_matched_by_name(tmp_path: Path) -> None:
    """Unknown and missing ones are named; missing ones can be allowed, unknown ones cannot."""
    write_classes(tmp_path, {"cats": 2, "owls": 2})
    (tmp_path / "dogs").mkdir()
    classes = ("birds", "cats", "dogs")
    unknown = f"{tmp_path}: unknown class owls; the run knows birds, cats, dogs"
    with pytest.raises(DataError) as error:
        manifest_of_folder(tmp_path, classes)
    assert error.value.problems == (
        unknown,
        *(
            f"{tmp_path}: no images of the class {name}, which the run knows; --allow-missing accepts this"
            for name in ("birds", "dogs")
        ),
    )
    with pytest.raises(DataError) as error:
        manifest_of_folder(tmp_path, classes, allow_missing=True)
    assert error.value.problems == (unknown,)
    (tmp_path / "owls").rename(tmp_path / "birds")
    found = manifest_of_folder(tmp_path, classes, allow_missing=True)
    assert found.classes == classes
    assert found.labels(found.rows).tolist() == [0, 0, 1, 1]


def test_other_folder_without_images_is_an_error(tmp_path: Path) -> None:
    """Even where missing classes are allowed."""
    with pytest.raises(DataError, match=r"no images of any class the run knows \(cats, dogs\)$"):
        manifest_of_folder(tmp_path, ("cats", "dogs"), allow_missing=True)


def test_other_folders_bad_images(tmp_path: Path) -> None:
    """An error that lists them, or skipped."""
    write_classes(tmp_path, TWO)
    write_tree(tmp_path, {"cats/a.jpg": b""})
    with pytest.raises(DataError, match=r"a\.jpg: is empty \(0 bytes\)$"):
        manifest_of_folder(tmp_path, ("cats", "dogs"))
    found = manifest_of_folder(tmp_path, ("cats", "dogs"), on_bad_image="skip")
    assert found.skipped == ((tmp_path / "cats/a.jpg", "is empty (0 bytes)"),)


def test_folder_facts(three: Path) -> None:
    """Counts, sizes, formats, modes, duplicates, what was left out, problems; as JSON too."""
    write_tree(
        three,
        {
            "train/cats/gray.png": encoded(drawn_image(30, 40).convert("L")),
            "train/cats/again.jpg": jpeg(0, 12, 16),
            "train/dogs/same.jpg": jpeg(0, 12, 16),
            "test/dogs/leak.jpg": jpeg(1, 12, 16),
            "test/dogs/bad.jpg": b"x",
            "test/Thumbs.db": b"x",
        },
    )
    found = scan_folder(three)
    assert (found.layout, found.classes, found.total) == ("splits", ("cats", "dogs"), 22)
    assert found.counts["train"] == {"cats": 6, "dogs": 5}
    assert vars(found.width) == {"min": 16, "median": 16, "max": 40}
    assert vars(found.height) == {"min": 12, "median": 12, "max": 30}
    assert (found.formats, found.modes) == ({"JPEG": 21, "PNG": 1}, {"RGB": 21, "L": 1})
    assert [path.name for path, _ in found.unreadable] == ["bad.jpg"]
    names = [[path.name for path in group] for group in found.duplicates_within]
    assert names == [["again.jpg", "cats.0.jpg", "same.jpg"]]
    assert [[path.name for path in group] for group in found.duplicates_across] == [["cats.1.jpg", "leak.jpg"]]
    assert [[path.name for path in group] for group in found.two_labels] == [["again.jpg", "same.jpg"]]
    assert found.left_out == {"system file such as Thumbs.db": 1}
    assert len(found.problems) == 2
    document = json.loads(json.dumps(found.to_dict()))
    assert document["fine"] is False
    assert document["counts"]["test"] == {"cats": 3, "dogs": 4}
    assert document["unreadable"][0]["reason"].startswith("is not a JPEG")


def test_folder_facts_of_class_folders(tmp_path: Path) -> None:
    """One column, no problems."""
    write_classes(tmp_path, {"cats": 12, "dogs": 12})
    found = scan_folder(tmp_path)
    assert (found.layout, found.counts) == ("classes", {"all": {"cats": 12, "dogs": 12}})
    assert found.problems == ()
    assert found.notes == ()


def test_odd_class_sizes_are_warned_of(tmp_path: Path) -> None:
    """Few images, many more than another class, another share than in train, swapped splits; none is an error."""
    write_classes(tmp_path / "train", {"cats": 30, "dogs": 9})
    write_classes(tmp_path / "test", {"cats": 12, "dogs": 48}, first_seed=500)
    found = scan_folder(tmp_path)
    assert found.problems == ()
    assert found.warnings == (
        "classes with fewer than 10 images to train on: 1 (dogs 9)",
        "train: cats has 30 images, dogs 9; data.class_weights: balanced evens this out in training",
        "test: dogs has 48 images, cats 12",
        "test: classes with another share of the images than in train: 2 (cats 20%, in train 77%; dogs 80%, in train"
        " 23%)",
        "test has 60 images and train only 39: are the two folders swapped?",
    )
    assert build(tmp_path).warnings[0] == "classes with fewer than 10 images to train on: 1 (dogs 8)"


def test_many_classes_of_odd_sizes_are_counted(tmp_path: Path) -> None:
    """A thousand lines would hide what else there is to know."""
    write_classes(tmp_path / "train", {f"c{k}": 2 + k % 3 for k in range(9)})
    assert scan_folder(tmp_path).warnings == (
        "classes with fewer than 10 images to train on: 9 (c0 2; c3 2; c6 2; c1 3; c4 3; …)",
    )


def test_a_class_that_is_called_otherwise_is_told_in_one_line(three: Path) -> None:
    """Case, spaces, signs, plural: what seems to be meant is said."""
    (three / "validation" / "cats").rename(three / "validation" / "Cats ")
    (three / "test" / "dogs").rename(three / "test" / "dog")
    assert problems(three) == [
        'DIR/validation: holds the class "Cats ", which train calls "cats"; give both folders one name',
        'DIR/test: holds the class "dog", which train calls "dogs"; give both folders one name',
    ]


def test_splits_without_a_common_class_are_one_line(three: Path) -> None:
    """However many classes there are."""
    for k, label in enumerate(("cats", "dogs")):
        (three / "test" / label).rename(three / "test" / f"{k}")
    assert problems(three) == ["DIR/test: has no class of train, cats, dogs, but 0, 1"]


def test_classes_that_sound_alike_are_warned_of(tmp_path: Path) -> None:
    """Once, whatever the number of splits; signs before a number tell classes apart."""
    for k, split in enumerate(("train", "validation", "test")):
        write_classes(tmp_path / split, {"Cats": 12, "cats": 12, "1": 12, "-1": 12}, first_seed=100 * k)
    sound = f'{tmp_path}: the classes "Cats" and "cats" sound alike; are they one class?'
    assert build(tmp_path).warnings == (sound,)
    assert scan_folder(tmp_path).warnings == (sound,)


def test_facts_of_an_empty_folder(tmp_path: Path) -> None:
    """Zeros and a problem, no division by them."""
    found = scan_folder(tmp_path)
    assert found.total == 0
    assert vars(found.width) == {"min": 0, "median": 0, "max": 0}
    assert found.problems == (f"{tmp_path}: no class folders in it",)


@pytest.mark.shared
def test_real_photographs_are_indexed_and_found_again(shared: Path, tmp_path: Path) -> None:
    """4,000 JPEGs: nothing wrong with them, and the second look reads none."""
    data = DataConfig(path=shared / "data" / "dogs-vs-cats")
    index = tmp_path / "index.sqlite"
    first = build_manifest(data, 0, index)
    assert {split: sum(of.values()) for split, of in first.counts().items()} == {
        "train": 2000,
        "validation": 1000,
        "test": 1000,
    }
    told: list[tuple[int, int]] = []
    assert build_manifest(data, 0, index, progress=lambda *numbers: told.append(numbers)) == first
    assert told == []
