"""Shards as a label source: labels, splits, names of classes, and all problems at once."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import build_manifest, report_on_data
from cnncli.dataset.fix_splits import plan_moves
from cnncli.dataset.labels.shards import read_shards
from cnncli.dataset.manifest import Manifest
from cnncli.errors import DataError
from tests.images.making import jpeg
from tests.shards.writing import (
    CLASSES,
    Sample,
    pack,
    samples,
    write_folders,
    write_parquet,
    write_tar,
    write_webdataset,
)

CHOSEN = samples(60)


def manifest_of(path: Path, **settings: Any) -> Manifest:
    """Return the manifest of a dataset."""
    return build_manifest(DataConfig(path=path, **settings), seed=3)


def drawn(manifest: Manifest) -> set[tuple[str, tuple[str, ...], str, int, int, int]]:
    """Return everything in a manifest except the places of the images."""
    facts = ((row, row.facts) for row in manifest.rows)
    return {(row.digest, row.labels, row.split, one.size_bytes, one.width, one.height) for row, one in facts}


def indexed_with(name: str, content: str) -> Callable[[Path], object]:
    """Return a writer of a shard with indexes as labels, and of a file that names them."""

    def write(root: Path) -> None:
        write_webdataset(root / "pets-000000.tar", CHOSEN, label="index")
        (root / name).write_text(content)

    return write


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "one tar": lambda root: write_webdataset(root / "pets.tar", CHOSEN),
    "several tars": lambda root: [write_webdataset(root / f"{k}.tar", CHOSEN[k::7]) for k in range(7)],
    "json": lambda root: write_webdataset(root / "pets.tar", CHOSEN, label="json"),
    "indexes and lines": indexed_with("classes.txt", "cats\ndogs\n"),
    "indexes and a list": indexed_with("classes.json", '["cats", "dogs"]'),
    "indexes and a mapping": indexed_with("classes.json", '{"dogs": 1, "cats": 0}'),
    "folders": lambda root: write_tar(root / "pets.tar", [(f"./{name}.jpg", one) for name, _, one in CHOSEN]),
    "parquet": lambda root: write_parquet(root / "data" / "0.parquet", CHOSEN),
    "mixed": lambda root: (write_parquet(root / "0.parquet", CHOSEN[:9]), write_webdataset(root / "1.tar", CHOSEN[9:])),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shard_gives_the_manifest_of_the_folder(tmp_path: Path, layout: str) -> None:
    """Digests, labels, sizes and drawn splits are those of the same images in class folders."""
    LAYOUTS[layout](tmp_path / "shards")
    found = manifest_of(tmp_path / "shards")

    assert drawn(found) == drawn(manifest_of(write_folders(tmp_path / "folders", CHOSEN)))
    assert found.classes == CLASSES


def placed(folders: tuple[str, ...]) -> list[Sample]:
    """Return 12 images in each folder."""
    return [(f"{folder}/{k:05}", "", jpeg(100 * n + k, 12, 16)) for n, folder in enumerate(folders) for k in range(12)]


TREES = {
    "class folders": CLASSES,
    "nested class folders": ("cats/indoor", "cats/outdoor", "dogs/small"),
    "split folders": tuple(f"{split}/{label}" for split in ("train", "val", "Testing") for label in CLASSES),
    "nested classes in split folders": ("train/cats/a", "train/dogs", "valid/cats", "valid/dogs/b/c"),
    "folders next to split folders": ("train/cats", "train/dogs", "extra/cats"),
    "a class named like a split": ("train", "bus"),
}


@pytest.mark.parametrize("wrapping", ["", "photos", "data/photos"])
@pytest.mark.parametrize("tree", TREES)
def test_a_packed_folder_gives_the_manifest_of_the_folder(tmp_path: Path, tree: str, wrapping: str) -> None:
    """Classes and splits are those of the class folders and split folders, also below one folder in the tar."""
    folder = write_folders(tmp_path / "photos", placed(TREES[tree]))
    packed = pack(folder, tmp_path / "shards" / "pets.tar", wrapping or ".")
    found, expected = manifest_of(packed), manifest_of(folder)

    assert drawn(found) == drawn(expected)
    assert found.classes == expected.classes


def test_packed_split_folders_can_be_several_shards(tmp_path: Path) -> None:
    """Each shard can have one split folder, or one class, of the dataset."""
    folder = write_folders(tmp_path / "photos", placed(TREES["split folders"]))
    for name in ("train", "val", "Testing"):
        pack(folder / name, tmp_path / "named" / f"{name}.tar", name)
        pack(folder / name, tmp_path / "numbered" / f"{len(name)}.tar", f"all/{name}")
        for label in CLASSES:
            pack(folder / name / label, tmp_path / "classes" / f"{name}-{label}.tar", f"of-{name}/{label}")

    for path in ("named", "numbered", "classes"):
        assert drawn(manifest_of(tmp_path / path)) == drawn(manifest_of(folder))


@pytest.mark.parametrize("wrapping", ["", "photos/", "data/photos/"])
def test_split_folders_also_divide_images_with_stated_labels(tmp_path: Path, wrapping: str) -> None:
    """Images of the test split in a tar do not become training images because their labels are in `.cls` files."""
    folder = write_folders(tmp_path / "photos", placed(TREES["split folders"]))
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.jpg"))}
    samples = [(f"{wrapping}{name}", path.parent.name, path.read_bytes()) for name, path in files.items()]
    write_webdataset(tmp_path / "0.tar", samples)

    assert drawn(manifest_of(tmp_path / "0.tar")) == drawn(manifest_of(folder))


def test_a_split_folder_in_a_shard_of_another_split_is_an_error(tmp_path: Path) -> None:
    """The name of a shard and the split folders in it cannot contradict each other."""
    folder = write_folders(tmp_path / "photos", placed(TREES["split folders"]))

    with pytest.raises(DataError) as error:
        manifest_of(pack(folder, tmp_path / "train-0.tar"))
    assert "data-shard-split-contradiction" in {one.code for one in error.value.problems}


def test_images_above_and_below_class_folders_are_an_error(tmp_path: Path) -> None:
    """If the only folder has images and folders, the classes can be either."""
    packed = pack(write_folders(tmp_path / "photos", placed((".", *CLASSES))), tmp_path / "pets.tar", "photos")

    with pytest.raises(DataError) as error:
        manifest_of(packed)
    assert "data-shard-folders-ambiguous" in {one.code for one in error.value.problems}


def test_a_numbered_shard_can_have_a_folder_of_its_name(tmp_path: Path) -> None:
    """Folders such as `part-0` in `part-0.tar` are not classes, also if each shard has one class."""
    for n, label in enumerate(CLASSES):
        chosen = [(name, content) for name, one, content in CHOSEN if one == label]
        write_tar(tmp_path / f"part-{n}.tar", [(f"part-{n}/{name}.jpg", content) for name, content in chosen])

    assert drawn(manifest_of(tmp_path)) == drawn(manifest_of(write_folders(tmp_path / "folders", CHOSEN)))


def test_another_folder_around_the_folders_of_each_shard_is_an_error(tmp_path: Path) -> None:
    """`a/cats` in a shard and `b/dogs` in another one can be the classes a and b, or cats and dogs."""
    for n, around in enumerate("ab"):
        write_tar(tmp_path / f"{n}.tar", [(f"{around}/{name}.jpg", content) for name, _, content in CHOSEN[n::2]])

    with pytest.raises(DataError) as error:
        manifest_of(tmp_path)
    assert "data-shards-other-folders" in {one.code for one in error.value.problems}


def test_a_hidden_folder_around_all_images_is_no_reason_to_leave_them_out(tmp_path: Path) -> None:
    """As on a disk, where the folder of the data can be below a hidden one."""
    packed = write_tar(tmp_path / "0.tar", [(f"home/.cache/{name}.jpg", content) for name, _, content in CHOSEN])

    assert drawn(manifest_of(packed)) == drawn(manifest_of(write_folders(tmp_path / "folders", CHOSEN)))


def test_shards_without_images_are_an_error(tmp_path: Path) -> None:
    """A shard whose files all have other names is not a dataset without problems."""
    with pytest.raises(DataError) as error:
        manifest_of(write_tar(tmp_path / "0.tar", [("cats/readme.txt", b"a"), ("dogs/1.dat", b"b")]))
    assert "data-shards-without-images" in {one.code for one in error.value.problems}


@pytest.mark.parametrize("has_labels", [False, True])
def test_hidden_and_system_files_in_a_tar_are_left_out(tmp_path: Path, has_labels: bool) -> None:
    """What macOS and Windows add to an archive is not an image, as in folders."""
    hidden = ("cats/._0.jpg", "._cats/0.jpg", ".cache/0.jpg", "__MACOSX/cats/._1.jpg", "@eaDir/0.jpg", "cats/Thumbs.db")
    members = [(name, b"no image") for name in hidden]
    members += [(f"{name}.jpg", content) for name, _, content in CHOSEN]
    members += [(f"{name}.cls", label.encode()) for name, label, _ in CHOSEN if has_labels]
    found = manifest_of(write_tar(tmp_path / "a.tar", members))

    assert drawn(found) == drawn(manifest_of(write_folders(tmp_path / "folders", CHOSEN)))
    report, _ = report_on_data(DataConfig(path=tmp_path / "a.tar"))
    assert sum(report["left_out"].values()) == len(hidden)


def test_splits_are_those_of_the_names(tmp_path: Path) -> None:
    """The names of shards state their splits, as split folders do, and nothing is drawn."""
    parts = {"train": CHOSEN[:30], "val": CHOSEN[30:45], "test": CHOSEN[45:]}
    parts["train"], parts["val"], parts["test"] = CHOSEN[::2], CHOSEN[1::4], CHOSEN[3::4]
    for name, part in parts.items():
        write_webdataset(tmp_path / "shards" / f"pets-{name}-000000.tar", part)
        write_folders(tmp_path / "folders" / name, part)

    assert drawn(manifest_of(tmp_path / "shards")) == drawn(manifest_of(tmp_path / "folders"))
    train = manifest_of(tmp_path / "shards" / "pets-{train,val}-000000.tar")
    assert set(train.counts()) == {"train", "validation"}


def test_labels_of_several_classes_are_divided(tmp_path: Path) -> None:
    """With `data.labels.separator`, a label in a shard stands for several."""
    members = [(f"{k}.{end}", one) for k in range(40) for end, one in (("jpg", jpeg(k)), ("cls", b"red_dress"))]
    members[1] = ("0.cls", b"blue_shirt")
    write_tar(tmp_path / "a.tar", members)

    found = read_shards(DataConfig(path=tmp_path))
    assert found.labels == ("blue_shirt", "red_dress")
    report, _ = report_on_data(DataConfig(path=tmp_path, labels={"separator": "_"}))  # type: ignore[arg-type]
    assert report["classes"] == ["blue", "dress", "red", "shirt"]


def test_a_manifest_of_shards_is_read_again(tmp_path: Path) -> None:
    """The rows that a run stores are those of its manifest, whatever characters a name has."""
    members = [(f"{label}/{k},\n\u00e9'\".jpg", jpeg(50 * n + k)) for n, label in enumerate(CLASSES) for k in range(9)]
    found = manifest_of(write_tar(tmp_path / "a.tar", members))
    (tmp_path / "manifest.csv").write_text(found.csv_text(), newline="")

    assert Manifest.from_csv(tmp_path / "manifest.csv").rows == found.rows


def test_all_problems_of_all_shards_are_reported_together(tmp_path: Path) -> None:
    """Links, names, labels, damage, unnamed splits and unreadable images of several shards are one list of errors."""
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    good = [(f"{k}.{end}", one) for k in range(8) for end, one in (("jpg", jpeg(k)), ("cls", b"%d" % (k % 2)))]
    write_tar(tmp_path / "train-0.tar", [*good, link, ("../up.jpg", b""), ("7.jpg", b"twice")])
    write_tar(
        tmp_path / "train-1.tar", [("a.jpg", jpeg(20)), ("b.jpg", b"no image"), ("b.cls", b"9"), ("c.json", b"{")]
    )
    write_tar(tmp_path / "train-2.tar", good, mode="w:gz").rename(tmp_path / "train-2.tar.gz")
    cut = write_tar(tmp_path / "train-3.tar", good)
    cut.write_bytes(cut.read_bytes()[:5000])
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    (tmp_path / "classes.txt").write_text("cats\ndogs\n")

    with pytest.raises(DataError) as error:
        manifest_of(tmp_path)

    found = {(one.code, str(one.facts.get("path", "")).removeprefix(f"{tmp_path}/")) for one in error.value.problems}
    assert found >= {
        ("data-shard-refused", "train-0.tar/link.jpg"),
        ("data-shard-refused", "train-0.tar/../up.jpg"),
        ("data-shard-refused", "train-0.tar/7.jpg"),
        ("data-shard-refused", "train-1.tar/c.json"),
        ("data-shard-refused", "train-2.tar.gz"),
        ("data-shard-refused", "train-3.tar"),
        ("data-shard-refused", "other.parquet"),
        ("data-shard-without-labels", "train-1.tar"),
        ("data-shard-unknown-class", "train-1.tar"),
        ("data-shards-without-split", str(tmp_path)),
        ("image-unknown-format", "train-1.tar/b.jpg"),
    }
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []  # nothing was unpacked


@pytest.mark.parametrize(("name", "content"), [("classes.json", r'["cats", "\ud800"]'), ("classes.txt", "cats\nd\0gs")])
def test_names_of_classes_are_text(tmp_path: Path, name: str, content: str) -> None:
    """A name that no manifest can hold is a problem of the file next to the shards."""
    indexed_with(name, content)(tmp_path)

    assert {issue.code for issue in read_shards(DataConfig(path=tmp_path)).issues} == {"data-shard-refused"}


def test_many_problems_of_a_shard_are_counted(tmp_path: Path) -> None:
    """Of thousands of files that are refused, the first are listed and the others counted."""
    names = [(f"../{k}.jpg", b"") for k in range(500)]
    found = read_shards(DataConfig(path=write_tar(tmp_path / "a.tar", names)))

    assert 2 < len(found.issues) < 30
    assert any("480" in str(issue.facts["reason"]) for issue in found.issues)


def test_shards_that_do_not_exist_are_an_error(tmp_path: Path) -> None:
    """A pattern without a match, or with absurd numbers, is a mistake of the user."""
    for pattern in ("train-{000..003}.tar", "*.tar", "{0..999999999}.tar"):
        with pytest.raises(DataError) as error:
            read_shards(DataConfig(path=tmp_path / pattern))
        assert error.value.code == "data-shards-missing"


@pytest.mark.parametrize("path", ["pets-{000000..000002}.tar", "pets-*.parquet", "."])
def test_a_missing_shard_is_an_error(tmp_path: Path, path: str) -> None:
    """Shards of which a range or the name of another one tells are not left out in silence."""
    write_webdataset(tmp_path / "pets-000000.tar", CHOSEN)
    write_parquet(tmp_path / "pets-00000-of-00002.parquet", CHOSEN)

    with pytest.raises(DataError) as error:
        read_shards(DataConfig(path=tmp_path / path))
    assert error.value.code == "data-shards-missing"


def test_images_in_shards_are_not_moved(tmp_path: Path) -> None:
    """`data check --fix-splits` moves files, and refuses shards."""
    write_webdataset(tmp_path / "train-0.tar", CHOSEN[:10])
    write_webdataset(tmp_path / "test-0.tar", CHOSEN[:10])

    with pytest.raises(DataError) as error:
        plan_moves(tmp_path)
    assert error.value.code == "data-fix-no-splits"
    _, issues = report_on_data(DataConfig(path=tmp_path))
    assert "--fix-splits" not in str(next(one.message for one in issues if one.code == "data-leaks"))
