"""EfficientNetLite0 has the architecture of the paper in its Lite variant, and the weights of its package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.errors import WeightsError
from cnncli.networks.architectures import NetworkSpec, efficientnet_lite
from cnncli.networks.architectures.efficientnet_lite import (
    PACKAGE,
    SHA256,
    build,
    load_lite0_weights,
    package_file,
)
from cnncli.networks.backend import import_keras
from cnncli.networks.preprocessing import preprocess
from cnncli.networks.weights.torch_file import read_tensors
from tests.networks.filled import features


def _network(size: int, top: bool = False) -> Any:
    return build(NetworkSpec(NETWORKS["EfficientNetLite0"], (size, size, 3), top=top)).model


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


def test_every_layer_gets_the_weights_of_the_package() -> None:
    """The tensors of the file are in the order of the layers; one that is missing would shift the others."""
    model = _network(32)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    load_lite0_weights(model)
    for layer in model.layers:
        for old, new in zip(before.get(layer.name, []), layer.get_weights(), strict=True):
            assert np.abs(old - new).max() > 0
    assert features(model, 32).std() > 0.05
    path = package_file()
    assert path is not None
    tensors = read_tensors(path.read_bytes())
    kernel = tensors["_blocks.15._depthwise_conv.weight"].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(model.get_layer("block7a_dwconv").get_weights()[0], kernel)
    np.testing.assert_array_equal(model.get_layer("top_bn").get_weights()[3], tensors["_bn1.running_var"])


def test_top_gets_the_weights_of_the_package() -> None:
    """With top, the dense layer has PyTorch's transposed kernel and its bias."""
    model = _network(32, top=True)
    load_lite0_weights(model)
    path = package_file()
    assert path is not None
    tensors = read_tensors(path.read_bytes())
    kernel, bias = model.get_layer("predictions").get_weights()
    np.testing.assert_array_equal(kernel, tensors["_fc.weight"].T)
    np.testing.assert_array_equal(bias, tensors["_fc.bias"])
    assert model.count_params() == 4_652_008 + 42_016


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package to install."""
    monkeypatch.setattr(efficientnet_lite, "package_file", lambda: None)
    with pytest.raises(WeightsError) as error:
        load_lite0_weights(None)
    assert (error.value.code, error.value.facts["package"]) == ("weights-package-missing", PACKAGE)


def test_package_is_found_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is missing or lacks its weights file gives None."""
    assert package_file() is not None
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "a_package_that_nobody_has")
    assert package_file() is None


def test_changed_file_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A weights file with an unexpected digest is not unpickled."""
    changed = tmp_path / "weights.pth"
    changed.write_bytes(b"another file")
    monkeypatch.setattr(efficientnet_lite, "package_file", lambda: changed)
    monkeypatch.setattr(efficientnet_lite, "read_tensors", lambda data: pytest.fail("was read"))
    with pytest.raises(WeightsError) as error:
        load_lite0_weights(None)
    assert error.value.code == "weights-package-modified"
    assert (error.value.facts["path"], error.value.facts["expected"]) == (changed, SHA256)


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
    load_lite0_weights(network)
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
