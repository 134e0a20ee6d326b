"""Several labels per image: from a column with a separator, from columns with 0 and 1, or from folder names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.dataset.build import build_manifest, manifest_of_folder, report_on_data
from cnncli.dataset.config_template import template_for
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.split import draw_splits
from cnncli.errors import DataError
from cnncli.recipes.init import write_config
from cnncli.terminal.console import Console
from tests.dataset.labels.test_table import write_table
from tests.images.making import jpeg, write_tree

FRACTIONS = {"validation": 0.15, "test": 0.15}


def settings(root: Path, labels: Any, **data: Any) -> DataConfig:
    """Return settings of data with the given `data.labels`."""
    return config_from_mapping({"data": {"path": root, "labels": labels, **data}}, environment={}).data


def kinds(n: int) -> list[str]:
    """Return the labels of n images, two each, as they are written in a table."""
    return [f"{shape};{color}" for shape in ("circle", "square") for color in ("red", "blue") for _ in range(n // 4)]


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    """Return a folder with 40 images of two labels each, two images without labels, and their table."""
    labels = [*kinds(40), "", ""]
    write_tree(tmp_path, {f"{n:02}.jpg": jpeg(n) for n in range(len(labels))})
    write_table(tmp_path / "labels.csv", [("image", "labels"), *((f"{n:02}.jpg", one) for n, one in enumerate(labels))])
    return tmp_path


def test_a_manifest_has_0_and_1_for_each_label(attributes: Path) -> None:
    """Labels are sorted, images without labels are noted, and the manifest read back is the same."""
    manifest = build_manifest(settings(attributes, {"path": attributes / "labels.csv", "separator": ";"}), 0)
    assert manifest.classes == ("blue", "circle", "red", "square")
    labels = manifest.labels(manifest.rows)
    assert (labels.dtype, labels.shape) == (np.uint8, (42, 4))
    assert labels.tolist() == [[int(name in row.labels) for name in manifest.classes] for row in manifest.rows]
    assert Counter(labels.sum(axis=1).tolist()) == {2: 40, 0: 2}
    assert [one.facts["n"] for one in manifest.issues if one.code == "data-images-without-label"] == [2]

    path = attributes / "manifest.csv"
    path.write_text(manifest.csv_text())
    again = Manifest.from_csv(path)
    assert (again.rows, again.classes, again.is_multi_label) == (manifest.rows, manifest.classes, True)
    assert path.read_text().startswith('"path","labels","split"')


def test_the_three_sources_give_the_same_labels(tmp_path: Path) -> None:
    """A column with a separator, columns with 0 and 1, and names of class folders."""
    labels = ["dress;red", "blue;dress", "red;shirt", "blue;shirt"] * 10
    files = [f"{one.replace(';', '_')}/{n:02}.jpg" for n, one in enumerate(labels)]
    write_tree(tmp_path / "images", {file: jpeg(n) for n, file in enumerate(files)})
    names = ("red", "blue", "shirt", "dress")
    text = write_table(tmp_path / "text.csv", [("image", "labels"), *zip(files, labels, strict=True)])
    ones = [(file, *(int(name in one.split(";")) for name in names)) for file, one in zip(files, labels, strict=True)]
    hot = write_table(tmp_path / "hot.csv", [("image", *names), *ones])
    sources = [{"path": text, "separator": ";"}, {"path": hot, "label": list(names)}, {"separator": "_"}]
    manifests = [build_manifest(settings(tmp_path / "images", source), 3) for source in sources]
    assert {one.is_multi_label for one in manifests} == {True}
    assert manifests[0].classes == ("blue", "dress", "red", "shirt")
    assert manifests[0].rows == manifests[1].rows == manifests[2].rows


def test_every_label_is_divided_as_its_fraction_demands(attributes: Path) -> None:
    """Of 20 images with a label, 14 are for training, and 3 in each of the other splits."""
    manifest = build_manifest(settings(attributes, {"path": attributes / "labels.csv", "separator": ";"}), 0)
    assert manifest.counts() == {
        "train": dict.fromkeys(manifest.classes, 14),
        "validation": dict.fromkeys(manifest.classes, 3),
        "test": dict.fromkeys(manifest.classes, 3),
    }


@given(
    st.lists(st.sets(st.sampled_from("abcdef"), min_size=1).map(lambda names: tuple(sorted(names))), max_size=150),
    st.integers(0, 2**32 - 1),
)
def test_training_has_every_label_and_no_split_has_too_many(labels: list[tuple[str, ...]], seed: int) -> None:
    """Only training can have more images of a label than its fraction; the rarest labels find room first."""
    splits = draw_splits([f"{n:064x}" for n in range(len(labels))], labels, FRACTIONS, seed)
    counts = Counter((label, split) for names, split in zip(labels, splits, strict=True) for label in names)
    sizes = Counter(label for names in labels for label in names)
    for label, n in sizes.items():
        assert counts[label, "train"] >= 1
        assert all(counts[label, split] <= max(1, 0.15 * n + 1) for split in FRACTIONS)


def test_a_rare_label_is_in_every_split() -> None:
    """Of 300 images, the 6 with the rare label are drawn first, whatever other labels they have."""
    random = np.random.default_rng(0)
    labels = [tuple(sorted({"abc"[random.integers(3)], "xyz"[random.integers(3)]})) for _ in range(300)]
    labels[::50] = [(*names, "rare") for names in labels[::50]]
    splits = draw_splits([f"{n:064x}" for n in range(300)], labels, FRACTIONS, 0)
    rare = Counter(split for names, split in zip(labels, splits, strict=True) if "rare" in names)
    assert rare == {"train": 4, "validation": 1, "test": 1}
    assert abs(splits.count("validation") - 45) <= 3


def test_groups_of_images_with_several_labels_stay_together(attributes: Path) -> None:
    """A patient is in one split, whatever the labels of its images."""
    rows = [(f"{n:02}.jpg", one, f"patient {n % 14}") for n, one in enumerate([*kinds(40), "", ""])]
    table = write_table(attributes / "labels.csv", [("image", "labels", "patient"), *rows])
    data = settings(attributes, {"path": table, "separator": ";"}, groups={"column": "patient"})
    manifest = build_manifest(data, 0)
    assert len({(row.group, row.split) for row in manifest.rows}) == 14
    assert {row.split for row in manifest.rows} == {"train", "validation", "test"}


def test_all_problems_of_a_table_are_reported_together(attributes: Path) -> None:
    """Labels that the manifest cannot contain, missing images, and cells that are neither 0 nor 1."""
    rows = [("00.jpg", "a|b;c"), ("01.jpg", "a"), ("absent.jpg", "b")]
    table = write_table(attributes / "wrong.csv", [("image", "labels"), *rows])
    with pytest.raises(DataError) as error:
        build_manifest(settings(attributes, {"path": table, "separator": "|"}), 0)
    assert {one.code for one in error.value.problems} >= {"data-label-separator", "data-table-image-missing"}
    assert error.value.problems[1].facts["labels"] == ("b;c",)
    assert "data.labels.separator" in error.value.problems[1].facts["hint"]

    table = write_table(attributes / "wrong.csv", [("image", "a", "b"), ("00.jpg", 1, 2), ("absent.jpg", 0, "?")])
    with pytest.raises(DataError) as error:
        build_manifest(settings(attributes, {"path": table, "label": ["a", "b"]}), 0)
    assert {one.code: one.facts["rows"] for one in error.value.problems if "rows" in one.facts} == {
        "data-table-not-one-hot": {"line 2": '"2"', "line 3": '"?"'},
        "data-table-image-missing": {"line 3": '"absent.jpg"'},
    }


def test_images_without_any_label_are_an_error(attributes: Path) -> None:
    """At least one image needs a label; a single label is enough."""
    table = write_table(attributes / "none.csv", [("image", "labels"), ("00.jpg", ""), ("01.jpg", ";")])
    with pytest.raises(DataError) as error:
        build_manifest(settings(attributes, {"path": table, "separator": ";"}), 0)
    assert error.value.code == "data-images-without-label"

    rows = [(f"{n:02}.jpg", "only" if n % 2 else "") for n in range(40)]
    table = write_table(attributes / "one.csv", [("image", "labels"), *rows])
    manifest = build_manifest(settings(attributes, {"path": table, "separator": ";"}), 0)
    assert manifest.classes == ("only",)
    assert {split: len(manifest.split(split)) for split in ("train", "validation", "test")} == {
        "train": 28,
        "validation": 6,
        "test": 6,
    }


def test_a_label_may_be_absent_from_validation_but_not_from_training(attributes: Path) -> None:
    """In training, there would be nothing to learn."""
    rows = [("00.jpg", "a;b", "train"), ("01.jpg", "a", "train"), ("02.jpg", "a", "val"), ("03.jpg", "b", "test")]
    table = write_table(attributes / "given.csv", [("image", "labels", "split"), *rows])
    manifest = build_manifest(settings(attributes, {"path": table, "separator": ";"}), 0)
    assert [one.severity for one in manifest.issues if one.code == "data-classes-differ"] == ["warning", "warning"]

    table = write_table(attributes / "given.csv", [("image", "labels", "split"), *rows, ("04.jpg", "c", "test")])
    with pytest.raises(DataError) as error:
        build_manifest(settings(attributes, {"path": table, "separator": ";"}), 0)
    assert [one.code for one in error.value.problems] == ["data-classes-differ"]


def test_small_labels_are_left_out_but_not_their_images(attributes: Path) -> None:
    """The image keeps its other labels."""
    rows = [(f"{n:02}.jpg", one) for n, one in enumerate(kinds(40))]
    rows[0] = ("00.jpg", "circle;red;rare")
    table = write_table(attributes / "labels.csv", [("image", "labels"), *rows])
    manifest = build_manifest(settings(attributes, {"path": table, "separator": ";"}, min_images=3), 0)
    assert (len(manifest.rows), "rare" in manifest.classes) == (40, False)


def test_other_images_may_lack_a_label(attributes: Path) -> None:
    """For evaluation, labels must be known to the classifier."""
    data = settings(attributes, {"path": attributes / "labels.csv", "separator": ";"})
    manifest = manifest_of_folder(data, ("blue", "circle", "green", "red", "square"))
    assert manifest.labels(manifest.rows).shape == (42, 5)
    with pytest.raises(DataError) as error:
        manifest_of_folder(data, ("blue", "circle", "red"))
    assert error.value.code == "data-class-unknown"


def test_the_report_counts_images_and_labels(attributes: Path) -> None:
    """The number of images is not the sum of those of the labels."""
    report, _ = report_on_data(settings(attributes, {"path": attributes / "labels.csv", "separator": ";"}))
    assert (report["multi_label"], report["images"], report["total"]) == (True, {"all": 42}, 42)
    assert report["counts"]["all"] == dict.fromkeys(("blue", "circle", "red", "square"), 20)
    text = template_for(report, "images", labels={"path": "labels.csv", "separator": ";"})
    assert "# 42 images, 20 per label" in text


def test_labels_that_seem_to_be_combined_are_noted(attributes: Path) -> None:
    """Without a separator, they are classes; `init` writes the separator into the config."""
    report, issues = report_on_data(settings(attributes, attributes / "labels.csv"))
    assert not report["multi_label"]
    assert [one.facts["separator"] for one in issues if one.code == "data-labels-combined"] == [";"]
    out = write_config(attributes / "labels.csv", attributes / "config.yaml", False, Console(quiet=True))
    config = load_config(out, environment={})
    assert (config.data.labels.separator, config.head.activation) == (";", "sigmoid")
