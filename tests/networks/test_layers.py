"""Layers that Keras lacks equal TensorFlow's or NumPy's, and survive saving, conversion, replay and the cut."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.networks import layers
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, load_classifier, save_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.graph import output_of, replay
from cnncli.networks.head import LOGITS
from cnncli.networks.mixed_precision import mixed_bfloat16
from tests.support.parity import relative

Array = NDArray[np.float32]
FLOAT32 = 1e-5
ENGINES = 1e-3

CASES: dict[str, Callable[[Any], Any]] = {
    "lrn": lambda x: layers.local_response_normalization(x, name="it"),
    "maxout": lambda x: layers.maxout(x, 4, name="it"),
    "shuffle": lambda x: layers.channel_shuffle(x, 2, name="it"),
    "max": lambda x: layers.pool(x, "max", 3, 2, 1, name="it"),
    "average": lambda x: layers.pool(x, "average", 3, 2, 1, name="it"),
    "sum": lambda x: layers.pool(x, "sum", 2, 2, "same", name="it"),
    "l2": lambda x: layers.pool(x, "l2", 3, 2, name="it"),
    "std": lambda x: layers.pool(x, "std", (2, 3), (2, 3), name="it"),
    "std in padding": lambda x: layers.pool(x, "std", 3, 2, "same", name="it"),
    "weighted": lambda x: layers.pool(x, "weighted", 3, 2, name="it"),
    "locally connected": lambda x: layers.locally_connected(x, 4, 3, 2, name="it"),
}


def _values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _apply(add: Callable[[Any], Any], x: Array) -> Array:
    """Return the output of a graph of one layer."""
    keras = import_keras()
    inputs = keras.Input(x.shape[1:])
    result: Array = keras.Model(inputs, add(inputs))(x).numpy()
    return result


def _windows(x: Array, size: tuple[int, int], strides: tuple[int, int]) -> Array:
    """Return (batch, height, width, channels, window height, window width)."""
    return sliding_window_view(x, size, axis=(1, 2))[:, :: strides[0], :: strides[1]]


def test_local_response_normalization_is_tensorflows() -> None:
    """Row 65. AlexNet's constants and others give what `tf.nn.local_response_normalization` gives."""
    import tensorflow as tf

    x = 20 * _values(2, 5, 4, 9)
    for size, alpha, beta, k in ((5, 1e-4, 0.75, 2.0), (3, 0.5, 0.5, 1.0), (9, 0.1, 1.0, 3.0)):
        found = _apply(
            lambda t: layers.local_response_normalization(t, size, alpha, beta, k, name="lrn"),  # noqa: B023
            x,
        )
        expected = tf.nn.local_response_normalization(x, size // 2, k, alpha, beta).numpy()
        assert relative(found, expected) < FLOAT32


def test_maxout_keeps_the_largest_of_each_group_of_channels() -> None:
    """Row 42. The maximum is over successive channels, in feature maps and in vectors."""
    x = _values(2, 3, 4, 6)
    np.testing.assert_array_equal(_maxout(x), x.reshape(2, 3, 4, 2, 3).max(axis=-1))
    vector = _values(2, 6)
    np.testing.assert_array_equal(_maxout(vector), vector.reshape(2, 2, 3).max(axis=-1))


def _maxout(x: Array) -> Array:
    return _apply(lambda t: layers.maxout(t, 3, name="maxout"), x)


def test_channel_shuffle_interleaves_groups() -> None:
    """Row 29. Channels 0-5 in two groups become 0, 3, 1, 4, 2, 5."""
    x = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 2, 2, 6))
    found = _apply(lambda t: layers.channel_shuffle(t, 2, name="shuffle"), x)
    assert found[0, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize(
    ("kind", "reduce"),
    [
        ("max", lambda w: w.max(axis=(-2, -1))),
        ("average", lambda w: w.mean(axis=(-2, -1))),
        ("sum", lambda w: w.sum(axis=(-2, -1))),
        ("l2", lambda w: np.sqrt((w**2).sum(axis=(-2, -1)))),
        ("std", lambda w: w.std(axis=(-2, -1))),
    ],
)
def test_pooling_reduces_windows(kind: Any, reduce: Callable[[Array], Array], strides: tuple[int, int]) -> None:
    """Rows 59, 60, 61. Overlapping and separate windows of 2 × 3 pixels give what NumPy computes."""
    x = _values(2, 7, 9, 3)
    found = _apply(lambda t: layers.pool(t, kind, (2, 3), strides, name="pool"), x)
    np.testing.assert_allclose(found, reduce(_windows(x, (2, 3), strides)), atol=2e-6)


@pytest.mark.parametrize("padding", ["valid", "same", 1])
def test_standard_deviations_are_exact_far_from_zero(padding: Any) -> None:
    """A mean of 1,000 times the deviation does not change it; the padding `same` is ignored, pixels count as zeros."""
    x = 1e3 + _values(2, 7, 9, 3)
    found = _apply(lambda t: layers.pool(t, "std", 3, 2, padding, name="pool"), x)
    wide = x.astype(np.float64)
    if padding == "same":
        wide = np.pad(wide, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=np.nan)
    elif padding == 1:
        wide = np.pad(wide, [(0, 0), (1, 1), (1, 1), (0, 0)])
    expected = np.nanstd(_windows(wide, (3, 3), (2, 2)), axis=(-2, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_standard_deviations_in_bfloat16_subtract_the_mean_in_float32() -> None:
    """In bfloat16, a mean of ten times the deviation does not hide it."""
    keras = import_keras()
    inputs = keras.Input((8, 8, 4))
    network = keras.Model(inputs, layers.pool(keras.layers.Rescaling(1.0)(inputs), "std", 2, 2, name="pool"))
    x = 1 + 0.1 * _values(4, 8, 8, 4)
    x = keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(x, "bfloat16"), "float32"))
    expected = _windows(x.astype(np.float64), (2, 2), (2, 2)).std(axis=(-2, -1))
    found = np.asarray(mixed_bfloat16(network)(x), np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-2)


def test_pooling_in_padding_of_pixels() -> None:
    """Row 59. Padding of one pixel counts as zero in sums and averages; a maximum of negative values stays negative."""
    x = -np.abs(_values(1, 6, 6, 2)) - 1
    zeros = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for kind, reduce in (("average", np.mean), ("sum", np.sum)):
        found = _apply(lambda t: layers.pool(t, kind, 3, 2, 1, name="pool"), x)  # type: ignore[arg-type]  # noqa: B023
        np.testing.assert_allclose(found, reduce(_windows(zeros, (3, 3), (2, 2)), axis=(-2, -1)), rtol=1e-5)
    lowest = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    found = _apply(lambda t: layers.pool(t, "max", 3, 2, 1, name="pool"), x)
    np.testing.assert_array_equal(found, _windows(lowest, (3, 3), (2, 2)).max(axis=(-2, -1)))


@pytest.mark.parametrize("side", [6, 7])
def test_same_padding_of_sums_adds_zeros_where_tensorflow_does(side: int) -> None:
    """A sum with padding `same` is the convolution with ones of that padding."""
    import tensorflow as tf

    x = _values(1, side, side, 1)
    found = _apply(lambda t: layers.pool(t, "sum", 3, 2, "same", name="pool"), x)
    expected = tf.nn.conv2d(x, np.ones((3, 3, 1, 1), np.float32), 2, "SAME").numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weighted_pooling_starts_as_the_average_and_is_trained() -> None:
    """Row 61. Each channel has its own weights, one per pixel of the window."""
    keras = import_keras()
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, layers.pool(inputs, "weighted", 3, 3, name="pool"))
    x = _values(2, 6, 6, 2)
    np.testing.assert_allclose(model(x), _windows(x, (3, 3), (3, 3)).mean(axis=(-2, -1)), atol=1e-6)
    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(3, 3, 2, 1)]


