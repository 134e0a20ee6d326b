"""The numbers of layers, compared with those of a course and with Keras."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from cnncli.networks.arithmetic import LayerNumbers, count_layers
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import channel_shuffle, local_response_normalization, locally_connected, pool

keras = import_keras()
layers = keras.layers


def numbers(shape: Sequence[int], *stack: Any) -> list[LayerNumbers]:
    """Return the numbers of a stack of layers, without those of the input."""
    images = keras.Input(tuple(shape))
    x = images
    for layer in stack:
        x = layer(x)
    return list(count_layers(keras.Model(images, x)))[1:]


def conv(filters: int, kernel: Any, stride: int = 1, padding: str = "valid", **more: Any) -> Any:
    """Return a convolution with an activation inside."""
    return layers.Conv2D(filters, kernel, stride, padding, activation="relu", **more)


def named(name: str, layer: Any) -> Any:
    """Return the layer with a name."""
    layer.name = name
    return layer


def alexnet() -> list[LayerNumbers]:
    """Return the numbers of AlexNet in the course's table: one tower, 227 px, padding 2 in the first layer."""
    stack = [
        *(layers.ZeroPadding2D(2), named("conv1", conv(64, 11, 4)), named("pool1", layers.MaxPooling2D(3, 2))),
        *(named("conv2", conv(192, 5, padding="same")), named("pool2", layers.MaxPooling2D(3, 2))),
        *(named("conv3", conv(384, 3, padding="same")), named("conv4", conv(256, 3, padding="same"))),
        *(named("conv5", conv(256, 3, padding="same")), named("pool5", layers.MaxPooling2D(3, 2))),
        *(named("flatten", layers.Flatten()), named("fc6", layers.Dense(4096)), named("fc7", layers.Dense(4096))),
        named("fc8", layers.Dense(1000)),
    ]
    return [layer for layer in numbers((227, 227, 3), *stack) if layer.type != "ZeroPadding2D"]


def thousands(found: Sequence[LayerNumbers], name: str) -> list[int]:
    """Return a number of each layer in thousands."""
    return [round(getattr(layer, name) / 1000) for layer in found]


def memory(found: Sequence[LayerNumbers], *kinds: str) -> float:
    """Return the memory of layers of some kinds in MB of 1,024 KB."""
    return sum(layer.memory_kb for layer in found if layer.kind in kinds) / 1024


def test_the_table_of_the_mnist_network() -> None:
    """Row 76: output sizes and parameters with biases of the convolutional part, 55,744 in all."""
    found = numbers((28, 28, 1), conv(32, 3), layers.MaxPooling2D(), conv(64, 3), layers.MaxPooling2D(), conv(64, 3))

    assert [(*layer.output_shape, layer.parameters) for layer in found] == [
        (26, 26, 32, 320),
        (13, 13, 32, 0),
        (11, 11, 64, 18_496),
        (5, 5, 64, 0),
        (3, 3, 64, 36_928),
    ]
    assert sum(layer.parameters for layer in found) == 55_744


def test_the_memory_of_alexnet() -> None:
    """Row 77: memory in KB of each layer of AlexNet."""
    found = alexnet()

    assert [layer.name for layer in found][:2] == ["conv1", "pool1"]
    assert [int(layer.memory_kb + 0.5) for layer in found] == [784, 182, 547, 127, 254, 169, 169, 36, 36, 16, 16, 4]
    assert memory(found, "weights") == pytest.approx(1.9, abs=0.05)  # W6: 2.25 with pooling
    assert memory(found, "weights", "pooling") == pytest.approx(2.25, abs=0.005)


def test_the_parameters_of_alexnet_without_biases() -> None:
    """Row 78 and W8, W15: thousands of parameters without biases, and the total with and without them."""
    found = [layer for layer in alexnet() if layer.parameters]

    counts = [round((layer.parameters - layer.biases) / 1000) for layer in found]
    assert counts == [23, 307, 664, 885, 590, 37_749, 16_777, 4_096]
    assert sum(layer.parameters for layer in found) == 61_100_840
    assert sum(layer.parameters - layer.biases for layer in found) == 61_090_496
    assert found[5].parameters == 37_752_832


