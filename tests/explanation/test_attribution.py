"""Maps of gradients equal what can be computed by hand, and find what a network looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.errors import CutError
from cnncli.explanation.attribution import Attribution, layers_with_maps, map_layers
from cnncli.explanation.gradient_rules import gradient_rule
from cnncli.explanation.units import deconvolve, feature_maps, first_filters, preferred_inputs, rule_of
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier

keras = import_keras()
SIDE = 12


def _classifier(activation: str = "relu", pooling: bool = True, seed: int = 0) -> Classifier:
    """Return a random network of two convolutions with two classes."""
    initializer = [keras.initializers.RandomNormal(stddev=0.3, seed=seed + n) for n in range(3)]
    pixels = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="preprocess_scale")(pixels)
    x = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer=initializer[0], name="conv1")(x)
    x = keras.layers.Activation(activation, name="act1")(x)
    x = keras.layers.Conv2D(5, 3, activation=activation, kernel_initializer=initializer[1], name="conv2")(x)
    x = (keras.layers.GlobalAveragePooling2D if pooling else keras.layers.Flatten)(name="head_pool")(x)
    logits = keras.layers.Dense(2, kernel_initializer=initializer[2], name="head_logits")(x)
    scores = keras.layers.Activation("softmax", name="head_probabilities")(logits)
    return Classifier(keras.Model(pixels, scores), pretrained=False)


def _image(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def _values(classifier: Classifier, layer: str, images: NDArray[Any]) -> NDArray[np.float32]:
    model = classifier.model
    return np.asarray(keras.Model(model.inputs[0], model.get_layer(layer).output)(images.astype(np.float32)))


@pytest.mark.parametrize("k", [0, 1])
def test_grad_cam_of_a_pooled_linear_head_is_the_class_activation_map(k: int) -> None:
    """Behind average pooling, the weights of Grad-CAM are those of the head (Zhou et al. 2016)."""
    classifier, image = _classifier(), _image()
    maps = _values(classifier, "conv2", image[None])[0]
    kernel = np.asarray(classifier.model.get_layer("head_logits").kernel)
    expected = np.maximum(maps @ kernel[:, k], 0)
    found = Attribution(classifier).grad_cam(image, k)

    import cv2

    enlarged = cv2.resize(expected, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found, enlarged / max(enlarged.max(), 1e-12), atol=1e-4)


def test_grad_cam_plus_plus_is_the_formula_of_the_paper() -> None:
    """Weights are sums of alpha times rectified gradients, computed here by finite differences of the maps."""
    classifier, image, k = _classifier(pooling=False), _image(3), 1
    maps = _values(classifier, "conv2", image[None])[0]
    slopes = np.asarray(classifier.model.get_layer("head_logits").kernel)[:, k].reshape(maps.shape)
    alpha = slopes**2 / (2 * slopes**2 + maps.sum(axis=(0, 1)) * slopes**3)
    heat = np.maximum((maps * (alpha * np.maximum(slopes, 0)).sum(axis=(0, 1))).sum(axis=2), 0)
    found = Attribution(classifier).grad_cam_plus_plus(image, k)

    import cv2

    enlarged = cv2.resize(heat, (SIDE, SIDE))
    np.testing.assert_allclose(found, enlarged / enlarged.max(), atol=1e-4)


@pytest.mark.parametrize("k", [0, 1])
def test_integrated_gradients_are_complete(k: int) -> None:
    """Their sum is the score of the image minus that of a black image."""
    classifier, image = _classifier(), _image(1)
    attribution = Attribution(classifier)
    scores = attribution.logits(np.stack([image, np.zeros_like(image)]))[:, k]

    assert attribution.integrated_gradients(image, k, steps=200).sum() == pytest.approx(scores[0] - scores[1], abs=2e-3)


def test_gradients_are_those_of_finite_differences() -> None:
    """The gradient by a pixel predicts how the score changes with it."""
    classifier, image = _classifier("tanh"), _image(2).astype(np.float32)
    attribution, step = Attribution(classifier), 1.0
    gradients = attribution.gradients(image[None], 0)[0]
    for place in ((0, 0, 0), (5, 7, 1), (11, 3, 2)):
        higher, lower = image.copy(), image.copy()
        higher[place] += step
        lower[place] -= step
        scores = attribution.logits(np.stack([higher, lower]))[:, 0]
        assert gradients[place] == pytest.approx((scores[0] - scores[1]) / (2 * step), rel=0.02, abs=1e-6)


def _guided_by_hand(classifier: Classifier, image: NDArray[np.uint8], k: int, is_guided: bool) -> NDArray[np.float32]:
    """Return guided gradients of the network of `_classifier` with transposed convolutions, layer by layer."""
    import tensorflow as tf

    model, images = classifier.model, image[None].astype(np.float32)
    kernels = [tf.constant(np.asarray(model.get_layer(name).kernel)) for name in ("conv1", "conv2")]
    first, second = _values(classifier, "act1", images), _values(classifier, "conv2", images)
    weights = np.asarray(model.get_layer("head_logits").kernel)[:, k]
    upstream = np.broadcast_to(weights / (second.shape[1] * second.shape[2]), second.shape)
    upstream = np.maximum(upstream, 0) * ((second > 0) if is_guided else 1.0)
    upstream = tf.nn.conv2d_transpose(tf.constant(upstream, tf.float32), kernels[1], first.shape, 1, "VALID").numpy()
    upstream = np.maximum(upstream, 0) * ((first > 0) if is_guided else 1.0)
    shape = (1, SIDE, SIDE, 3)
    return np.asarray(tf.nn.conv2d_transpose(tf.constant(upstream, tf.float32), kernels[0], shape, 1, "SAME")[0]) / 255


def test_guided_backpropagation_passes_on_only_what_raises_the_score() -> None:
    """Guided gradients are those of a backward pass that is written out by hand."""
    classifier, image = _classifier(seed=5), _image(4)
    expected = _guided_by_hand(classifier, image, 1, is_guided=True)

    np.testing.assert_allclose(Attribution(classifier).guided_backpropagation(image, 1), expected, atol=1e-7)
    assert np.abs(expected).max() > 0


def test_a_rule_changes_gradients_and_not_outputs() -> None:
    """Inside a rule, scores stay the same; after it, gradients are the usual ones again."""
    attribution = Attribution(_classifier())
    image = _image()[None].astype(np.float32)
    scores, gradients = attribution.logits(image), attribution.gradients(image, 0)
    with gradient_rule(attribution._logits, "deconvolution"):
        np.testing.assert_array_equal(attribution.logits(image), scores)
        assert not np.allclose(attribution.gradients(image, 0), gradients)
    np.testing.assert_array_equal(attribution.gradients(image, 0), gradients)


@pytest.mark.parametrize("activation", ["relu", "relu6", "silu", "gelu", "elu", "leaky_relu"])
def test_rules_work_for_every_rectifier(activation: str) -> None:
    """Guided backpropagation changes the gradients of every activation that is like a rectifier."""
    attribution, image = Attribution(_classifier(activation, seed=9)), _image()
    guided = attribution.guided_backpropagation(image, 0)

    assert np.isfinite(guided).all()
    assert not np.allclose(guided, attribution.gradients(image[None].astype(np.float32), 0)[0])


def _bright_spot_classifier(units: int) -> Classifier:
    """Return a network whose last class is the brightness of green."""
    pixels = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Conv2D(2, 1, use_bias=False, activation="relu", name="conv")(pixels)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    logits = keras.layers.Dense(units, use_bias=False, name="head_logits")(x)
    model = keras.Model(pixels, keras.layers.Activation("sigmoid", name="head_probabilities")(logits))
    model.get_layer("conv").set_weights([np.array([[[[1, 0], [0, 1], [0, 0]]]], np.float32) / 255])
    kernel = np.array([[-1.0], [1.0]]) if units == 1 else np.array([[1.0, 0.0], [0.0, 1.0]])
    model.get_layer("head_logits").set_weights([kernel.astype(np.float32)])
    return Classifier(model, pretrained=False)


METHODS: dict[str, Callable[[Attribution, NDArray[np.uint8], int], NDArray[np.float32]]] = {
    "grad-cam": Attribution.grad_cam,
    "grad-cam++": Attribution.grad_cam_plus_plus,
    "integrated": Attribution.integrated_gradients,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("units", [1, 2])
def test_each_class_has_its_own_place(method: str, units: int) -> None:
    """A red and a green spot are found for the class of each, with one score for two classes, too."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[1:4, 1:4, 0] = 255
    image[8:11, 7:10, 1] = 255
    attribution = Attribution(_bright_spot_classifier(units))
    for k, own, other in ((0, (2, 2), (9, 8)), (1, (9, 8), (2, 2))):
        found = METHODS[method](attribution, image, k)
        row, column = np.unravel_index(found.argmax(), found.shape)
        assert max(abs(row - own[0]), abs(column - own[1])) <= 1
        assert found[other] <= 0.1 * found.max()


