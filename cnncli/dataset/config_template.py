"""Write the commented config of `cnncli init` for a folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from cnncli.catalogue.networks import NetworkInfo
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.small_images import size_for_images
from cnncli.config.writer import to_yaml
from cnncli.errors import printable

UNEVEN = 2.0
"""Minimum ratio of the largest to the smallest class for which classes are weighted."""
GRAYSCALE_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Pillow's modes without color."""
COMMENT_COLUMN = 52

Row = tuple[str, Any, str]
"""Dotted key, value and comment."""
Counts = Mapping[str, int]
"""Number of images of each class."""


def template_for(
    report: Mapping[str, Any],
    path: str,
    config_name: str = "config.yaml",
    labels: str | Mapping[str, str] | None = None,
) -> str:
    """Return the text of a commented config for a dataset.

    Args:
        report: Report on the images, from `report_on_data`.
        path: Path of the folder as written in the config.
        config_name: Name of the config file, used in the commands at its top.
        labels: Value of `data.labels`, if there is a table: its path as written in the config, or a group of settings.
    """
    counts = {split: by_class for split, by_class in report["counts"].items() if by_class}
    training = counts.get("train") or next(iter(counts.values()))
    backbone = BackboneConfig()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(report["path"]).name).strip("-._")[:80] or "images"
    few = sum(training.values()) < 1_000
    flip = "few images: worth trying true" if few else "true: flipped with a probability of 0.5"
    rows: list[Row] = [
        ("name", name, "name of the run"),
        ("mode", "feature-extraction", "feature-extraction | fine-tuning | from-scratch"),
        ("seed", 0, "same seed, same run"),
        ("data.path", path, "folder of images, relative to this file"),
        *([("data.labels", labels, "table with a row per image")] if labels else []),
        *_data(report, counts, training, backbone.network),
        ("backbone.name", backbone.name, "`cnncli backbones` lists all"),
        ("backbone.weights", "imagenet", "imagenet | none | a file"),
        ("head.pooling", "avg", "avg | max | flatten"),
        ("head.layers", [], "for example [{dense: 256, activation: relu}, {dropout: 0.5}]"),
        *([("head.activation", "sigmoid", "an image can have several labels")] if report["multi_label"] else []),
        ("augmentation.horizontal_flip", False, flip),
        ("augmentation.rotation_range", 0, "degrees, for example 15"),
        ("augmentation.zoom_range", 0, "fraction, for example 0.1"),
        ("augmentation.rand_augment", None, "colors, contrast and more: {magnitude: 5}"),
        ("augmentation.mixup", 0, "mixes pairs of images, for example 0.2"),
        ("training.solver", "auto", "a linear head: exact; gradient takes epochs, optimizer, ..."),
    ]
    sections = groupby(rows, lambda row: row[0].rpartition(".")[0])
    parts = [_head(report, counts, training, config_name), *(_section(name, list(of_it)) for name, of_it in sections)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(report: Mapping[str, Any], counts: Mapping[str, Counts], training: Counts, config_name: str) -> list[str]:
    listed = ", ".join(map(printable, [*training][:8]))
    kind, plural = ("label", "labels") if report["multi_label"] else ("class", "classes")
    lines = [
        f"# cnncli train {printable(config_name)}",
        "#",
        f"# {len(training)} {plural}: {listed}{', …' if len(training) > 8 else ''}",
    ]
    for split, by_class in counts.items():
        where = "" if split == "all" else f" in {split}"
        least, most = min(by_class.values()), max(by_class.values())
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        lines.append(f"# {report['images'][split]:,} images{where}, {each} per {kind}")
    if _is_uneven(training):
        smallest = min(training, key=training.__getitem__)
        lines.append(f"# smallest {kind}: {printable(smallest)}, {training[smallest]:,} images")
    width, height = report["width"], report["height"]
    sizes = " · ".join(f"{width[which]} × {height[which]}" for which in ("min", "median", "max"))
    lines.append(f"# width × height in pixels, smallest · middle · largest: {sizes}")
    if n_leaks := len(report["duplicates_across"]):
        lines.append(f"# {n_leaks:,} images are in several splits: see `cnncli data check`, remove them first")
    return [*lines, "#", f"# All settings with their values: cnncli config show {printable(config_name)}"]


def _data(
    report: Mapping[str, Any], counts: Mapping[str, Counts], training: Counts, network: NetworkInfo
) -> Iterator[Row]:
    """Yield the data settings after the path."""
    width, height = report["width"], report["height"]
    size = size_for_images(network, max(width["max"], height["max"]))
    size_remark = "pixels, the default of the network; 160 takes half as long"
    if size < network.input_size:
        size_remark = f"small images; {network.input_size} takes three times as long and may be more accurate"
    yield "data.image_size", size, size_remark
    has_color = not set(report["modes"]) <= GRAYSCALE_MODES
    yield "data.color", *(("rgb", "rgb | grayscale") if has_color else ("grayscale", "no image has colors"))
    shorter, longer = sorted((width["median"], height["median"]))
    yield "data.fit", "stretch", "pad keeps their aspect ratio" if longer > 1.5 * shorter else "stretch | crop | pad"
    if "all" in counts:
        yield "data.splits", {"validation": 0.15, "test": 0.15}, "no split folders: random split"
    elif "validation" not in counts:
        yield "data.splits", {"validation": 0.15}, "no validation folder: taken from train"
    if _is_uneven(training):
        yield "data.class_weights", "balanced", "small classes count as much as large ones"
    else:
        yield "data.class_weights", "none", "none | balanced"
    if n := len(report["unreadable"]):
        remark = f"{n:,} cannot be read: `cnncli data check` lists them; error: stop before training"
        yield "data.on_bad_image", "skip", remark


def _is_uneven(training: Counts) -> bool:
    counts = [n for n in training.values() if n]
    return max(counts) >= UNEVEN * min(counts)


def _section(name: str, rows: list[Row]) -> list[str]:
    """Return the lines of a group of settings, with aligned comments."""
    lines = [f"{name}:"] if name else []
    for key, value, comment in rows:
        inline = to_yaml(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
        text = f"{'  ' if name else ''}{key.rpartition('.')[2]}: {inline}"
        lines.append(f"{text:<{COMMENT_COLUMN}} # {comment}" if comment else text)
    return lines