def test_the_multiply_adds_of_alexnet() -> None:
    """Row 79 and W1: millions of multiply-adds; the fourth convolution has 149.5, not 145."""
    found = {layer.name: layer for layer in alexnet()}

    weighted = [layer for layer in found.values() if layer.kind == "weights"]
    assert [round(layer.multiply_adds / 1e6) for layer in weighted] == [73, 224, 112, 150, 100, 38, 17, 4]
    assert found["conv4"].multiply_adds == 149_520_384
    assert all(found[name].multiply_adds < 500_000 for name in ("pool1", "pool2", "pool5", "flatten"))
    assert sum(layer.multiply_adds for layer in weighted) == pytest.approx(716.8e6, abs=5e4)
    assert sum(layer.multiply_adds for layer in found.values()) == pytest.approx(717.6e6, abs=5e4)


def test_the_columns_of_a_layer_table() -> None:
    """Row 80: input, filters, kernel, stride, padding and output; a padding layer counts as padding of the next."""
    first = alexnet()[0]

    assert first.input_shape == (227, 227, 3)
    assert (first.kernel, first.stride, first.padding) == ((11, 11), (4, 4), ((2, 2), (2, 2)))
    assert first.output_shape == (56, 56, 64)
    assert first.formulas["output"] == "(227 − 11 + 2·2)/4 + 1 = 56"
    assert first.formulas["without_biases"] == "11·11·3·64 = 23,232"


def vgg16() -> list[LayerNumbers]:
    """Return the numbers of VGG16, whose top is built by hand to save its memory."""
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    return list(count_layers(model))


def test_the_table_of_vgg16() -> None:
    """Row 82 and W4, W5: memory and parameters without biases of VGG-16's convolutions, as in the course's list."""
    found = vgg16()
    counts = [layer.parameters - layer.biases for layer in found if layer.parameters]

    assert counts == [
        *(1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648),
        *[2_359_296] * 5,
    ]
    values = [round(layer.memory_kb * 256) for layer in found]
    assert [f"{value / 1e6:.1f}M" for value in values[1:7]] == ["3.2M", "3.2M", "0.8M", "1.6M", "1.6M", "0.4M"]
    dense = 4096 + 4096 + 1000
    assert sum(values) + dense == 15_237_608
    assert memory(found, "weights") + 4 * dense / 2**20 == pytest.approx(51.7, abs=0.05)
    assert memory(found, "weights", "pooling") + 4 * dense / 2**20 == pytest.approx(57.55, abs=0.05)


def test_the_multiply_adds_of_vgg16() -> None:
    """Row 83, W4 and W9: 15.470 G, 15.476 G with pooling; to 28 px, 9,335 M and 1,734,336 weights."""
    found = vgg16()
    dense = 25_088 * 4_096 + 4_096 * 4_096 + 4_096 * 1_000
    weighted = sum(layer.multiply_adds for layer in found if layer.kind == "weights") + dense
    to_28 = found[: [layer.name for layer in found].index("block3_pool") + 1]

    assert weighted == 15_470_264_320
    assert round((weighted + sum(layer.multiply_adds for layer in found if layer.kind == "pooling")) / 1e6) == 15_476
    assert round(sum(layer.multiply_adds for layer in to_28 if layer.kind == "weights") / 1e6) == 9_335
    assert sum(layer.parameters - layer.biases for layer in to_28) == 1_734_336
    assert memory(to_28, "weights") == pytest.approx(45.9, abs=0.05)
    assert memory(to_28, "weights", "pooling") == pytest.approx(51.3, abs=0.06)