@pytest.mark.parametrize("method", METHODS)
def test_a_single_label_is_not_explained_as_the_first_of_two_classes(method: str) -> None:
    """The only unit of one label speaks for the label: green does, red speaks against it."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[1:4, 1:4, 0] = 255
    image[8:11, 7:10, 1] = 255
    attribution = Attribution(_bright_spot_classifier(1), is_multi_label=True)
    found = METHODS[method](attribution, image, 0)
    row, column = np.unravel_index(found.argmax(), found.shape)

    assert max(abs(row - 9), abs(column - 8)) <= 1
    assert attribution.logits(image[None]).shape == (1, 1)


def test_layers_with_maps_leave_out_pixels_and_preprocessing() -> None:
    """Maps are outputs with rows and columns, above the preprocessing."""
    model = _classifier().model

    assert layers_with_maps(model) == ["conv1", "act1", "conv2"]
    assert layers_with_maps(model, activated=True) == ["act1", "conv2"]
    assert map_layers(model) == ["conv2"]


def test_a_layer_can_be_chosen_and_must_exist() -> None:
    """Grad-CAM of an earlier layer differs; an unknown layer is an error with a suggestion."""
    classifier, image = _classifier(), _image()

    assert not np.allclose(
        Attribution(classifier, "act1").grad_cam(image, 0), Attribution(classifier).grad_cam(image, 0)
    )
    with pytest.raises(CutError) as caught:
        Attribution(classifier, "conv3")
    assert caught.value.code == "cut-layer-without-maps"
    assert "conv2" in caught.value.facts["suggestions"]
    for wrong, suggestions in (("act", ("act1",)), ("onv", ("conv1", "conv2")), ("nolayer", ())):
        with pytest.raises(CutError) as caught:
            Attribution(classifier, wrong)
        assert caught.value.facts["suggestions"] == suggestions
        assert caught.value.facts["expected"] == ("conv1", "act1", "conv2")


def test_a_network_without_maps_has_no_grad_cam() -> None:
    """A linear classifier has no maps; other methods work."""
    pixels = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Flatten(name="head_flatten")(pixels)
    logits = keras.layers.Dense(2, name="head_logits")(x)
    attribution = Attribution(Classifier(keras.Model(pixels, logits), pretrained=False))

    with pytest.raises(CutError) as caught:
        attribution.grad_cam(_image(), 0)
    assert caught.value.code == "cut-no-maps"
    assert attribution.integrated_gradients(_image(), 0).shape == (SIDE, SIDE)


def test_feature_maps_are_those_before_and_after_the_activation() -> None:
    """A layer's own activation, and one that follows as a layer, are separated from what is below."""
    classifier, image = _classifier(), _image()
    first, second = feature_maps(classifier.model, ["conv1", "conv2"], image)

    assert first.before is not None
    assert second.before is not None
    np.testing.assert_array_equal(first.after, np.maximum(first.before, 0))
    np.testing.assert_array_equal(second.after, np.maximum(second.before, 0))
    np.testing.assert_array_equal(second.after, _values(classifier, "conv2", image[None])[0])
    assert (second.before < 0).any()
    assert second.after.max(axis=(0, 1))[second.strongest[0]] == second.after.max()