@pytest.mark.parametrize("kind", ["l2", "std"])
def test_gradients_are_finite_where_a_square_root_is_zero(kind: Any) -> None:
    """A window of zeros, frequent after ReLU, has the gradient zero instead of NaN."""
    import tensorflow as tf

    keras = import_keras()
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, layers.pool(inputs, kind, 2, 2, name="pool"))
    x = tf.Variable(np.zeros((1, 4, 4, 1), np.float32))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(x))
    assert not tape.gradient(value, x).numpy().any()


def test_locally_connected_has_weights_of_its_own_at_each_place() -> None:
    """Row 41. Each place has its own kernel and bias: 2·3·(3·3·2 + 1)·5 parameters; same weights give a convolution."""
    import tensorflow as tf

    keras = import_keras()
    inputs = keras.Input((6, 8, 2))
    model = keras.Model(inputs, layers.locally_connected(inputs, 5, 3, 2, name="local"))
    assert model.count_params() == 2 * 3 * (3 * 3 * 2 + 1) * 5
    x, kernel = _values(2, 6, 8, 2), _values(3, 3, 2, 5)
    bias = _values(2, 3, 5)
    model.set_weights([np.broadcast_to(kernel.reshape(18, 5), (2, 3, 18, 5)), bias])
    np.testing.assert_allclose(model(x), tf.nn.conv2d(x, kernel, 2, "VALID").numpy() + bias, atol=1e-5)
    each = _values(2, 3, 18, 5, seed=1)
    model.set_weights([each, bias])
    patch = x[:, 2:5, 4:7].reshape(2, 18)
    np.testing.assert_allclose(model(x)[:, 1, 2], patch @ each[1, 2] + bias[1, 2], atol=1e-5)


