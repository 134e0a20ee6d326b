"""The exercises in `configs/course/`: the numbers that the course asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.config.reader import load_config
from cnncli.recipes.summary import Summary, summarize_config
from tests.support.drawing import draw_dataset

COURSE = Path(__file__).resolve().parents[1] / "configs" / "course"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of ten classes."""
    return draw_dataset(tmp_path_factory.mktemp("digits"), 1, 1, 1, classes=tuple("0123456789"))


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two classes."""
    return draw_dataset(tmp_path_factory.mktemp("two"), 1, 1, 1)


def summary_of(name: str, data: Path, *overrides: str) -> Summary:
    """Return the summary of an exercise, with overrides."""
    texts = [f"data.path={data}", "data.splits={}", *overrides]
    return summarize_config(load_config(COURSE / f"{name}.yaml", texts, environment={}))


def counts(summary: Summary) -> list[int]:
    """Return the parameters of each layer that has any."""
    return [layer.parameters for layer in summary.layers if layer.parameters]


def test_the_mnist_network_has_93322_parameters(digits: Path) -> None:
    """Rows 31, 76 and 204: 320 + 18,496 + 36,928 in convolutions, 36,928 + 650 in dense layers."""
    summary = summary_of("mnist-convnet", digits)

    assert counts(summary) == [320, 18_496, 36_928, 36_928, 650]
    assert summary.parameters == 93_322


def test_a_unit_on_a_map_without_pooling_has_30977_parameters(two_classes: Path) -> None:
    """Rows 32 and 205: 22 · 22 · 64 + 1 parameters, and 3,097,801 with 100 units below the output."""
    assert counts(summary_of("no-pooling", two_classes))[-1] == 30_977
    assert sum(counts(summary_of("no-pooling", two_classes, "head.layers=[{dense: 100}]"))[-2:]) == 3_097_801


@pytest.mark.parametrize(("size", "expected"), [(32, 61_706), (28, 44_426)])
def test_lenet_has_61706_parameters(size: int, expected: int, digits: Path) -> None:
    """Rows 1 and 206, W22: 61,706 parameters at 32 pixels, 44,426 at 28."""
    assert summary_of("lenet5", digits, f"data.image_size={size}").parameters == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mnist-tf-cnn", 291_050), ("mnist-keras-cnn", 19_880), ("mnist-mlp", 55_050), ("linear-classifier", 7_850)],
)
def test_networks_of_the_slides_have_their_parameters(name: str, expected: int, digits: Path) -> None:
    """Rows 34, 35, 37 and 40: the numbers that follow from the printed layers."""
    assert summary_of(name, digits).parameters == expected


def test_a_thousand_layers_have_433290_parameters(digits: Path) -> None:
    """Row 36: each of the layers between has 404 parameters, so 1,000 of them give 433,290."""
    ten = summary_of("very-deep", digits, "backbone.options.blocks.1.repeat=10").parameters

    assert ten + 990 * (5 * 5 * 4 * 4 + 4) == 433_290


@pytest.mark.parametrize(
    ("filters", "expected"),
    [("{filters: 10, kernel_size: 5, padding: 2}", 760), ("{filters: 20, kernel_size: 5}", 1_520)],
)
def test_filters_have_weights_for_each_channel(filters: str, expected: int, digits: Path) -> None:
    """Rows 94 and 95, W32: kernels do not share weights across channels."""
    options = ["data.color=rgb", "data.image_size=32", f"backbone.options.blocks=[{filters}]"]

    assert counts(summary_of("border-and-stride", digits, *options))[0] == expected


def test_borders_and_strides_determine_the_output_size(digits: Path) -> None:
    """Rows 97 and 209: (N − F + 2P) / S + 1 gives 24, 24, 12 and 3."""
    summary = summary_of("border-and-stride", digits)
    sizes = [layer.output_shape[0] for layer in summary.layers if layer.kernel and len(layer.output_shape) == 3]

    assert list(dict.fromkeys(sizes)) == [24, 12, 3]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{filters: 32, kernel_size: 1, padding: same}", 401_408),
        ("{filters: 64, padding: same}", 7_225_344),
        ("{filters: 8, kernel_size: 5, padding: same}", 2_508_800),
    ],
)
def test_branches_of_an_inception_module_have_their_operations(block: str, expected: int, digits: Path) -> None:
    """Rows 88 and 208, W34: multiply-adds of each branch on a 28 × 28 × 16 input."""
    summary = summary_of("inception-branches", digits, f"backbone.options.blocks.1={block}")

    assert expected in [layer.multiply_adds for layer in summary.layers]


def operations(data: Path, *branch: str) -> int:
    """Return the multiply-adds of the convolutions of a branch on 28 × 28 × 256."""
    blocks = ", ".join(["{filters: 256, kernel_size: 1}", *branch])
    summary = summary_of("inception-module", data, f"backbone.options.blocks=[{blocks}]")
    return sum(layer.multiply_adds for layer in summary.layers if layer.type == "Conv2D") - 28 * 28 * 256


def test_bottlenecks_make_an_inception_module_cheap(digits: Path) -> None:
    """Rows 87 and 89, W2: 854,196,224 multiply-adds as such, 271,351,808 with bottlenecks of 64 filters, not 358 M."""
    narrow, pool = "{filters: 64, kernel_size: 1}", "{pooling: {size: 3, strides: 1, padding: same}}"
    one, three = "{filters: 128, kernel_size: 1}", "{filters: 192, padding: same}"
    five = "{filters: 96, kernel_size: 5, padding: same}"
    branches = [operations(digits, one), operations(digits, three), operations(digits, five)]
    cheap = [branches[0], *(operations(digits, narrow, one) for one in (three, five)), operations(digits, pool, narrow)]

    assert branches == [25_690_112, 346_816_512, 481_689_600]
    assert sum(branches) == 854_196_224
    assert cheap == [25_690_112, 99_549_184, 133_267_456, 12_845_056]
    assert sum(cheap) == 271_351_808
    summary = summary_of("inception-module", digits)
    assert [layer.multiply_adds for layer in summary.layers if layer.type == "Conv2D"][1:] == [12_845_056, 120_422_400]


@pytest.mark.parametrize(
    ("block", "expected"),
    [("{filters: 32, bias: false}", 4_608), ("{filters: 32, kind: separable, bias: false}", 656)],
)
def test_separable_convolutions_have_fewer_weights(block: str, expected: int, digits: Path) -> None:
    """Row 56, W19: 3 × 3 kernels from 16 to 32 channels have 4,608 weights, separable ones 144 + 512."""
    summary = summary_of("inception-branches", digits, f"backbone.options.blocks.1={block}")

    assert sum(counts(summary)[1:-1]) == expected


def test_weights_of_a_unit_on_pixels(digits: Path) -> None:
    """Rows 92 and 93, W29: a unit has 120,000 weights at 200 × 200 × 3, so 40,000 units have 4.8 billion, gray 1.6."""
    rgb = ["data.image_size=200", "data.color=rgb", "head.layers=[{dense: 1}]"]
    gray = ["data.image_size=200", "head.layers=[{dense: 4}]"]

    assert counts(summary_of("mnist-mlp", digits, *rgb))[0] == 120_000 + 1
    assert counts(summary_of("mnist-mlp", digits, *gray))[0] * 10_000 == pytest.approx(1.6e9, rel=1e-4)