def test_batch_normalization_is_before_the_activation() -> None:
    """Of a convolution with batch normalization, the maps before the activation are normalized."""
    pixels = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv")(pixels)
    x = keras.layers.BatchNormalization(moving_mean_initializer="ones", name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="head_logits")(x))
    (maps,) = feature_maps(model, ["conv"], _image())

    np.testing.assert_array_equal(maps.before, _values(Classifier(model, False), "norm", _image()[None])[0])
    np.testing.assert_array_equal(maps.after, np.maximum(maps.before, 0))


def test_first_filters_are_the_kernels_of_the_first_convolution() -> None:
    """Filters are listed with their channels last."""
    classifier = _classifier()
    name, kernels = first_filters(classifier.model)

    assert name == "conv1"
    np.testing.assert_array_equal(kernels[2], np.asarray(classifier.model.get_layer("conv1").kernel)[..., 2])


def test_a_deconvolution_is_within_the_receptive_field_of_the_strongest_response() -> None:
    """A projection is zero outside of the pixels that the strongest response depends on."""
    classifier, images = _classifier(), np.stack([_image(n) for n in range(3)])
    projections, places = deconvolve(classifier.model, "conv2", 1, images)
    maps = _values(classifier, "conv2", images)[..., 1]

    for projection, (row, column), one in zip(projections, places, maps, strict=True):
        assert one[row, column] == one.max()
        outside = np.ones((SIDE, SIDE), bool)
        outside[max(0, row - 1) : row + 4, max(0, column - 1) : column + 4] = False
        assert not projection[outside].any()
        assert one.max() == 0 or projection[~outside].any()