def test_locally_connected_starts_with_glorots_scale() -> None:
    """The first weights have the variance of a convolution's, whatever the number of places."""
    keras = import_keras()
    inputs = keras.Input((34, 34, 8))
    layer = keras.Model(inputs, layers.locally_connected(inputs, 8, 3, name="local")).get_layer("local")
    limit = math.sqrt(6 / (72 + 8))
    assert 0.99 * limit < np.abs(layer.get_weights()[0]).max() <= limit


@pytest.fixture(scope="module", params=CASES)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """Return a classifier with one of the layers between two convolutions."""
    keras = import_keras()
    keras.utils.set_random_seed(3)
    pixels = keras.Input((13, 11, 3), name="pixels")
    x = keras.layers.Conv2D(8, 3, name="below")(keras.layers.Rescaling(1 / 64, name="preprocess_scale")(pixels))
    x = CASES[request.param](x)
    x = keras.layers.Conv2D(4, 2, name="above")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_avg_pool")(x)
    x = keras.layers.Dense(2, name=LOGITS)(x)
    return Classifier(keras.Model(pixels, x, name="classifier"), pretrained=False)


PIXELS = np.random.default_rng(1).integers(0, 256, (3, 13, 11, 3)).astype(np.float32)


def test_a_saved_layer_comes_back(classifier: Classifier, tmp_path: Path) -> None:
    """The allow-list accepts the layer, and cnncli and Keras in safe mode load it with the same output."""
    keras, path, expected = import_keras(), tmp_path / "model.keras", classifier.model(PIXELS).numpy()
    save_classifier(classifier, path)

    np.testing.assert_array_equal(load_classifier(path, pretrained=False).model(PIXELS), expected)
    np.testing.assert_array_equal(keras.saving.load_model(path, safe_mode=True)(PIXELS), expected)


BARE_KERAS = """
import sys, keras, numpy as np
for path in sys.argv[2:]:
    np.save(path + ".npy", keras.saving.load_model(path, safe_mode=True)(np.load(sys.argv[1])))
assert "cnncli" not in sys.modules
"""


@pytest.mark.slow
def test_bare_keras_loads_the_layer(classifier: Classifier, tmp_path: Path) -> None:
    """A process without cnncli loads the layer in safe mode and computes the same."""
    save_classifier(classifier, tmp_path / "model.keras")
    np.save(tmp_path / "pixels.npy", PIXELS)
    command = [sys.executable, "-c", BARE_KERAS, tmp_path / "pixels.npy", tmp_path / "model.keras"]
    subprocess.run(command, check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "model.keras.npy"), classifier.model(PIXELS))


def test_openvino_computes_the_layer(classifier: Classifier, tmp_path: Path) -> None:
    """The converted graph gives what Keras gives."""
    whole = import_keras().Model(classifier.model.inputs, classifier.model.outputs)
    convert_graph(whole, tmp_path / "trunk.xml", pixels=True)
    (found,) = OpenVinoEngine(tmp_path / "trunk.xml", "float32").run([PIXELS.astype(np.uint8)])
    assert relative(found, classifier.model(PIXELS).numpy()) < ENGINES


def test_replay_and_cut_keep_the_layer(classifier: Classifier) -> None:
    """A replayed graph gives the same; so do trunk and tail, cut above, below and in the middle of the layer."""
    keras, model = import_keras(), classifier.model
    expected = model(PIXELS).numpy()
    pixels = keras.Input((13, 11, 3))
    np.testing.assert_array_equal(keras.Model(pixels, replay(model, [pixels]))(PIXELS), expected)
    inside = [operation.name for operation in model.operations if operation.name.startswith("it")]
    for unfreeze in ("above", "below", *inside):
        cut = cut_classifier(classifier, unfreeze)
        features: Any = cut.trunk([PIXELS]) if cut.trunk else [PIXELS]
        features = features if isinstance(features, list) else [features]
        assert relative(np.asarray(cut.tail(features)), expected) < FLOAT32
    assert output_of(model, "it").shape[0] is None