def test_the_stem_of_googlenet() -> None:
    """Row 84 and W3: memory, parameters and multiply-adds of five layers; the total is 481 M, not 418 M."""
    found = numbers(
        (224, 224, 3),
        *(conv(64, 7, 2, "same"), layers.MaxPooling2D(3, 2, "same"), conv(64, 1), conv(192, 3, padding="same")),
        layers.MaxPooling2D(3, 2, "same"),
    )

    assert [layer.memory_kb for layer in found] == [3136, 784, 784, 2352, 588]
    assert [round((layer.parameters - layer.biases) / 1000) for layer in found] == [9, 0, 4, 111, 0]
    assert thousands(found, "multiply_adds") == [118_014, 1_806, 12_845, 346_817, 1_355]
    assert sum(layer.multiply_adds for layer in found) == pytest.approx(480.8e6, abs=5e4)
    assert sum(layer.multiply_adds for layer in found if layer.kind == "weights") == pytest.approx(477.7e6, abs=5e4)
    assert sum(layer.parameters - layer.biases for layer in found) == pytest.approx(124_000, abs=500)
    assert memory(found, "weights", "pooling") == pytest.approx(7.46, abs=0.01)
    assert memory(found, "weights") == pytest.approx(6.1, abs=0.05)
    assert found[-1].output_shape == (28, 28, 192)


def test_the_end_of_googlenet() -> None:
    """Row 85 and W7: the average pooling has 4 KB; the dense layer has 1,025K parameters with biases, and 4 KB."""
    pool, dense = numbers((7, 7, 1024), layers.GlobalAveragePooling2D(), layers.Dense(1000))

    assert pool.memory_kb == 4
    assert pool.kernel == (7, 7)
    assert (dense.parameters, dense.multiply_adds) == (1_025_000, 1_024_000)
    assert round(dense.memory_kb) == 4


def test_the_memory_of_one_unit_is_not_zero() -> None:
    """Small numbers of KB have two significant digits."""
    (found,) = numbers((3,), layers.Dense(1))

    assert found.formulas["memory"] == "1·4/1,024 = 0.0039 KB"


def test_the_end_of_vgg16() -> None:
    """Row 85: memory, parameters without biases and multiply-adds of VGG-16's flatten and last dense layer."""
    flatten, last = numbers((7, 7, 512), layers.Flatten(), layers.Dense(10))

    assert flatten.memory_kb == 98
    assert last.formulas["multiply_adds"] == "25,088·10 = 250,880"


def test_the_stem_of_resnet() -> None:
    """Row 86: the convolution has 3,136 KB, 9K parameters and 118 M multiply-adds, the pooling 784 KB, 0 and 2 M."""
    first, pool = numbers((224, 224, 3), conv(64, 7, 2, "same"), layers.MaxPooling2D(3, 2, "same"))

    assert (first.memory_kb, first.parameters - first.biases, first.multiply_adds) == (3136, 9_408, 118_013_952)
    assert (pool.memory_kb, pool.parameters, pool.multiply_adds) == (784, 0, 1_806_336)


def inception(bottleneck: int | None) -> tuple[LayerNumbers, ...]:
    """Return the numbers of an inception module on 28×28×256, with or without 1×1 convolutions before the others."""
    images = keras.Input((28, 28, 256))

    def narrow(x: Any) -> Any:
        return conv(bottleneck, 1)(x) if bottleneck else x

    pooled = layers.MaxPooling2D(3, 1, "same")(images)
    branches = [
        conv(128, 1)(images),
        conv(192, 3, padding="same")(narrow(images)),
        conv(96, 5, padding="same")(narrow(images)),
        narrow(pooled),
    ]
    return count_layers(keras.Model(images, layers.Concatenate()(branches)))


def test_the_cost_of_an_inception_module() -> None:
    """Row 87 and W2: 854,196,224 multiply-adds as such, 271,351,808 with bottlenecks of 64 filters, not 358 M."""
    naive, narrow = inception(None), inception(64)

    assert naive[-1].output_shape == (28, 28, 672)
    assert sum(layer.multiply_adds for layer in naive if layer.kind == "weights") == 854_196_224
    assert sum(layer.multiply_adds for layer in narrow if layer.kind == "weights") == 271_351_808
    assert narrow[-1].receptive_field == (5, 5)


