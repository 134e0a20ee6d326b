"""Groups of images, such as those of a patient, never straddle splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping
from cnncli.dataset.build import build_manifest
from cnncli.dataset.labels.source import read_labels
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.split import draw_splits
from cnncli.errors import ConfigError, DataError
from tests.dataset.labels.test_table import write_table
from tests.images.making import jpeg, write_tree

FRACTIONS = {"validation": 0.2, "test": 0.2}


def settings(root: Path, groups: dict[str, Any] | None, **data: Any) -> DataConfig:
    """Return settings of data with groups."""
    return config_from_mapping({"data": {"path": root, "groups": groups, **data}}, environment={}).data


def groups_of(root: Path, groups: dict[str, Any]) -> dict[str, str]:
    """Return the group of each image by its path below the folder."""
    found = read_labels(settings(root, groups))
    return {one.path.relative_to(root).as_posix(): one.group for one in found.records}


def splits_of(manifest: Manifest, data: DataConfig) -> dict[str, set[str]]:
    """Return the splits of each group of a manifest."""
    groups = {one.file: one.group for one in read_labels(data).records}
    splits: dict[str, set[str]] = defaultdict(set)
    for row in manifest.rows:
        splits[groups[row.file]].add(row.split)
    return splits


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Return class folders with images of ten patients, five of them in both classes."""
    files = {
        f"{label}/p{patient}/p{patient}_{number}.jpg": jpeg(1000 * patient + 100 * (label == "sick") + number)
        for label in ("well", "sick")
        for patient in range(10)
        for number in range(1 + patient % 3)
        if patient < 5 or (patient % 2 == 0) == (label == "sick")
    }
    return write_tree(tmp_path / "data", files)


def test_a_group_is_a_folder_or_part_of_the_path(tmp_path: Path) -> None:
    """Folders count from the image upwards; the first group of an expression that matches names the group."""
    write_tree(tmp_path, {"a/video7/scene1/x-p3-1.jpg": jpeg(1), "b/video8/scene1/y-q4.jpg": jpeg(2)})
    x, y = "a/video7/scene1/x-p3-1.jpg", "b/video8/scene1/y-q4.jpg"
    assert groups_of(tmp_path, {"folder": 1}) == {x: "scene1", y: "scene1"}
    assert groups_of(tmp_path, {"folder": 2}) == {x: "video7", y: "video8"}
    assert groups_of(tmp_path, {"regex": "video[0-9]"}) == {x: "video7", y: "video8"}
    assert groups_of(tmp_path, {"regex": "-p([0-9])|-q([0-9])"}) == {x: "3", y: "4"}


@pytest.mark.parametrize("groups", [{"folder": 1}, {"regex": "(p[0-9]+)_"}], ids=["folder", "regex"])
def test_no_group_is_in_two_splits(patients: Path, groups: dict[str, Any]) -> None:
    """Every split has images of every class all the same."""
    data = settings(patients, groups)
    manifest = build_manifest(data, 0)
    assert {len(splits) for splits in splits_of(manifest, data).values()} == {1}
    assert all(n for counts in manifest.counts().values() for n in counts.values())
    assert list(manifest.counts()) == ["train", "validation", "test"]


def test_groups_come_from_a_column(patients: Path) -> None:
    """The images of a group can be in any folder."""
    files = sorted(patients.rglob("*.jpg"))
    rows = [(file.name, file.parent.parent.name, f"clinic {int(file.parent.name[1:]) % 5}") for file in files]
    names = Counter(name for name, *_ in rows)
    rows = [(str(file), *row[1:]) if names[row[0]] > 1 else row for file, row in zip(files, rows, strict=True)]
    table = write_table(patients / "labels.csv", [("image", "label", "clinic"), *rows])
    data = settings(patients, {"column": "clinic"}, labels=table)
    assert {len(splits) for splits in splits_of(build_manifest(data, 1), data).values()} == {1}
    assert len(splits_of(build_manifest(data, 1), data)) == 5


