"""EfficientNetLite0 has the architecture of the paper in its Lite form."""

from __future__ import annotations

from cnncli.networks.architectures.efficientnet_lite import GROUPS, block_names, build_efficientnet_lite0
from cnncli.networks.backend import import_keras


def test_blocks_follow_the_table_of_the_paper() -> None:
    """Sixteen blocks in seven groups, with the strides, kernels and filters of EfficientNet-B0."""
    model = build_efficientnet_lite0((224, 224, 3))
    assert block_names()[:4] == ("block1a_", "block2a_", "block2b_", "block3a_")
    assert len(block_names()) == sum(group.blocks for group in GROUPS) == 16
    outputs = [model.get_layer(f"{name}project_bn").output.shape[1:] for name in block_names()]
    assert [shape[0] for shape in outputs] == [112] + [56] * 2 + [28] * 2 + [14] * 6 + [7] * 5
    assert [shape[2] for shape in outputs] == [16] + [24] * 2 + [40] * 2 + [80] * 3 + [112] * 3 + [192] * 4 + [320]
    kernels = [model.get_layer(f"{name}dwconv").kernel_size[0] for name in block_names()]
    assert kernels == [3] * 3 + [5] * 2 + [3] * 3 + [5] * 7 + [3]
    assert model.output_shape == (None, 7, 7, 1280)


def test_lite_form_has_relu6_and_nothing_that_squeezes() -> None:
    """No pooling inside, no multiplication, no swish; only the nine blocks that keep their shape are added to."""
    layers = import_keras().layers
    model = build_efficientnet_lite0((64, 64, 3))
    kinds = {type(layer) for layer in model.layers}
    expected = {layers.InputLayer, layers.Conv2D, layers.DepthwiseConv2D, layers.BatchNormalization, layers.ReLU}
    assert kinds == expected | {layers.Add}
    assert {layer.max_value for layer in model.layers if isinstance(layer, layers.ReLU)} == {6.0}
    assert {layer.epsilon for layer in model.layers if isinstance(layer, layers.BatchNormalization)} == {1e-3}
    assert sum(isinstance(layer, layers.Add) for layer in model.layers) == 9


def test_layers_are_named_as_in_keras_efficientnet() -> None:
    """A name that EfficientNetB0 has too means the same place."""
    keras = import_keras()
    ours = {layer.name for layer in build_efficientnet_lite0((64, 64, 3)).layers}
    theirs = {layer.name for layer in keras.applications.EfficientNetB0(weights=None, include_top=False).layers}
    assert ours - theirs <= {"input_layer"}