@pytest.mark.parametrize(
    ("layer", "products"),
    [
        (conv(32, 1), 401_408),
        (conv(64, 3, padding="same"), 7_225_344),
        (conv(8, 5, padding="same"), 2_508_800),
        (conv(64, 5, padding="same"), 20_070_400),
        (layers.MaxPooling2D(2, 1, "same"), 50_176),
    ],
    ids=["32@1x1", "64@3x3", "8@5x5", "64@5x5", "pool"],
)
def test_the_most_expensive_branch(layer: Any, products: int) -> None:
    """Rows 88 and 208, W34: the multiply-adds of each branch on 28×28×16."""
    (found,) = numbers((28, 28, 16), layer)

    assert found.multiply_adds == products


def test_a_bottleneck_costs_less() -> None:
    """Rows 18 and 89: with 256 channels, 1×1, 3×3 and 1×1 over 64 channels cost a ninth of one 3×3 convolution."""
    whole = numbers((56, 56, 256), conv(256, 3, padding="same"))
    narrow = numbers((56, 56, 256), conv(64, 1), conv(64, 3, padding="same"), conv(256, 1))

    assert sum(layer.multiply_adds for layer in narrow) == 56 * 56 * (2 * 256 * 64 + 9 * 64 * 64)
    assert whole[0].multiply_adds / sum(layer.multiply_adds for layer in narrow) == pytest.approx(8.47, abs=0.01)


@pytest.mark.parametrize("side", [32, 200])
def test_the_weights_of_one_neuron(side: int) -> None:
    """Row 93: a neuron that sees a whole RGB image has 3,072 weights at 32 px and 120,000 at 200 px."""
    _, dense = numbers((side, side, 3), layers.Flatten(), layers.Dense(1))

    assert dense.parameters - dense.biases == {32: 3_072, 200: 120_000}[side]


def test_the_formula_of_ten_filters() -> None:
    """Row 94 and W32: ten 5×5 filters on RGB have (5·5·3 + 1)·10 = 760 parameters."""
    padding, found = numbers((32, 32, 3), layers.ZeroPadding2D(2), conv(10, 5))

    assert padding.multiply_adds == 0
    assert found.formulas["parameters"] == "(5·5·3 + 1)·10 = 760"
    assert found.formulas["output"] == "(32 − 5 + 2·2)/1 + 1 = 32"


def test_the_weights_of_twenty_filters() -> None:
    """Row 95: twenty 5×5 filters on RGB have 1,500 weights, and 1,520 parameters with biases."""
    (found,) = numbers((32, 32, 3), conv(20, 5, padding="same"))

    assert found.output_shape == (32, 32, 20)
    assert (found.parameters - found.biases, found.parameters) == (1_500, 1_520)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "output"),
    [
        (9, 3, 1, 0, 7),
        (7, 3, 2, 0, 3),
        (7, 3, 1, 1, 7),
        (32, 5, 1, 0, 28),
        (28, 5, 1, 0, 24),
        (227, 11, 4, 0, 55),
        (5, 3, 1, 0, 3),
        (5, 3, 1, 1, 5),
    ],
)
def test_the_formula_of_the_output_size(side: int, kernel: int, stride: int, padding: int, output: int) -> None:
    """Rows 75, 96 and 97: (N − F + 2P)/S + 1 is the size that Keras computes."""
    found = numbers((side, side, 3), layers.ZeroPadding2D(padding), conv(6, kernel, stride))[-1]
    formula, size = found.formulas["output"].split(" = ")

    assert found.output_shape == (output, output, 6)
    assert (eval(formula.replace("−", "-").replace("·", "*")), int(size)) == (output, output)


