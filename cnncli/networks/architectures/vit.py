"""ViT, the vision transformer: Dosovitskiy et al. 2020 (arXiv 2010.11929), with global average pooling.

The mean of all patches replaces the class token (Beyer, Zhai and Kolesnikov 2022, arXiv 2205.01580), so the output is a
map of features like that of any backbone. The bias of the projection of patches differs from patch to patch and is the
position embedding. Both save 3 · width parameters compared with the paper, and change nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnncli.errors import ConfigError, Message
from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import option_error, pooled_top
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras

LAYERS = {"keras.layers": frozenset({"EinsumDense", "MultiHeadAttention"})}
EPSILON = 1e-6
POSITION_DEVIATION = 0.02


def build(spec: NetworkSpec) -> Network:
    """Build a vision transformer; see `architectures`.

    Raises:
        ConfigError: The image is not divided by the patches, or the width not by the heads.
    """
    keras = import_keras()
    _check(spec.info.name, spec.input_shape, spec.options)
    rows, columns = (side // spec.options["patch_size"] for side in spec.input_shape[:2])
    images = keras.Input(spec.input_shape, name="input_layer")
    x = _embed(images, rows, columns, spec.options)
    for number in range(1, spec.options["depth"] + 1):
        x = _block(x, spec.options, f"block{number}")
    x = keras.layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    x = keras.layers.Reshape((rows, columns, spec.options["width"]), name="maps")(x)
    if spec.top:
        x = pooled_top(x, spec.info.top_classes)
    return Network(keras.Model(images, x, name="vit"))


def _embed(x: keras.KerasTensor, rows: int, columns: int, options: Mapping[str, Any]) -> keras.KerasTensor:
    """Cut an image into patches, and project each to a vector plus its position embedding."""
    keras, side = import_keras(), options["patch_size"]
    values = side * side * x.shape[-1]
    x = keras.layers.Reshape((rows, side, columns, side, x.shape[-1]), name="patches_split")(x)
    x = keras.layers.Permute((1, 3, 2, 4, 5), name="patches_order")(x)
    x = keras.layers.Reshape((rows * columns, values), name="patches")(x)
    return keras.layers.EinsumDense(
        "btp,pw->btw",  # batch, token (a patch), its pixels, width
        (rows * columns, options["width"]),
        bias_axes="tw",
        bias_initializer=keras.initializers.TruncatedNormal(stddev=POSITION_DEVIATION),
        name="patch_and_position_embedding",
    )(x)


def _block(x: keras.KerasTensor, options: Mapping[str, Any], name: str) -> keras.KerasTensor:
    """Add self-attention and a perceptron of four times the width, each normalized before and added to its input."""
    layers, width = import_keras().layers, options["width"]
    normal = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm1")(x)
    heads = layers.MultiHeadAttention(options["heads"], width // options["heads"], name=f"{name}_attention")
    x = layers.Add(name=f"{name}_add1")([x, heads(normal, normal)])
    normal = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm2")(x)
    hidden = layers.Dense(4 * width, activation="gelu", name=f"{name}_mlp1")(normal)
    return layers.Add(name=f"{name}_add2")([x, layers.Dense(width, name=f"{name}_mlp2")(hidden)])


def _check(name: str, input_shape: tuple[int, int, int], options: Mapping[str, Any]) -> None:
    patch_size, width, heads = options["patch_size"], options["width"], options["heads"]
    if any(side % patch_size for side in input_shape[:2]):
        expected = f"a multiple of backbone.options.patch_size ({patch_size})"
        received = list(input_shape[:2])
        text = f"data.image_size: not divided by the patches of {name} (received {received}), expected {expected}."
        facts = {"key": "data.image_size", "received": input_shape[:2], "expected": expected}
        raise ConfigError(Message("config-image-size-not-divided", text, **facts))
    if width % heads:
        raise option_error(name, "heads", heads, f"a divisor of the width {width}")