def test_networks_without_max_pooling_use_guided_gradients() -> None:
    """Only max pooling tells a deconvolution about the image."""
    pixels = keras.Input((SIDE, SIDE, 3), name="pixels")
    pooled = keras.Model(pixels, keras.layers.MaxPooling2D(name="pool")(pixels))

    assert rule_of(_classifier().model) == "guided"
    assert rule_of(pooled) == "deconvolution"


def test_preferred_inputs_raise_their_class_and_are_reproducible() -> None:
    """The image preferred by a class has a higher score than noise; the same seed gives the same image."""
    classifier = _classifier()
    images = preferred_inputs(classifier.model, None, [0, 1], steps=40)
    again = preferred_inputs(classifier.model, None, [0, 1], steps=40)
    scores = Attribution(classifier).logits(np.concatenate([images, np.stack([_image(n) for n in range(8)])]))

    assert images.shape == (2, SIDE, SIDE, 3)
    assert scores[0, 0] > scores[2:, 0].max()
    assert scores[1, 1] > scores[2:, 1].max()
    np.testing.assert_array_equal(images, again)


def test_the_preferred_input_of_a_single_label_raises_it() -> None:
    """Without labels, the same unit is the score of the second of two classes, and the first prefers the opposite."""
    classifier = _bright_spot_classifier(1)
    logits = classifier.model.get_layer("head_logits").output
    scores = import_keras().Model(classifier.model.inputs[0], logits)
    (image,) = preferred_inputs(classifier.model, None, [0], steps=40, is_multi_label=True)
    (other,) = preferred_inputs(classifier.model, None, [0], steps=40)

    assert float(scores(image[None].astype("f4"))[0, 0]) > float(scores(other[None].astype("f4"))[0, 0])


def test_preferred_inputs_of_a_channel_raise_it() -> None:
    """With a layer, the mean of the channel is raised."""
    classifier = _classifier()
    images = preferred_inputs(classifier.model, "conv2", [3], steps=200)
    noise = np.stack([_image(n) for n in range(8)])

    assert (
        _values(classifier, "conv2", images)[..., 3].mean()
        > _values(classifier, "conv2", noise)[..., 3].mean(axis=(1, 2)).max()
    )