def test_receptive_fields_grow_with_depth_stride_and_dilation() -> None:
    """Row 98: L layers of K×K see 1 + L(K − 1) pixels; stride and dilation enlarge that."""

    def seen(*stack: Any) -> tuple[int, int]:
        return numbers((64, 64, 1), *stack)[-1].receptive_field

    assert [seen(*[conv(2, 3) for _ in range(n)])[0] for n in (1, 2, 3)] == [3, 5, 7]
    assert seen(conv(2, 5)) == seen(conv(2, 3), conv(2, 3))
    assert seen(conv(2, 3, 2), conv(2, 3)) == (7, 7)
    assert seen(conv(2, 3, dilation_rate=2)) == (5, 5)
    assert seen(conv(2, (1, 7))) == (1, 7)
    two, one = numbers((64, 64, 8), conv(8, 3), conv(8, 3)), numbers((64, 64, 8), conv(8, 5))
    assert sum(layer.parameters for layer in two) < sum(layer.parameters for layer in one)


def test_the_receptive_fields_of_vgg16() -> None:
    """Row 98: the last pooling of VGG16 sees 212 pixels, as published (distill.pub, Araujo et al. 2019)."""
    assert vgg16()[-1].receptive_field == (212, 212)


def test_the_field_of_merged_branches_is_the_largest() -> None:
    """A shortcut does not shrink the receptive field, and a dense layer sees the whole image."""
    images = keras.Input((16, 16, 2))
    x = layers.Add()([images, conv(2, 3, padding="same")(images)])
    found = count_layers(keras.Model(images, layers.Dense(3)(layers.Flatten()(x))))

    assert [layer.receptive_field for layer in found] == [(1, 1), (3, 3), (3, 3), (18, 18), (18, 18)]
    assert found[2].inputs == (0, 1)


@pytest.mark.parametrize("padded", ["pooling", "before an activation"])
def test_branches_with_padding_layers_see_the_same_pixels(padded: str) -> None:
    """Padding in a layer of its own moves windows as `same` does, whatever is between the two."""
    images = keras.Input((16, 16, 2))
    if padded == "pooling":
        x = pool(images, "max", 3, 1, 1, name="pool")
    else:
        x = conv(2, 3)(layers.ReLU()(layers.ZeroPadding2D(1)(images)))
    found = count_layers(keras.Model(images, layers.Add()([x, conv(2, 3, padding="same")(images)])))

    assert found[-1].receptive_field == (3, 3)


def test_padding_of_a_pooling_is_in_its_formula() -> None:
    """Rows 75 and 96: padding by an operation of Keras is shown as padding of the pooling that directly follows."""
    images = keras.Input((112, 112, 2))
    pooled = count_layers(keras.Model(images, pool(images, "max", 3, 2, 1, name="pool")))[-1]
    relu = numbers((8, 8, 2), layers.ZeroPadding2D(1), layers.ReLU(), conv(2, 3))

    assert pooled.formulas["output"] == "⌊(112 − 3 + 2·1)/2⌋ + 1 = 56"
    assert (pooled.padding, pooled.input_shape) == (((1, 1), (1, 1)), (112, 112, 2))
    assert [layer.input_shape[0] for layer in relu] == [8, 10, 10]
    assert relu[-1].padding == ((0, 0), (0, 0))


def test_patches_have_no_receptive_field_until_attention() -> None:
    """Layers that cut an image into patches hide which pixels a value sees, until attention sees all of them."""
    images = keras.Input((16, 16, 3))
    x = layers.Reshape((2, 8, 2, 8, 3))(images)
    x = layers.Reshape((4, 192))(layers.Permute((1, 3, 2, 4, 5))(x))
    tokens = layers.Dense(6)(x)
    x = layers.Add()([tokens, layers.MultiHeadAttention(2, 3)(tokens, tokens)])
    found = count_layers(keras.Model(images, layers.Reshape((2, 2, 6))(x)))

    assert [layer.receptive_field for layer in found] == [(1, 1), None, None, None, None, (16, 16), (16, 16), (16, 16)]


