"""The config that `cnncli init` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnncli.config.data_settings import SplitFractions
from cnncli.config.reader import load_config
from cnncli.config.schema import Config
from cnncli.dataset.config_template import template_for

COUNTS = {"train": {"cats": 60, "dogs": 50}, "validation": {"cats": 20, "dogs": 20}, "test": {"cats": 9, "dogs": 9}}


def spread(smallest: int, median: int, largest: int) -> dict[str, int]:
    """Return the range of widths or heights as in a report."""
    return {"min": smallest, "median": median, "max": largest}


def report(**changes: Any) -> dict[str, Any]:
    """Return a report on a folder of photographs, with some facts replaced."""
    facts = {"path": "pets", "counts": COUNTS, "modes": {"RGB": 208}, "unreadable": [], "duplicates_across": []}
    found = {**facts, "width": spread(59, 447, 500), "height": spread(33, 374, 500), "multi_label": False, **changes}
    return {**found, "images": {split: sum(counts.values()) for split, counts in found["counts"].items()}}


def loaded(text: str, folder: Path) -> Config:
    """Return the config that is loaded from a text."""
    (folder / "config.yaml").write_bytes(text.encode())
    return load_config(folder / "config.yaml", environment={}, check_paths=False)


def test_the_config_of_a_plain_folder_contains_the_defaults(tmp_path: Path) -> None:
    """For an ordinary folder, the config contains the defaults, and its first lines describe the folder."""
    text = template_for(report(), "images", "pets.yaml")
    config = loaded(text, tmp_path)
    assert config.data.path == tmp_path / "images"
    assert (config.name, config.data.image_size, config.data.class_weights) == ("pets", 224, "none")
    assert text.splitlines()[:9] == [
        "# cnncli train pets.yaml",
        "#",
        "# 2 classes: cats, dogs",
        "# 110 images in train, 50 to 60 per class",
        "# 40 images in validation, 20 per class",
        "# 18 images in test, 9 per class",
        "# width × height in pixels, smallest · middle · largest: 59 × 33 · 447 × 374 · 500 × 500",
        "#",
        "# All settings with their values: cnncli config show pets.yaml",
    ]
    assert max(map(len, text.splitlines())) <= 120


def test_uneven_classes_are_weighted(tmp_path: Path) -> None:
    """If the largest class is at least twice the smallest, `class_weights` is set and a comment names the smallest."""
    text = template_for(report(counts={"train": {"cats": 60, "dogs": 30, "none": 0}}), "images")
    assert loaded(text, tmp_path).data.class_weights == "balanced"
    text = template_for(report(counts={"train": {"cats": 60, "dogs": 30}}), "images")
    assert "# smallest class: dogs, 30 images\n" in text


def test_fractions_are_written_for_missing_splits(tmp_path: Path) -> None:
    """The config contains fractions for the splits that have no folder."""
    text = template_for(report(counts={"all": {"cats": 60, "dogs": 50}}), "images")
    assert "  splits: {validation: 0.15, test: 0.15}" in text
    assert "# 110 images, 50 to 60 per class\n" in text
    text = template_for(report(counts={"train": COUNTS["train"], "test": COUNTS["test"]}), "images")
    assert "  splits: {validation: 0.15} " in text
    assert loaded(text, tmp_path).data.splits == SplitFractions()
    assert "splits" not in template_for(report(), "images")


@pytest.mark.parametrize(
    ("changes", "key", "value", "words"),
    [
        ({"modes": {"L": 9}}, "color", "grayscale", "no image has colors"),
        (
            {"width": spread(8, 9, 64), "height": spread(8, 9, 64)},
            "image_size",
            128,
            "small images; 224 takes three times as long",
        ),
        ({"unreadable": (None,) * 3}, "on_bad_image", "skip", "3 cannot be read: `cnncli data check` lists them"),
        (
            {"width": spread(59, 640, 700), "height": spread(33, 200, 500)},
            "fit",
            "stretch",
            "pad keeps their aspect ratio",
        ),
        (
            {"duplicates_across": (None,) * 2},
            "allow_leakage",
            False,
            "2 images are in several splits: see `cnncli data check`",
        ),
    ],
)
def test_special_images_add_a_setting_or_a_comment(
    tmp_path: Path, changes: dict[str, Any], key: str, value: object, words: str
) -> None:
    """Grayscale, small, unreadable, oddly shaped or leaked images add a setting or comment to the config."""
    text = template_for(report(**changes), "images")
    assert getattr(loaded(text, tmp_path).data, key) == value
    assert words in text
    assert words not in template_for(report(), "images")


@given(
    path=st.text(min_size=1),
    counts=st.dictionaries(
        st.sampled_from(["train", "validation", "test", "all"]),
        st.dictionaries(st.text(min_size=1, max_size=9), st.integers(0, 10**6), min_size=1, max_size=12),
        min_size=1,
    ).filter(lambda counts: any((counts.get("train") or next(iter(counts.values()))).values())),
    numbers=st.integers(0, 10**3),
    is_grayscale=st.booleans(),
)
def test_the_config_loads_for_any_folder_name(
    path: str, counts: Any, numbers: int, is_grayscale: bool, tmp_path_factory: Any
) -> None:
    """The config loads even if names of folders and classes contain arbitrary characters."""
    modes = {"L" if is_grayscale else "RGB": 1}
    found = report(counts=counts, modes=modes, unreadable=(None,) * numbers, duplicates_across=(None,) * numbers)
    text = template_for(found, path, path)
    assert yaml.safe_load(text)["data"]["path"] == path
    if "\0" not in path and not path.startswith("~"):
        loaded(text, tmp_path_factory.getbasetemp())
