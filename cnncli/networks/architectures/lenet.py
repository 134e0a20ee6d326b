"""LeNet5: LeCun et al. 1998, "Gradient-based learning applied to document recognition", doi 10.1109/5.726791.

As it is built today: average pooling has no weights, and each filter of the second convolution sees all six maps. With
one channel, it has 61,706 parameters at 32 pixels, and 44,426 at 28. The paper has about 60,000.
"""

from __future__ import annotations

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, dense_top
from cnncli.networks.backend import import_keras


def build(spec: NetworkSpec) -> Network:
    """Build LeNet5; see `architectures`."""
    keras = import_keras()
    activation = spec.options["activation"]
    pooling = {"average": keras.layers.AveragePooling2D, "max": keras.layers.MaxPooling2D}[spec.options["pooling"]]
    images = keras.Input(spec.input_shape, name="input_layer")
    x = convolution(images, 6, 5, padding="valid", activation=activation, name="c1")
    x = pooling(2, name="s2")(x)
    x = convolution(x, 16, 5, padding="valid", activation=activation, name="c3")
    x = pooling(2, name="s4")(x)
    if spec.top:
        x = dense_top(x, (120, 84), spec.info.top_classes, names=("c5", "f6"), dropout=0.0, activation=activation)
    return Network(keras.Model(images, x, name="lenet5"))