def test_a_given_split_that_divides_a_group_is_an_error(tmp_path: Path) -> None:
    """The error names every such group with its splits."""
    write_tree(
        tmp_path,
        {
            f"{folder}-{n}.jpg": jpeg(n)
            for n, folder in enumerate(["train/a/p1", "train/b/p2", "test/a/p1", "test/b/p3", "train/a/p3"])
        },
    )
    with pytest.raises(DataError) as error:
        build_manifest(settings(tmp_path, {"regex": "p[0-9]"}), 0)
    (divided,) = [one for one in error.value.problems if one.code == "data-group-divided"]
    assert divided.facts["groups"] == {"p1": "train and test", "p3": "train and test"}


def test_a_split_for_which_no_group_remains_is_a_warning(tmp_path: Path) -> None:
    """Of four groups with two labels each, none is left for the test, for which single images are enough."""
    names = [f"{shade}_{kind}/{n}.jpg" for shade in ("dark", "light") for kind in ("cat", "dog") for n in range(6)]
    write_tree(tmp_path, {name: jpeg(seed) for seed, name in enumerate(names)})
    manifests = [
        build_manifest(settings(tmp_path, groups, labels={"separator": "_"}), 0) for groups in ({"folder": 1}, None)
    ]
    found = [[one.facts["splits"] for one in each.issues if one.code == "data-split-empty"] for each in manifests]

    assert ["test" in {row.split for row in each.rows} for each in manifests] == [False, True]
    assert found == [[("test",)], []]


def test_images_without_a_group_are_an_error(patients: Path) -> None:
    """The error names the first one, and how many there are."""
    with pytest.raises(DataError) as error:
        build_manifest(settings(patients, {"regex": "(p[0-8])_"}), 0)
    assert (error.value.code, error.value.facts["n"]) == ("data-group-missing", 1)
    with pytest.raises(DataError) as too_high:
        build_manifest(settings(patients, {"folder": 3}), 0)
    assert too_high.value.code == "data-group-missing"


@pytest.mark.parametrize(
    ("groups", "code", "key"),
    [
        ({}, "config-contradiction-groups", "data.groups"),
        ({"folder": 1, "regex": "x"}, "config-contradiction-groups", "data.groups"),
        ({"column": "x"}, "config-without-effect", "data.groups.column"),
        ({"regex": "("}, "config-out-of-range", "data.groups.regex"),
        ({"folder": 0}, "config-out-of-range", "data.groups.folder"),
    ],
    ids=["none", "two", "a column without a table", "not an expression", "level 0"],
)
def test_wrong_groups_are_errors_of_the_config(tmp_path: Path, groups: dict[str, Any], code: str, key: str) -> None:
    """Exactly one of column, folder and regex has to be set."""
    with pytest.raises(ConfigError) as error:
        settings(tmp_path, groups)
    assert [(one.code, one.facts["key"]) for one in error.value.problems] == [(code, key)]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("xyz")), min_size=1, max_size=120),
    st.integers(0, 2**32 - 1),
)
@example([(0, "x"), *[(1, "x")] * 5, (2, "x")], 0)  # both small groups fit into validation
def test_groups_stay_together_whatever_their_sizes(images: list[tuple[int, str]], seed: int) -> None:
    """A class with at least three groups of its own gets at least one image in each split."""
    digests = [f"{n:064x}" for n in range(len(images))]
    groups, labels = [f"{label}{group}" for group, label in images], [label for _, label in images]
    splits = draw_splits(digests, [(label,) for label in labels], FRACTIONS, seed, groups=groups)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))
    for label in set(labels):
        names = {split for split, one in zip(splits, labels, strict=True) if one == label}
        if len({group for group in groups if group.startswith(label)}) >= 3:
            assert names == {"train", "validation", "test"}


def test_large_groups_fill_a_split_as_closely_as_possible() -> None:
    """Five patients of 200 images each: one for validation and one for test, although 150 images would be 15 %."""
    groups = [f"p{number}" for number in range(5) for _ in range(200)]
    digests, fractions = [f"{n:064x}" for n in range(1000)], {"validation": 0.15, "test": 0.15}
    splits = draw_splits(digests, [("x",)] * 1000, fractions, 0, groups=groups)
    assert Counter(splits) == {"train": 600, "validation": 200, "test": 200}
