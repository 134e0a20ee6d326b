"""Plots of networks: rows, lines, colors and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnncli.networks.arithmetic import LayerNumbers, count_layers
from cnncli.networks.backend import import_keras
from cnncli.report.network_plot import (
    EMPTY,
    FROZEN,
    PARTLY,
    TRAINED,
    Drawing,
    Row,
    _kinds,
    _lanes,
    _rows,
    draw_networks,
)

keras = import_keras()
layers = keras.layers


def residual(n_blocks: int) -> tuple[LayerNumbers, ...]:
    """Return the layers of a residual network whose first convolution is frozen."""

    def conv(x: Any, name: str) -> Any:
        x = layers.Conv2D(4, 3, padding="same", name=name, trainable=name != "stem")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    images = keras.Input((8, 8, 3), name="images")
    x = conv(images, "stem")
    for number in range(n_blocks):
        x = layers.Add(name=f"add{number}")([x, conv(conv(x, f"conv{number}a"), f"conv{number}b")])
    return count_layers(keras.Model(images, x))


def drawing(name: str, found: tuple[LayerNumbers, ...]) -> Drawing:
    """Return a network with totals of its layers."""
    totals = {
        quantity: float(sum(getattr(layer, quantity) for layer in found))
        for quantity in ("memory_kb", "parameters", "multiply_adds")
    }
    return Drawing(name, "8×8×3", found, totals)


def test_a_row_is_a_layer_with_its_activation() -> None:
    """Row 183: each row has its shape, what trains, and the rows that it takes; activations share a row."""
    rows = _rows(residual(1), whole=False)

    assert [row.name for row in rows] == ["images", "stem", "conv0a", "conv0b", "add0"]
    assert [row.inputs for row in rows] == [(), (0,), (1,), (2,), (1, 3)]
    assert [row.color for row in rows] == [EMPTY, FROZEN, TRAINED, TRAINED, EMPTY]
    assert rows[1].detail == "Conv2D 3×3 + ReLU"
    assert rows[1].memory_kb == 8 * 8 * 4 * 4 / 1024
    assert rows[4].shape == (8, 8, 4)


def test_a_line_is_kept_until_its_last_use() -> None:
    """A shortcut has a line of its own, which passes the rows of its block and ends in the addition."""
    rows = _rows(residual(2), whole=False)
    lanes = _lanes(rows)
    own = {row.name: lane[0] for row, lane in zip(rows, lanes, strict=True)}

    assert own["stem"] != own["conv0a"] == own["conv0b"]
    assert own["add0"] in (own["stem"], own["conv0b"])
    for number, row in enumerate(rows):
        for source in row.inputs:
            between = [lanes[k][0] for k in range(source + 1, number)]
            assert lanes[source][0] not in between, row.name


def test_a_block_counts_the_layers_that_share_a_row() -> None:
    """Normalization that joins a convolution counts, and activations do not."""
    rows = [
        Row("a", "BN + ReLU", (8,), EMPTY, (), 0, 0, 0),
        Row("b", "Conv2D 3×3 + BN + ReLU", (8,), EMPTY, (0,), 0, 0, 0),
    ]

    assert [kind for row in rows for kind in _kinds(row)] == ["BN", "Conv2D", "BN"]


def test_large_networks_are_drawn_by_blocks() -> None:
    """Row 182: with many rows, a residual block becomes one row with the sums of its layers, or not with `whole`."""
    found = residual(40)
    rows = _rows(found, whole=False)

    assert len(rows) == 2 + 40
    assert rows[2].name == "… add0"
    assert rows[2].detail == "2 Conv2D, 1 Add"
    assert rows[2].parameters == 2 * (3 * 3 * 4 + 1) * 4
    assert sum(row.multiply_adds for row in rows) == sum(layer.multiply_adds for layer in found)
    assert len(_rows(found, whole=True)) == 2 + 3 * 40


def test_a_block_that_is_trained_in_part_has_its_own_color() -> None:
    """The color of a block with frozen and trainable layers differs from both."""
    images = keras.Input((8, 8, 3))
    frozen = layers.Conv2D(3, 1, trainable=False)(images)
    x = layers.Add()([images, layers.Conv2D(3, 1)(frozen)])
    for _ in range(90):
        x = layers.ZeroPadding2D(0)(layers.Conv2D(3, 1)(x))
    rows = _rows(count_layers(keras.Model(images, x)), whole=False)

    assert [row.color for row in rows[:3]] == [EMPTY, PARTLY, TRAINED]


def test_boxes_are_as_wide_as_their_texts(tmp_path: Path) -> None:
    """Long names and descriptions are whole, and make the figure wider."""
    images = keras.Input((8, 8, 3), name="images")
    sizes = []
    for name in ("conv", "a_convolution_with_a_long_name"):
        x = layers.BatchNormalization()(layers.Conv2D(3, 7, 2, "same", name=name)(images))
        found = count_layers(keras.Model(images, layers.Activation("relu")(x)))
        for suffix in ("svg", "png"):
            draw_networks([drawing("A", found)], tmp_path / f"plot.{suffix}")
        svg = (tmp_path / "plot.svg").read_text()  # matplotlib writes each text as a comment, too
        assert f"<!-- {name} -->" in svg
        assert "<!-- Conv2D 7×7/2 + BN + activation -->" in svg
        with Image.open(tmp_path / "plot.png") as image:
            sizes.append(image.width)
    assert sizes[0] + 150 < sizes[1]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_networks_are_drawn_beside_each_other(tmp_path: Path, suffix: str) -> None:
    """Rows 81 and 83: a file with the graphs and bars of one network, wider with two; no warning about its text."""
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    draw_networks([drawing("A", residual(1))], one)
    draw_networks([drawing("A", residual(1)), drawing("B", residual(3))], two)

    if suffix == "png":
        with Image.open(one) as small, Image.open(two) as large:
            assert large.width > 1.8 * small.width
            assert large.height > small.height
    else:
        assert one.read_text().startswith("<?xml")
        assert len(two.read_text()) > len(one.read_text())
