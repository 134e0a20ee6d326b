"""Preparing Dogs vs. Cats from every published form."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cnncli.dataset.known import images as known_images
from cnncli.dataset.known.dogs_vs_cats import label_files
from cnncli.errors import DataError, Message
from cnncli.recipes.data_prepare import prepare_dogs_vs_cats
from cnncli.terminal.console import Console
from tests.images.making import drawn_image, encoded, jpeg, write_tree

SIZES = {"train": 8, "validation": 4, "test": 4}
FLAT = {f"{name}.{k}.jpg": jpeg(100 * (name == "dog") + k, 12, 16) for name in ("cat", "dog") for k in range(10)}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of the given files as bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def below(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with their names moved into a folder."""
    return {f"{folder}/{name}": data for name, data in files.items()}


def microsoft() -> dict[str, bytes]:
    """Return the files of Microsoft's download, including broken images and other files."""
    files = {
        f"PetImages/{label}/{k}.jpg": jpeg(n + k, 12, 16) for label, n in (("Cat", 0), ("Dog", 100)) for k in range(10)
    }
    broken = {"PetImages/Cat/666.jpg": b"", "PetImages/Dog/11702.jpg": jpeg(7)[:-200]}
    return {**files, **broken, "PetImages/Cat/Thumbs.db": b"x", "readme.txt": b"x", "PetImages/Dog/5.txt": b"x"}


def prepare(source: Path, out: Path, sizes: Mapping[str, int] = SIZES, seed: int = 0) -> Path:
    """Prepare a download without printing anything, and return the new folder."""
    prepare_dogs_vs_cats(source, out, sizes, seed, Console(quiet=True, live=False, stream=io.StringIO()))
    return out