def test_a_channel_shuffle_keeps_the_receptive_field() -> None:
    """Shuffled channels remain in their places, and gates of channels see the whole image."""
    images = keras.Input((8, 8, 4))
    x = channel_shuffle(conv(4, 3, padding="same")(images), 2, name="shuffle")
    gates = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(x))
    found = count_layers(keras.Model(images, layers.Multiply()([x, gates])))

    assert [layer.receptive_field for layer in found] == [(1, 1), *4 * [(3, 3)], *3 * [(10, 10)]]


def test_connections_of_a_dense_block() -> None:
    """Row 99 and W17: a block of L layers has L(L + 1)/2 connections, with those from its input; L(L − 1)/2 without."""
    images = keras.Input((8, 8, 4))
    maps = [images]
    for _ in range(5):
        joined = layers.Concatenate()(maps) if len(maps) > 1 else images
        maps.append(conv(4, 3, padding="same")(joined))
    found = count_layers(keras.Model(images, layers.Concatenate()(maps)))
    joined = [len(layer.inputs) for layer in found if layer.type == "Concatenate"]

    assert 1 + sum(joined[:-1]) == 5 * 6 // 2
    assert sum(joined[:-1]) - 4 == 5 * 4 // 2


def test_depthwise_separable_convolutions() -> None:
    """Row 56 and W19: 16 to 32 channels take 4,608 weights, or 144 + 512 = 656 if they are separable."""
    (whole,) = numbers((8, 8, 16), conv(32, 3, use_bias=False))
    depthwise, pointwise = numbers((8, 8, 16), layers.DepthwiseConv2D(3, use_bias=False), conv(32, 1, use_bias=False))
    (separable,) = numbers((8, 8, 16), layers.SeparableConv2D(32, 3, use_bias=False))

    assert whole.parameters == 4_608
    assert (depthwise.parameters, pointwise.parameters, separable.parameters) == (144, 512, 656)
    assert separable.formulas["parameters"] == "3·3·16 + 1·1·16·32 = 656"
    assert separable.multiply_adds == depthwise.multiply_adds + pointwise.multiply_adds == 36 * 656
    assert depthwise.groups == 16


def test_groups_divide_the_channels() -> None:
    """Row 4: with two groups, each filter sees half of the channels."""
    (found,) = numbers((27, 27, 96), conv(256, 5, padding="same", groups=2))

    assert found.groups == 2
    assert found.formulas["parameters"] == "(5·5·48 + 1)·256 = 307,456"
    assert found.multiply_adds == 27 * 27 * 256 * 5 * 5 * 48


@pytest.mark.parametrize("operation", ["average_pool", "max_pool"])
def test_operations_count_as_layers_do(operation: str) -> None:
    """Pooling by an operation of Keras counts as pooling by a layer."""
    images = keras.Input((8, 8, 3))
    found = count_layers(keras.Model(images, getattr(keras.ops, operation)(images, 3, 2, "same")))[-1]

    assert (found.kind, found.kernel, found.stride, found.padding) == ("pooling", (3, 3), (2, 2), ((0, 1), (0, 1)))
    assert found.multiply_adds == 4 * 4 * 3 * 9


def test_attention_counts_projections_and_products() -> None:
    """Attention has four projections and two products of all tokens with all others."""
    tokens = keras.Input((10, 8))
    found = count_layers(keras.Model(tokens, layers.MultiHeadAttention(2, 4)(tokens, tokens)))[-1]

    assert found.multiply_adds == 4 * 10 * 8 * 8 + 2 * 10 * 10 * 8
    assert found.parameters == 4 * (8 * 8 + 8)


def test_layers_that_are_used_twice_are_counted_once() -> None:
    """A shared layer's parameters count once, its multiply-adds each time."""
    images, shared = keras.Input((8, 8, 3)), conv(3, 3, padding="same")
    model = keras.Model(images, shared(shared(images)))
    found = count_layers(model)

    assert [layer.parameters for layer in found] == [0, 84, 0]
    assert found[1].multiply_adds == found[2].multiply_adds > 0


