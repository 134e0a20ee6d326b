"""Weights of every format are assigned to the right layers, or nothing is changed and one line gives the reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.data_settings import DataConfig
from cnncli.config.schema import Config
from cnncli.errors import WeightsError
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier, save_classifier
from cnncli.networks.graph import replay
from cnncli.networks.preprocessing import preprocess
from tests.networks.filled import features, filled

SIDE = 32
Writer = Callable[[Any, Path], Path]


def _backbone(name: str, weights: str | Path, side: int = SIDE, **settings: Any) -> Any:
    return build_backbone(BackboneConfig(name=name, weights=str(weights), **settings), (side, side, 3), seed=3)


def _flat_classifier(backbone: Any) -> Any:
    """Return a classifier as cnncli saves it: pixels, preprocessing, backbone and head in one flat graph."""
    keras = import_keras()
    pixels = keras.Input(backbone.input_shape[1:], name="pixels")
    (x,) = replay(backbone, [preprocess(pixels, "caffe")])
    x = keras.layers.GlobalAveragePooling2D(name="head_pooling")(x)
    x = keras.layers.BatchNormalization(name="head_batch_norm")(x)
    x = keras.layers.Dense(7, name="head_dense")(x)
    return keras.Model(pixels, keras.layers.Dense(2, name="head_output")(x))


def _nested_classifier(backbone: Any) -> Any:
    """Return a classifier as in Keras's guide, with the backbone as a nested model."""
    keras = import_keras()
    pixels = keras.Input(backbone.input_shape[1:])
    x = keras.layers.GlobalAveragePooling2D()(backbone(pixels))
    return keras.Model(pixels, keras.layers.Dense(2)(x))


