"""Demonstrations: kernels, feature maps, receptive fields and a training step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.catalogue.kernels import KERNELS, SIGNED
from cnncli.config.reader import config_from_mapping
from cnncli.errors import CnncliError
from cnncli.explanation.convolution import convolve
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from cnncli.recipes.demo import (
    SMALL_NETWORK,
    feature_map_tiles,
    filter_channels,
    kernel_tiles,
    load_square,
    receptive_fields,
    train_on_one_image,
)
from tests.support.drawing import draw_image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the path of a drawn image."""
    Image.fromarray(draw_image("dots", 3)).save(tmp_path / "dots.png")
    return tmp_path / "dots.png"


def test_kernels_are_those_of_the_table() -> None:
    """Row 190: edge kernels add up to 0 and the others to 1, so flat areas become black or keep their gray."""
    sums = {name: sum(value for row in kernel for value in row) for name, kernel in KERNELS.items()}

    assert {name for name, total in sums.items() if abs(total) < 1e-9} == SIGNED
    assert all(total == pytest.approx(1) for name, total in sums.items() if name not in SIGNED)
    assert len(KERNELS) == 9


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_filter_as_opencv_and_keras_do(name: str) -> None:
    """Rows 189 and 190: the result of each kernel equals that of OpenCV, and inside the edge that of Keras."""
    import cv2

    pixels, kernel = draw_image("dots", 5), np.array(KERNELS[name], np.float64)
    found = filter_channels(pixels, KERNELS[name])
    inside = import_keras().ops.depthwise_conv(
        pixels[None].astype(np.float32), np.repeat(kernel[..., None, None], 3, axis=2).astype(np.float32), 1, "valid"
    )

    expected = cv2.filter2D(pixels.astype(np.float64), -1, kernel, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(found[1:-1, 1:-1], np.asarray(inside)[0], atol=1e-3)


@pytest.mark.parametrize(("side", "expected"), [((28, 28), 28), ((40, 30), 30), ((3, 5), 8), ((500, 300), 224)])
def test_a_small_image_is_not_enlarged(side: tuple[int, int], expected: int, tmp_path: Path) -> None:
    """Rows 190 and 194: kernels filter the pixels of a small image, and not a grid between interpolated ones."""
    pixels = np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    found = load_square(tmp_path / "image.png")

    assert found.shape == (expected, expected, 3)
    if side == (28, 28):
        np.testing.assert_array_equal(found, pixels)


def test_sobel_kernels_find_lines_of_their_direction() -> None:
    """Row 189: the first kernel finds horizontal lines only, the second vertical ones only."""
    across = np.zeros((9, 9, 3), np.uint8)
    across[4:] = 200
    found = {tile.title: tile.pixels for tile in kernel_tiles(across)}

    assert found["Sobel, horizontal lines"].max() == 255
    assert found["Sobel, vertical lines"].max() == 0
    np.testing.assert_array_equal(found["identity"], across)


def test_a_feature_map_loses_its_negative_values_and_half_its_size() -> None:
    """Row 194: ReLU removes negative values; pooling halves the size, and sum pooling is four times the average."""
    tiles = {tile.title: tile.pixels for tile in feature_map_tiles(draw_image("stripes", 1))}

    assert tiles["feature map"].min() < 0
    np.testing.assert_array_equal(tiles["after ReLU"], np.maximum(tiles["feature map"], 0))
    assert tiles["after max pooling"].shape == (16, 16)
    assert tiles["after max pooling"].max() == tiles["after ReLU"].max()
    np.testing.assert_allclose(tiles["after sum pooling"], 4 * tiles["after average pooling"])


def test_receptive_fields_follow_the_formula() -> None:
    """Row 98: 1 + L(K − 1); three 3×3 see 7×7 with 27 instead of 49 weights; stride and dilation enlarge it."""
    rows = receptive_fields(3, 3)

    assert [row.receptive_field for row in rows] == [1 + n * 2 for n in (1, 2, 3)]
    assert (rows[-1].weights, rows[-1].weights_of_one) == (27, 49)
    assert receptive_fields(3, 3, stride=2)[-1].receptive_field == 15
    assert receptive_fields(3, 3, dilation=2)[-1].receptive_field == 13
    assert [row.receptive_field for row in receptive_fields(2, 3, stride=2, dilation=2)] == [5, 13]
    for stride, dilation in ((2, 1), (1, 2), (2, 2)):
        assert receptive_fields(2, 3, stride, dilation)[-1].receptive_field == seen_by_an_output(2, 3, stride, dilation)


def seen_by_an_output(layers: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the number of columns with an effect on the middle output; image n is white in column n."""
    size, sums = 33, np.ones((1, kernel, kernel, 1), np.int64)
    effects = []
    for column in range(size):
        x = np.zeros((size, size, 1), np.int64)
        x[:, column] = 1
        for _ in range(layers):
            x = convolve(x, sums, stride=stride, dilation=dilation).output
        effects.append(x[x.shape[0] // 2, x.shape[1] // 2, 0])
    columns = np.flatnonzero(effects)
    return int(columns[-1] - columns[0] + 1)


def test_an_update_is_a_step_of_gradient_descent(image: Path) -> None:
    """Rows 113 and 142: probabilities before and after an update are those of Keras's SGD on half the squared error."""
    keras = import_keras()
    classes = ("dog", "cat", "boat", "bird")
    update = train_on_one_image(image, classes, "boat", 0.5, 2)

    model = build_classifier(config_from_mapping(SMALL_NETWORK, check_paths=False), 4).model
    pixels, target = draw_image("dots", 3)[None].astype(np.float32), np.array([[0, 0, 1, 0]], np.float32)
    model.compile(keras.optimizers.SGD(0.5), loss=lambda y, p: keras.ops.sum(keras.ops.square(y - p)) / 2)
    expected = [model.predict(pixels, verbose=0)[0]]
    for _ in range(2):
        model.train_on_batch(pixels, target)
        expected.append(model.predict(pixels, verbose=0)[0])

    np.testing.assert_allclose(update.probabilities, expected, rtol=1e-4, atol=1e-6)
    assert update.errors[0] > update.errors[1] > update.errors[2]
    assert update.probabilities[2][2] > update.probabilities[0][2]
    assert update.n_weights == model.count_params()


def test_a_label_that_is_no_class_is_refused(image: Path) -> None:
    """The label must be one of the classes, and these must differ."""
    for classes, label, key, received in (
        (("a", "b"), "c", "label", "c"),
        (("a", "a"), "a", "classes", "a,a"),
        (("a",), "a", "classes", "a"),
    ):
        with pytest.raises(CnncliError) as caught:
            train_on_one_image(image, classes, label, 0.5, 1)
        facts = caught.value.facts
        assert (caught.value.code, facts["key"], facts["received"]) == ("usage-value-invalid", key, received)