def broken(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the path and the code of each image that was reported as unreadable."""
    messages = [record.msg for record in caplog.records if record.levelname == "WARNING"]
    return [(one.facts["path"], one.facts["reason"].code) for one in messages if one.code == "data-prepare-left-out"]


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counts(folder: Path) -> dict[str, int]:
    """Return the number of files in each folder that contains files."""
    found: dict[str, int] = {}
    for name in tree(folder):
        found[name.rpartition("/")[0]] = found.get(name.rpartition("/")[0], 0) + 1
    return found


ARRANGED = {
    f"{split}/{label}": n for split, n in (("train", 4), ("validation", 2), ("test", 2)) for label in ("cats", "dogs")
}

FORMS: dict[str, Callable[[], bytes | dict[str, bytes]]] = {
    "Kaggle's folder": lambda: FLAT,
    "Kaggle's folder with train and test1 in it": lambda: {**below("train", FLAT), "test1/1.jpg": jpeg(900)},
    "Kaggle's train.zip": lambda: zipped(below("train", FLAT)),
    "Kaggle's zip around train.zip and test1.zip": lambda: zipped(
        {
            "train.zip": zipped(below("train", FLAT)),
            "test1.zip": zipped({"test1/cat.1.jpg": jpeg(900)}),
            "sampleSubmission.csv": b"id,label",
        }
    ),
    "Microsoft's folder": microsoft,
    "Microsoft's zip": lambda: zipped(microsoft()),
    "a zip made on Windows": lambda: zipped({name.replace("/", "\\"): data for name, data in microsoft().items()}),
    "a zip made on macOS": lambda: zipped({**below("x", FLAT), "__MACOSX/x/cat.1.jpg": b"x", "x/._cat.1.jpg": b"x"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_prepared(tmp_path: Path, form: str) -> None:
    """Every form is prepared with balanced splits, without copies, and with unchanged files named as by Kaggle."""
    content = FORMS[form]()
    source = tmp_path / "source"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        write_tree(source, content)
    found = prepare(source, tmp_path / "out")
    assert counts(found) == ARRANGED
    files = tree(found)
    assert len(set(files.values())) == 16
    for name, data in files.items():
        _, label, file = name.split("/")
        assert file.startswith(label[:-1] + ".")
        assert data == FLAT[file] if "Kaggle" in form else data in FLAT.values()
        assert (label == "dogs") == (data in [FLAT[f"dog.{k}.jpg"] for k in range(10)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_broken_files_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Broken files are reported and left out, but not deleted from the source."""
    source = write_tree(tmp_path / "source", microsoft())
    prepare(source, tmp_path / "out")
    assert broken(caplog) == [("PetImages/Cat/666.jpg", "image-empty"), ("PetImages/Dog/11702.jpg", "image-truncated")]
    assert (source / "PetImages/Cat/666.jpg").exists()


def test_the_selection_depends_on_the_seed_and_not_on_the_form(tmp_path: Path) -> None:
    """The selected images depend on the contents of the files and the seed, but not on the form of the download."""
    (tmp_path / "a.zip").write_bytes(zipped(below("train", FLAT)))
    write_tree(tmp_path / "b", microsoft())
    chosen = [
        {
            name.rpartition("/")[0] + str(hash(data))
            for name, data in tree(prepare(source, tmp_path / out, seed=seed)).items()
        }
        for source, out, seed in [
            (tmp_path / "a.zip", "out1", 0),
            (tmp_path / "b", "out2", 0),
            (tmp_path / "a.zip", "out3", 1),
        ]
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_source_with_splits_keeps_them(tmp_path: Path) -> None:
    """A source with splits keeps them, with `val` renamed to validation, and may be reduced to fewer images."""
    source = {
        f"{split}/{label}/{label[:-1]}.{k}.jpg": jpeg(1000 * s + 100 * c + k, 12, 16)
        for s, split in enumerate(("train", "val", "test"))
        for c, label in enumerate(("cats", "dogs"))
        for k in range(4)
    }
    write_tree(tmp_path / "source", source)
    whole = prepare(tmp_path / "source", tmp_path / "whole", {"train": 8, "validation": 8, "test": 8})
    assert tree(whole) == {name.replace("val/", "validation/"): data for name, data in source.items()}
    part = prepare(tmp_path / "source", tmp_path / "part")
    assert counts(part) == ARRANGED
    assert set(tree(part)) < set(tree(whole))


def test_copies_are_used_once(tmp_path: Path) -> None:
    """Identical images are used only once, so that no image is in two splits."""
    copies = {f"cat.{k}.jpg": FLAT["cat.0.jpg"] for k in range(100, 130)}
    write_tree(tmp_path / "source", {**FLAT, **copies})
    assert len(set(tree(prepare(tmp_path / "source", tmp_path / "out")).values())) == 16


def test_two_files_with_the_same_name_are_both_kept(tmp_path: Path) -> None:
    """Of two files with the same name, the second is numbered instead of overwriting the first."""
    parts = {
        f"{part}/{name}": jpeg(10 * k + 500 * (part == "b"), 12, 16) for part in "ab" for k, name in enumerate(FLAT)
    }
    write_tree(tmp_path / "source", parts)
    found = prepare(tmp_path / "source", tmp_path / "out", {"train": 40, "validation": 0, "test": 0})
    names = sorted(tree(found))
    assert len(names) == 40
    assert names[:2] == ["train/cats/cat.0-2.jpg", "train/cats/cat.0.jpg"]


def test_split_of_size_zero_is_not_created(tmp_path: Path) -> None:
    """No folder is created for a split of size zero, because training would refuse an empty split."""
    write_tree(tmp_path / "source", FLAT)
    found = prepare(tmp_path / "source", tmp_path / "out", {"train": 10, "validation": 4, "test": 0})
    assert sorted(path.name for path in found.iterdir()) == ["train", "validation"]


def errors(source: Path, out: Path, sizes: Mapping[str, int] = SIZES) -> list[Message]:
    """Return the problems of a refused preparation, and check that it leaves no new files behind."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(DataError) as error:
        prepare(source, out, sizes)
    assert sorted(out.parent.rglob("*")) == before
    return list(error.value.problems)


def test_too_few_images_are_counted(tmp_path: Path) -> None:
    """Too few readable images are reported once per class, or per class and split if the source has splits."""
    write_tree(tmp_path / "flat", {**FLAT, "cat.99.jpg": b"x"})
    sizes = {"train": 20, "validation": 4, "test": 2}
    found = errors(tmp_path / "flat", tmp_path / "out", sizes)
    facts = [(one.code, one.facts["label"], one.facts["expected"], one.facts["received"]) for one in found]
    assert facts == [("data-prepare-too-few", label, 13, 10) for label in ("cats", "dogs")]
    write_tree(tmp_path / "arranged" / "train", below("cats", FLAT))
    found = errors(tmp_path / "arranged", tmp_path / "out")
    assert ("cats", 2, 0) in [(one.facts["label"], one.facts["expected"], one.facts["received"]) for one in found]


def test_odd_sizes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    """All odd sizes are reported before the source is read."""
    found = errors(tmp_path / "none", tmp_path / "out", {"train": 3, "validation": 5, "test": 2})
    facts = [(one.code, one.facts["key"]) for one in found]
    assert facts == [("data-prepare-odd-size", "--train"), ("data-prepare-odd-size", "--validation")]


def test_a_target_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """A target that is a file or a folder with contents is refused; an empty folder is accepted."""
    write_tree(tmp_path, {"out/x": b"x", "file": b"x", **below("source", FLAT)})
    for name in ("out", "file"):
        (problem,) = errors(tmp_path / "source", tmp_path / name)
        assert problem.code == "data-prepare-not-empty"
    (tmp_path / "empty").mkdir()
    assert counts(prepare(tmp_path / "source", tmp_path / "empty")) == ARRANGED


def test_invalid_sources_are_refused(tmp_path: Path) -> None:
    """A missing source, a damaged zip archive and a source without images are refused with different codes."""
    write_tree(tmp_path, {"other/a.jpg": jpeg(), "text.zip": b"no zip", "cut.zip": zipped(FLAT)[:-50]})
    (tmp_path / "inner.zip").write_bytes(zipped({"train.zip": zipped(FLAT)[:-50]}))
    (tmp_path / "foreign.zip").write_bytes(zipped({"a.txt": b"x"}))
    expected = {
        "none.zip": "data-path-missing",
        "text.zip": "data-prepare-not-an-archive",
        "cut.zip": "data-prepare-not-an-archive",
        "inner.zip": "data-prepare-not-an-archive",
        "other": "data-prepare-nothing-found",
        "foreign.zip": "data-prepare-nothing-found",
    }
    assert {name: errors(tmp_path / name, tmp_path / "out")[0].code for name in expected} == expected


def test_hostile_names_in_a_zip_stay_inside(tmp_path: Path) -> None:
    """Zip entries with hostile names, such as `../../cat.0.jpg`, are written only inside the target folder."""
    names = [f"../../cat.{k}.jpg" for k in range(5)] + [f"/etc/cat.{k}.jpg" for k in range(5, 10)]
    files = {name: FLAT[f"cat.{k}.jpg"] for k, name in enumerate(names)}
    files |= {f"C:\\..\\..\\Dog\\{k}.jpg": FLAT[f"dog.{k}.jpg"] for k in range(10)}
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "x.zip").write_bytes(zipped(files))
    prepare(deep / "x.zip", deep / "out")
    assert {name for name in tree(tmp_path) if not name.startswith("a/b/c/out/")} == {"a/b/c/x.zip"}
    assert counts(deep / "out") == ARRANGED


def test_damaged_encrypted_and_oversized_entries_are_broken_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged, encrypted and oversized zip entries are reported as broken images, and the others are used."""
    data = bytearray(zipped({"cat.50.jpg": encoded(drawn_image(60, 80)), **FLAT}))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        first, second = archive.infolist()[:2]
        largest = max(entry.file_size for entry in archive.infolist()[1:])
    start = first.header_offset + 30 + len(first.filename)
    data[start + 40 : start + 60] = bytes(20)
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[second.header_offset + 6] |= 1
    data[central + 8] |= 1
    (tmp_path / "x.zip").write_bytes(bytes(data))
    prepare(tmp_path / "x.zip", tmp_path / "out")
    assert broken(caplog) == [("cat.0.jpg", "image-damaged"), ("cat.50.jpg", "image-damaged")]
    caplog.clear()
    (tmp_path / "y.zip").write_bytes(zipped({"cat.50.jpg": encoded(drawn_image(60, 80)), **FLAT}))
    monkeypatch.setattr(known_images, "LARGEST_FILE", largest)
    prepare(tmp_path / "y.zip", tmp_path / "out2")
    assert broken(caplog) == [("cat.50.jpg", "image-damaged")]


def test_an_interruption_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted preparation leaves no files behind; the target folder is created by a single rename."""
    write_tree(tmp_path / "source", FLAT)
    write = Path.write_bytes
    written: list[Path] = []

    def interrupt(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 9:
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "source", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert not any(path.is_relative_to(tmp_path / "out") for path in written)


def test_labels_come_from_names_and_folders() -> None:
    """Labels and splits are derived from the names of files and folders; other files are ignored."""
    names = [
        "cat.1.jpg",
        "CAT.2.JPG",
        "a/dogs/x.png",
        "Dog/7.jpg",
        "dogs.1.jpg",
        "cat.jpg",
        "test1/3.jpg",
        "cats/a.txt",
    ]
    found = {one.source: (one.label, one.split, one.name) for one in label_files(names)}
    assert found == {
        "cat.1.jpg": ("cats", None, "cat.1.jpg"),
        "CAT.2.JPG": ("cats", None, "CAT.2.JPG"),
        "a/dogs/x.png": ("dogs", None, "dog.x.png"),
        "Dog/7.jpg": ("dogs", None, "dog.7.jpg"),
    }
    (arranged,) = label_files(["x/valid/dogs/dog.3.jpg"])
    assert (arranged.label, arranged.split) == ("dogs", "validation")


@pytest.mark.slow
@pytest.mark.shared
def test_course_folder_is_reproduced(shared: Path, tmp_path: Path) -> None:
    """With the default sizes, preparing the course folder reproduces all its 4,000 photographs and their paths."""
    source = shared / "data" / "dogs-vs-cats"
    found = prepare(source, tmp_path / "out", {"train": 2000, "validation": 1000, "test": 1000})
    assert tree(found) == tree(source)