def test_nested_models_are_listed_layer_by_layer() -> None:
    """The layers of nested models are counted as if they were in the outer model."""
    inner = keras.Sequential([conv(4, 3), conv(4, 3)])
    images = keras.Input((8, 8, 3))
    found = count_layers(keras.Model(images, layers.Flatten()(inner(images))))

    assert [layer.type for layer in found] == ["InputLayer", "Conv2D", "Conv2D", "Flatten"]
    assert found[-1].receptive_field == (8, 8)


def test_layers_made_of_others_count_as_what_they_compute() -> None:
    """Rows 41 and 65: a locally connected layer sees its window; normalization over channels pools no pixels."""
    images = keras.Input((9, 9, 4))
    local = count_layers(keras.Model(images, locally_connected(images, 2, 3, name="local")))[-1]
    normal = count_layers(keras.Model(images, local_response_normalization(images, name="lrn")))

    assert (local.receptive_field, local.kind) == ((3, 3), "weights")
    assert local.multiply_adds == 7 * 7 * 9 * 4 * 2
    assert local.formulas["parameters"] == "7·7·(36 + 1)·2 = 3,626"
    assert {layer.receptive_field for layer in normal} == {(1, 1)}
    assert sum(layer.multiply_adds for layer in normal) == 0


def arithmetic(formula: str) -> tuple[float, float]:
    """Evaluate both sides of a formula."""
    left, right = re.sub(r"(?<=\d),(?=\d)", "", formula).removesuffix(" KB").rsplit(" = ", 1)
    left = re.sub(r"⌊\((.*?)\)/(\d+)⌋", r"((\1)//\2)", left.replace("−", "-")).replace("·", "*")
    return eval(left), float(right)


def test_local_response_normalization_is_one_layer() -> None:
    """Row 65: the six operations of LRN are one row, whose input is the layer before, with the memory of its output."""
    images = keras.Input((8, 8, 6), name="images")
    before = keras.layers.Conv2D(6, 3, padding="same", name="conv")(images)
    normalized = local_response_normalization(before, name="norm")
    after = keras.layers.Add(name="sum")([before, local_response_normalization(normalized, name="again")])
    found = count_layers(keras.Model(images, after))
    lines = {layer.name: layer for layer in found}

    assert [(layer.name, layer.type) for layer in found] == [
        ("images", "InputLayer"),
        ("conv", "Conv2D"),
        ("norm", "LRN"),
        ("again", "LRN"),
        ("sum", "Add"),
    ]
    assert [layer.inputs for layer in found] == [(), (0,), (1,), (2,), (1, 3)]
    assert lines["norm"].input_shape == lines["norm"].output_shape == (8, 8, 6)
    assert (lines["norm"].memory_kb, lines["norm"].parameters, lines["norm"].multiply_adds) == (1.5, 0, 0)
    assert (lines["norm"].kind, lines["norm"].receptive_field) == ("other", (3, 3))


@pytest.mark.parametrize("name", ["MobileNet", pytest.param("DenseNet121", marks=pytest.mark.slow)])
def test_the_formulas_are_true(name: str) -> None:
    """Both sides of each formula are equal, and the parameters are those that Keras counts."""
    model = getattr(keras.applications, name)(weights=None)
    found = count_layers(model)

    formulas = [text for layer in found for text in layer.formulas.values()]
    assert len(formulas) > 200
    for text in formulas:
        left, right = arithmetic(text)
        assert left == pytest.approx(right, abs=0.006), text
    assert sum(layer.parameters for layer in found) == model.count_params()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "products"),
    [("ResNet50", 3_857_973_248), ("ResNet101", 7_570_194_432), ("ResNet152", 11_282_415_616)],
)
def test_the_multiply_adds_of_resnets(name: str, products: int) -> None:
    """Row 90 and W10: 3.858, 7.570 and 11.282 G, which the table cuts off to 3.8, 7.6 (rounded) and 11.3."""
    found = count_layers(getattr(keras.applications, name)(weights=None))

    assert sum(layer.multiply_adds for layer in found if layer.kind == "weights") == products