def _half_frozen_classifier(backbone: Any) -> Any:
    """Return a nested classifier with frozen layers, which change the order of weights in the legacy format."""
    for layer in backbone.layers[: len(backbone.layers) // 2]:
        layer.trainable = False
    return _nested_classifier(backbone)


def _sequential_classifier(backbone: Any) -> Any:
    keras = import_keras()
    return keras.Sequential([keras.Input(backbone.input_shape[1:]), backbone, keras.layers.Flatten()])


def _save(model: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def _save_legacy_weights(model: Any, path: Path) -> Path:
    """Save weights in the legacy format of Keras 2's `save_weights`."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


FORMATS: dict[str, Writer] = {
    "Keras 3 weights": lambda model, folder: _save(model, folder / "x.weights.h5"),
    "Keras 3 model": lambda model, folder: _save(model, folder / "x.keras"),
    "legacy model": lambda model, folder: _save(model, folder / "x.h5"),
    "legacy weights": lambda model, folder: _save_legacy_weights(model, folder / "x.h5"),
    "flat classifier, Keras 3 model": lambda model, folder: _save(_flat_classifier(model), folder / "x.keras"),
    "flat classifier, Keras 3 weights": lambda model, folder: _save(_flat_classifier(model), folder / "x.weights.h5"),
    "flat classifier, legacy": lambda model, folder: _save(_flat_classifier(model), folder / "x.h5"),
    "nested, Keras 3 model": lambda model, folder: _save(_nested_classifier(model), folder / "x.keras"),
    "nested, Keras 3 weights": lambda model, folder: _save(_nested_classifier(model), folder / "x.weights.h5"),
    "nested, legacy": lambda model, folder: _save(_nested_classifier(model), folder / "x.h5"),
    "half frozen, legacy": lambda model, folder: _save(_half_frozen_classifier(model), folder / "x.h5"),
    "in a Sequential": lambda model, folder: _save(_sequential_classifier(model), folder / "x.keras"),
}


QUICK = ("Keras 3 weights", "half frozen, legacy")
"""Formats that a network of keras.applications is read from in the default tier, ConvNet is from all of them."""


@pytest.fixture(scope="module")
def mobilenet() -> Any:
    """Return plain Keras's narrow MobileNet with noise as weights, built after other layers took the first names."""
    keras = import_keras()
    keras.layers.Conv2D(1, 1)(keras.Input((4, 4, 3)))
    return filled(
        keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    )


@pytest.mark.parametrize(
    "write",
    [pytest.param(FORMATS[name], id=name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FORMATS],
)
def test_features_equal_plain_keras_whatever_the_format(write: Writer, mobilenet: Any, tmp_path: Path) -> None:
    """A file of each format, written by Keras, gives the features of the original network."""
    try:
        path = write(mobilenet, tmp_path)
    finally:
        mobilenet.trainable = True
    loaded = _backbone("MobileNet", path, options={"alpha": 0.25})
    np.testing.assert_allclose(features(loaded, SIDE), features(mobilenet, SIDE), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "extension"),
    [
        pytest.param("MobileNet", {"alpha": 0.25}, "weights.h5", marks=pytest.mark.slow),
        ("MobileNet", {"alpha": 0.25}, "h5"),
        pytest.param("MobileNetV3Small", {}, "keras", marks=pytest.mark.slow),
        pytest.param("MobileNetV3Small", {}, "h5", marks=pytest.mark.slow),
        pytest.param("DenseNet121", {}, "h5", marks=pytest.mark.slow),
    ],
)
def test_imagenet_top_in_the_file_is_passed_over(
    name: str, options: dict[str, Any], extension: str, tmp_path: Path
) -> None:
    """The top in a file of the whole network is ignored, even if it has convolutions, as in MobileNets."""
    keras = import_keras()
    inside = {"include_preprocessing": False} if name.startswith("MobileNetV3") else {}
    build = getattr(keras.applications, name)
    whole = filled(build(weights=None, input_shape=(SIDE, SIDE, 3), classes=5, **options, **inside))
    loaded = _backbone(name, _save(whole, tmp_path / f"whole.{extension}"), options=options)
    maps = [layer for layer in whole.layers if layer.output.shape == loaded.output_shape]
    expected = features(keras.Model(whole.input, maps[-1].output), SIDE)
    np.testing.assert_allclose(features(loaded, SIDE), expected, rtol=1e-5, atol=1e-6)


FAMILIES = (
    *("VGG16", "ResNet50", "DenseNet121", "Xception", "InceptionV3", "NASNetMobile", "MobileNetV2"),
    *("EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"),
)


@pytest.fixture(scope="module", params=FAMILIES)
def plain(request: pytest.FixtureRequest) -> Any:
    """Return plain Keras's network of each family, with noise as weights."""
    inside = {"include_preprocessing": False} if request.param.startswith(("ConvNeXt", "EfficientNetV2")) else {}
    build = getattr(import_keras().applications, request.param)
    return request.param, filled(build(weights=None, include_top=False, input_shape=(96, 96, 3), **inside))


@pytest.mark.slow
@pytest.mark.parametrize("write", FORMATS.values(), ids=list(FORMATS))
def test_features_of_each_family_equal_plain_keras(write: Writer, plain: tuple[str, Any], tmp_path: Path) -> None:
    """Networks with generated names (Inception), nested models (ConvNeXt) or pixel statistics (EfficientNetB) load."""
    name, network = plain
    try:
        path = write(network, tmp_path)
    finally:
        network.trainable = True
    expected = features(network, 96)
    loaded = _backbone(name, path, 96)
    np.testing.assert_allclose(features(loaded, 96), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("write", FORMATS.values(), ids=list(FORMATS))
def test_our_own_networks_read_every_format(write: Writer, tmp_path: Path) -> None:
    """A ConvNet with batch normalization reads every format written by another ConvNet."""
    options = {"filters": [4, 6], "batch_norm": True}
    written = filled(_backbone("ConvNet", "none", options=options))
    loaded = _backbone("ConvNet", write(written, tmp_path), options=options)
    written.trainable = True
    np.testing.assert_array_equal(features(loaded, SIDE), features(written, SIDE))


@pytest.mark.parametrize("extension", ["weights.h5", pytest.param("h5", marks=pytest.mark.slow)])
def test_file_of_a_backbone_that_was_cut_serves_the_same_cut(extension: str, mobilenet: Any, tmp_path: Path) -> None:
    """A file of a backbone that ends early loads into a backbone that ends at the same layer."""
    early = import_keras().Model(mobilenet.input, mobilenet.get_layer("conv_pw_3_relu").output)
    path = _save(_flat_classifier(early), tmp_path / f"cut.{extension}")
    loaded = _backbone("MobileNet", path, options={"alpha": 0.25}, output_layer="conv_pw_3_relu")
    np.testing.assert_allclose(features(loaded, SIDE), features(early, SIDE), rtol=1e-5, atol=1e-6)
    with pytest.raises(WeightsError) as error:
        _backbone("MobileNet", path, options={"alpha": 0.25})
    assert (error.value.code, error.value.facts["layer"]) == ("weights-mismatch", "conv_dw_4")


def test_classifier_that_cnncli_saved_serves_as_weights(tmp_path: Path) -> None:
    """`weights: runs/…/model.keras` loads the backbone of a run and ignores its head."""
    settings = BackboneConfig(name="ConvNet", weights="none", options={"filters": [4, 6]})
    data = DataConfig(path=tmp_path, image_size=SIDE)
    classifier = build_classifier(Config(data=data, backbone=settings, seed=5), n_classes=3)
    save_classifier(classifier, tmp_path / "model.keras")
    loaded = _backbone("ConvNet", tmp_path / "model.keras", options={"filters": [4, 6]})
    ours = build_backbone(settings, (SIDE, SIDE, 3), seed=5)
    np.testing.assert_array_equal(features(loaded, SIDE), features(ours, SIDE))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        ("MobileNet", "MobileNet_notop", {}),
        pytest.param("MobileNetV2", "MobileNetV2_a035_notop", {"alpha": 0.35}, marks=pytest.mark.slow),
        pytest.param("MobileNetV2", "MobileNetV2_notop", {}, marks=pytest.mark.slow),
        pytest.param("ResNet50", "ResNet50_notop", {}, marks=pytest.mark.slow),
    ],
)
def test_real_weights_give_the_features_of_plain_keras(
    name: str, file: str, options: dict[str, Any], shared: Path
) -> None:
    """With the shared ImageNet weights, features equal those of Keras."""
    path = shared / "weights" / f"{file}.weights.h5"
    build = getattr(import_keras().applications, name)
    plain = build(weights=str(path), include_top=False, input_shape=(64, 64, 3), **options)
    expected = features(plain, 64)
    loaded = features(_backbone(name, path, 64, options=options), 64)
    np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def _written(folder: Path, extension: str, **options: Any) -> Path:
    return _save(filled(_backbone("ConvNet", "none", options=options)), folder / f"other.{extension}")


@pytest.mark.parametrize("extension", ["weights.h5", "keras", "h5"])
@pytest.mark.parametrize(
    ("options", "layer", "received"),
    [
        ({"filters": [4, 8]}, "block2_conv", [(3, 3, 4, 8), (8,)]),
        ({"filters": [4, 6], "kernel_size": 5}, "block1_conv", [(5, 5, 3, 4), (4,)]),
        ({"filters": [4]}, "block2_conv", []),
        ({"filters": [4, 6], "batch_norm": True}, "block1_conv", [(3, 3, 3, 4)]),
    ],
)
def test_first_layer_that_differs_is_named_with_both_shapes(
    options: dict[str, Any], layer: str, received: list[tuple[int, ...]], extension: str, tmp_path: Path
) -> None:
    """The error names the file, the first layer that differs, and the shapes."""
    path = _written(tmp_path, extension, **options)
    with pytest.raises(WeightsError) as error:
        _backbone("ConvNet", path, options={"filters": [4, 6]})
    shapes = {"block1_conv": [(3, 3, 3, 4), (4,)], "block2_conv": [(3, 3, 4, 6), (6,)]}
    assert error.value.codes == ("weights-mismatch",)
    assert dict(error.value.facts) == {
        "path": path,
        "network": "ConvNet",
        "layer": layer,
        "expected": shapes[layer],
        "received": received,
    }


@pytest.mark.parametrize("extension", ["weights.h5", "keras", "h5"])
def test_file_of_a_deeper_network_is_refused(extension: str, tmp_path: Path) -> None:
    """Weights that start like the network's but have more convolutions are refused."""
    path = _written(tmp_path, extension, filters=[4, 6, 8])
    with pytest.raises(WeightsError) as error:
        _backbone("ConvNet", path, options={"filters": [4, 6]})
    assert error.value.code == "weights-mismatch"
    assert (error.value.facts["expected"], error.value.facts["received"]) == (2, 3)


def test_backbone_keeps_its_weights_when_the_file_does_not_fit(tmp_path: Path) -> None:
    """If the last layer differs, the layers before it are not changed."""
    from cnncli.catalogue.networks import NETWORKS
    from cnncli.networks.weights.load import load_file

    backbone = _backbone("ConvNet", "none", options={"filters": [4, 6]})
    before = features(backbone, SIDE)
    with pytest.raises(WeightsError):
        load_file(backbone, _written(tmp_path, "weights.h5", filters=[4, 8]), NETWORKS["ConvNet"])
    np.testing.assert_array_equal(features(backbone, SIDE), before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    """NaN weights, left by training that diverged, are refused with the layer's name."""
    model = filled(_backbone("ConvNet", "none", options={"filters": [4, 6]}))
    kernel = model.get_layer("block2_conv").kernel
    kernel.assign(np.full(kernel.shape, value))
    path = _save(model, tmp_path / "x.weights.h5")
    with pytest.raises(WeightsError) as error:
        _backbone("ConvNet", path, options={"filters": [4, 6]})
    assert error.value.code == "weights-not-finite"
    assert dict(error.value.facts) == {"path": path, "layer": "block2_conv"}


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_precisions_are_converted(dtype: str, tmp_path: Path) -> None:
    """Half, double and bfloat16 weights are converted; Keras stores bfloat16 as raw bytes."""
    keras = import_keras()
    written = filled(_backbone("ConvNet", "none", options={"filters": [4]}))
    with warnings.catch_warnings():
        twin = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(4, 3, dtype=dtype)])
    twin.layers[0].set_weights(written.get_layer("block1_conv").get_weights())
    path = _save(twin, tmp_path / "x.weights.h5")
    loaded = _backbone("ConvNet", path, options={"filters": [4]}).get_layer("block1_conv").get_weights()
    for value, expected in zip(loaded, written.get_layer("block1_conv").get_weights(), strict=True):
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected, rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "means", "wants"),
    [
        ("EfficientNetB0", (0.485, 0.456, 0.406), True),
        ("EfficientNetB0", (0.0, 0.0, 0.0), False),
        ("MobileNet", (0.485, 0.456, 0.406), False),
    ],
)
@pytest.mark.parametrize("extension", ["weights.h5", "h5"])
def test_file_with_imagenet_statistics_asks_for_the_graph_of_imagenet_weights(
    name: str, means: tuple[float, ...], wants: bool, extension: str, tmp_path: Path
) -> None:
    """EfficientNetB0–B7 get an additional layer exactly if the file descends from ImageNet weights."""
    from cnncli.catalogue.networks import NETWORKS
    from cnncli.networks.weights.load import wants_imagenet_graph

    keras = import_keras()
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Normalization(), keras.layers.Conv2D(2, 3)])
    model.layers[0].adapt_mean.assign(means)
    config = BackboneConfig(name=name, weights=str(_save(model, tmp_path / f"x.{extension}")))
    assert wants_imagenet_graph(NETWORKS[name], config) is wants


def test_random_weights_depend_on_the_seed_alone() -> None:
    """Random weights depend only on the seed, not on models built before."""
    options = {"filters": [4, 6]}
    first = _backbone("ConvNet", "none", options=options)
    import_keras().layers.Conv2D(3, 3)(import_keras().Input((9, 9, 3)))
    again = _backbone("ConvNet", "none", options=options)
    other = build_backbone(BackboneConfig(name="ConvNet", weights="none", options=options), (32, 32, 3), 4)
    np.testing.assert_array_equal(features(first, SIDE), features(again, SIDE))
    assert np.abs(features(first, SIDE) - features(other, SIDE)).max() > 0
