"""Worked convolutions and pooling, compared with the results of courses and with Keras."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.explanation.convolution import PoolingKind, convolve, course_convolution, course_pooling, volume_convolution
from cnncli.networks.backend import import_keras


def test_the_convolution_of_the_course() -> None:
    """Row 191: the 5×5 image and the 3×3 kernel give 4 3 4, 2 4 3 and 2 3 4."""
    worked = course_convolution()

    assert worked.output[..., 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]
    assert worked.formula(0, 0, 0) == "1·1 + 1·0 + 1·1 + 0·0 + 1·1 + 1·0 + 0·1 + 0·0 + 1·1 = 4"


@pytest.mark.parametrize(
    ("kind", "values"),
    [("max", [[20, 30], [112, 37]]), ("average", [[13, 8], [79, 19.5]]), ("sum", [[52, 32], [316, 78]])],
)
def test_the_pooling_of_the_course(kind: PoolingKind, values: list[list[float]]) -> None:
    """Rows 58 and 60: 2×2 pooling of the 4×4 example gives 20 30 and 112 37."""
    worked = course_pooling(kind)

    assert worked.output[..., 0].tolist() == values
    assert worked.formula(0, 1, 0).endswith(f" = {values[1][0]}")


def test_the_moving_demo_has_the_sizes_of_cs231n() -> None:
    """Row 192: W = H = 5, D = 3, K = 2, F = 3, S = 2, P = 1 give 3×3×2; biases are 1 and 0."""
    worked = volume_convolution()

    assert worked.values.shape == (7, 7, 3)
    assert worked.kernels is not None
    assert worked.kernels.shape == (2, 3, 3, 3)
    assert worked.output.shape == (3, 3, 2)
    assert worked.biases is not None
    assert worked.biases.tolist() == [1, 0]
    assert not worked.values[0].any()
    assert len(list(worked.steps())) == 18


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [(5, 3, 1, 0, 1), (5, 3, 2, 1, 1), (7, 3, 1, 0, 2), (6, 4, 1, 2, 1), (9, 2, 3, 1, 1)],
)
def test_worked_convolutions_equal_those_of_keras(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    """Rows 55 and 193: for any size, stride, padding and dilation, outputs and formulas are those of Keras."""
    ops = import_keras().ops
    worked = volume_convolution(size, kernel, stride, padding, dilation, depth=2, filters=3, seed=4)
    assert worked.kernels is not None
    inputs = worked.values[None].astype(np.float32)
    weights = worked.kernels.transpose(1, 2, 3, 0).astype(np.float32)
    expected = np.asarray(ops.conv(inputs, weights, stride, "valid", dilation_rate=dilation))[0] + worked.biases

    np.testing.assert_array_equal(worked.output, expected)
    for step in worked.steps():
        left, right = worked.formula(*step).replace("−", "-").split(" = ")
        assert eval(left) == float(right) == worked.output[step[1], step[2], step[0]]


def test_a_window_larger_than_the_input_is_refused() -> None:
    """A kernel that does not fit into the padded input is an error."""
    with pytest.raises(ValueError, match="larger"):
        convolve(np.zeros((3, 3, 1)), np.zeros((1, 5, 5, 1)))
