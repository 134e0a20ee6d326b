"""The commented config for a folder of images that `cnncli init` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnncli.catalogue.networks import NETWORKS, NetworkInfo
from cnncli.config.schema import BackboneConfig
from cnncli.config.small_images import size_for_images
from cnncli.config.writer import to_yaml
from cnncli.errors import printable

UNEVEN = 2.0
"""Minimum ratio of the largest to the smallest class for which classes are weighted."""
COMMENT_COLUMN = 52


@dataclass(frozen=True)
class DatasetFacts:
    """Facts about the images.

    Attributes:
        path: Path of the folder as written in the config.
        name: Name of the run.
        counts: Number of readable images by split and class; without split folders, the split is `all`.
        smallest: Minimum width and height in pixels.
        middle: Median width and height in pixels.
        largest: Maximum width and height in pixels.
        is_grayscale: Whether no image has colors.
        n_unreadable: Number of images that cannot be read.
        n_leaks: Number of groups of identical files in several splits.
    """

    path: str
    name: str
    counts: Mapping[str, Mapping[str, int]]
    smallest: tuple[int, int]
    middle: tuple[int, int]
    largest: tuple[int, int]
    is_grayscale: bool = False
    n_unreadable: int = 0
    n_leaks: int = 0

    @property
    def has_splits(self) -> bool:
        """Whether there are split folders."""
        return "all" not in self.counts

    @property
    def training(self) -> Mapping[str, int]:
        """Number of training images by class."""
        return self.counts.get("train") or next(iter(self.counts.values()))


def template_for(facts: DatasetFacts, config_name: str = "config.yaml") -> str:
    """Return the text of a config.

    Args:
        facts: Facts about the images.
        config_name: Name of the file, for the commands in its first lines.
    """
    network = NETWORKS[BackboneConfig().name]
    sections = [
        _head(facts, config_name),
        [
            _line("name", facts.name, "name of the run"),
            _line("mode", "feature-extraction", "feature-extraction | fine-tuning | from-scratch"),
            _line("seed", 0, "same seed, same run"),
        ],
        ["data:", *_data(facts, network)],
        [
            "backbone:",
            _line("  name", network.name, "`cnncli backbones` lists all"),
            _line("  weights", "imagenet", "imagenet | none | a file"),
        ],
        [
            "head:",
            _line("  pooling", "avg", "avg | max | flatten"),
            _line("  layers", [], "for example [{dense: 256, activation: relu}, {dropout: 0.5}]"),
            _line("  activation", "softmax", "softmax | sigmoid | linear"),
        ],
        ["augmentation:", *_augmentation(sum(facts.training.values()))],
        [
            "training:",
            _line("  batch_size", 32),
            _line("  epochs", 20, "maximum; early stopping may end it sooner"),
            _line("  optimizer", {"name": "adam", "learning_rate": 1e-3}, "any optimizer of Keras"),
            _line("  early_stopping", {"monitor": "val_loss", "patience": 5}, "null: never"),
        ],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _head(facts: DatasetFacts, config_name: str) -> list[str]:
    lines = [f"# cnncli train {printable(config_name)}", "#", f"# {_classes(facts.training)}"]
    for split, counts in facts.counts.items():
        where = {"all": "in class folders"}.get(split, f"in {split}")
        n, least, most = sum(counts.values()), min(counts.values()), max(counts.values())
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        lines.append(f"# {n:,} images {where}, {each} per class")
    if _is_uneven(facts.training):
        smallest = min(facts.training, key=facts.training.__getitem__)
        lines.append(f"# smallest class: {printable(smallest)}, {facts.training[smallest]:,} images")
    sizes = " · ".join(f"{width} × {height}" for width, height in (facts.smallest, facts.middle, facts.largest))
    lines.append(f"# width × height in pixels, smallest · middle · largest: {sizes}")
    if facts.n_leaks:
        lines.append(f"# {facts.n_leaks:,} images are in several splits: see `cnncli data check`, remove them first")
    return [*lines, "#", f"# All settings with their values: cnncli config show {printable(config_name)}"]


def _classes(training: Mapping[str, int]) -> str:
    names = list(training)
    listed = ", ".join(map(printable, names[:8]))
    return f"{len(names)} classes: {listed}{', …' if len(names) > 8 else ''}"


def _data(facts: DatasetFacts, network: NetworkInfo) -> list[str]:
    lines = [_line("  path", facts.path, "folder of images, relative to this file"), _image_size(facts, network)]
    color = "no image has colors" if facts.is_grayscale else "rgb | grayscale"
    lines.append(_line("  color", "grayscale" if facts.is_grayscale else "rgb", color))
    width, height = facts.middle
    shape = "pad keeps their aspect ratio" if max(width, height) > 1.5 * min(width, height) else "stretch | crop | pad"
    lines.append(_line("  fit", "stretch", shape))
    if not facts.has_splits:
        lines.append(_line("  splits", {"validation": 0.15, "test": 0.15}, "no split folders: random split"))
    elif "validation" not in facts.counts:
        lines.append(_line("  splits", {"validation": 0.15}, "no validation folder: taken from train"))
    return [*lines, _class_weights(facts.training), *_bad_images(facts.n_unreadable)]


def _image_size(facts: DatasetFacts, network: NetworkInfo) -> str:
    size = size_for_images(network, max(facts.largest))
    if size < network.input_size:
        remark = f"small images; {network.input_size} takes three times as long and may be more accurate"
        return _line("  image_size", size, remark)
    return _line("  image_size", size, "pixels, the default of the network; 160 takes half as long")


def _class_weights(training: Mapping[str, int]) -> str:
    if _is_uneven(training):
        return _line("  class_weights", "balanced", "small classes count as much as large ones")
    return _line("  class_weights", "none", "none | balanced")


def _is_uneven(training: Mapping[str, int]) -> bool:
    counts = [n for n in training.values() if n]
    return max(counts) >= UNEVEN * min(counts)


def _bad_images(n_unreadable: int) -> list[str]:
    if not n_unreadable:
        return []
    which = f"{n_unreadable:,} cannot be read: `cnncli data check` lists them; error: stop before training"
    return [_line("  on_bad_image", "skip", which)]


def _augmentation(n_training: int) -> list[str]:
    advice = "few images: worth trying true" if n_training < 1_000 else "true: flipped with a probability of 0.5"
    return [
        _line("  horizontal_flip", False, advice),
        _line("  rotation_range", 0, "degrees, for example 15"),
        _line("  zoom_range", 0, "fraction, for example 0.1"),
        _line("  rand_augment", None, "colors, contrast and more: {magnitude: 5}"),
        _line("  mixup", 0, "mixes pairs of images, for example 0.2"),
    ]


def _line(key: str, value: object, comment: str = "") -> str:
    text = f"{key}: {_inline_yaml(value)}"
    return f"{text:<{COMMENT_COLUMN}} # {comment}" if comment else text


def _inline_yaml(value: Any) -> str:
    """Return a value as YAML on one line, quoted if necessary."""
    text = to_yaml(value, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")
