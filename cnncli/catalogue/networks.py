"""Networks for configs, with sizes, parameter counts and preprocessing. Does not import TensorFlow.

Parameters and depth are those of Keras 3.15, as tests confirm by building the networks. Sizes and ImageNet accuracies
are from the Keras documentation (keras.io/api/applications), for MobileNetV3 from the table in its docstring. Where
that has no depth, layers with parameters are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cnncli.catalogue.blocks import BLOCKS_DOC, Blocks, ConvNetActivation
from cnncli.catalogue.settings import BelowOne, Count, Counts, Option, Positive, with_defaults

MODEL_SUFFIX = ".keras"
MAX_DESCRIPTION_BYTES = 16 * 2**20
"""Maximum size of the description of a saved model."""

Preprocessing = Literal["scale", "scale128", "caffe", "torch", "none"] | tuple[float, float]
"""Conversion of pixels x in 0–255 to the input of the network. scale: x/127.5 − 1 · scale128: x/128 − 1 · caffe:
RGB→BGR, ImageNet means subtracted · torch: x/255, then ImageNet mean and deviation · none: x · (a, b): a·x + b"""


@dataclass(frozen=True)
class NetworkInfo:
    """Facts about a network that are known before it is built.

    Attributes:
        name: Name in configs; for keras.applications, the name of the function.
        parameters: Number of parameters with the ImageNet top of 1,000 classes (ConvNet: only the backbone, with
            default options); `notop_parameters` is that of the backbone.
        size_mb: Size of the weights with top, in MB.
        depth: Number of layers with parameters, or None if it depends on the options.
        top1, top5: ImageNet validation accuracy in percent, or None if not published.
        input_size, min_size: Default and minimum height and width in pixels.
        weights_file: Name of Keras's file of ImageNet weights without top, with default options.
        has_imagenet: Whether ImageNet weights are published for at least some options.
        module: Module of `cnncli.networks.architectures` that builds it.
        file: Path of the saved model that contains the network, for networks outside the catalogue.
        top_convolutions: Number of convolutions in its ImageNet top (other top layers are dense).
        top_classes: Number of classes of its published top; 0: it has none.
        top_layers: Layers of its top, from input to output, that `backbone.include_top_layers` can keep.
        channels: Channels of the images for which parameters are counted.
    """

    name: str
    parameters: int
    notop_parameters: int
    size_mb: float
    depth: int | None
    top1: float | None
    top5: float | None
    input_size: int
    preprocessing: Preprocessing
    min_size: int
    options: Mapping[str, Option] = field(default_factory=dict)
    weights_file: str | None = None
    has_imagenet: bool = True
    module: str = "keras_applications"
    top_convolutions: int = 0
    top_classes: int = 1000
    top_layers: tuple[str, ...] = ()
    channels: int = 3
    file: str | None = None

    @property
    def trained_channels(self) -> int:
        """Number of channels that pretrained weights take: those of a saved model, or three."""
        return self.channels if self.file else 3

    def imagenet_problem(self, options: Mapping[str, Any]) -> str | None:
        """Return the reason why there are no ImageNet weights for these options, or None if there are."""
        if not self.has_imagenet:
            return f"{self.name} has no ImageNet weights: it is for training from scratch (weights: none)"
        given = with_defaults(self.options, options)
        for name, allowed in _imagenet_values(self.name, given).items():
            if given[name] not in allowed:
                values = ", ".join(f"{value:g}" for value in allowed)
                return (
                    f"{self.name} has no ImageNet weights for {name}: {given[name]:g} (available for {values}); "
                    "choose one of these, a file, or weights: none"
                )
        return None


def _imagenet_values(name: str, given: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return the values of each option for which Keras has ImageNet weights."""
    if name == "MobileNet":
        return {"alpha": (0.25, 0.5, 0.75, 1.0), "depth_multiplier": (1,)}
    if name == "MobileNetV2":
        return {"alpha": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}
    if name.startswith("MobileNetV3"):
        return {"alpha": (1.0,) if given["minimalistic"] else (0.75, 1.0)}
    return {}


_ALPHA = Option(Positive, 1.0, "Width multiplier: factor of the filters of every layer.")
_MOBILENET = {"alpha": _ALPHA, "depth_multiplier": Option(Count, 1, "Depthwise filters per input channel.")}
_MOBILENET_V3 = {
    "alpha": _ALPHA,
    "minimalistic": Option(bool, False, "Without squeeze-and-excitation, hard swish and 5×5 kernels."),
}
_CONVNET = {
    "filters": Option(Counts, (32, 64, 128, 128), "Filters of each block, from input to output; []: no blocks."),
    "kernel_size": Option(Count, 3, "Height and width of the kernels, in pixels."),
    "padding": Option(Literal["valid", "same"], "valid", "Padding of convolutions."),
    "convolutions": Option(Count, 1, "Convolutions per block, before pooling."),
    "pool_size": Option(Count, 2, "Size and stride of max-pooling at the end of each block; 1: none."),
    "activation": Option(ConvNetActivation, "relu", "Activation after each convolution."),
    "batch_norm": Option(bool, False, "Batch normalization between convolution and activation."),
    "dropout": Option(BelowOne, 0.0, "Fraction of activations set to zero in training, at the end of each block."),
    "blocks": Option(Blocks, None, BLOCKS_DOC),
}


_V2_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
_V3_FILE = "weights_mobilenet_v3_{}_224_1.0_float_no_top_v2.h5"
_KERNELS_FILE = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"

# fmt: off
# name, parameters, without top, MB, depth, top-1, top-5, input, preprocessing, file of weights (or its first word)
_KERAS_ROWS: tuple[tuple[str, int, int, float, int | None, float, float | None, int, Preprocessing, str], ...] = (
    ("Xception", 22_910_480, 20_861_480, 88, 81, 79.0, 94.5, 299, "scale", "xception"),
    ("VGG16", 138_357_544, 14_714_688, 528, 16, 71.3, 90.1, 224, "caffe", "vgg16"),
    ("VGG19", 143_667_240, 20_024_384, 549, 19, 71.3, 90.0, 224, "caffe", "vgg19"),
    ("ResNet50", 25_636_712, 23_587_712, 98, 107, 74.9, 92.1, 224, "caffe", "resnet50"),
    ("ResNet101", 44_707_176, 42_658_176, 171, 209, 76.4, 92.8, 224, "caffe", "resnet101"),
    ("ResNet152", 60_419_944, 58_370_944, 232, 311, 76.6, 93.1, 224, "caffe", "resnet152"),
    ("ResNet50V2", 25_613_800, 23_564_800, 98, 103, 76.0, 93.0, 224, "scale", "resnet50v2"),
    ("ResNet101V2", 44_675_560, 42_626_560, 171, 205, 77.2, 93.8, 224, "scale", "resnet101v2"),
    ("ResNet152V2", 60_380_648, 58_331_648, 232, 307, 78.0, 94.2, 224, "scale", "resnet152v2"),
    ("InceptionV3", 23_851_784, 21_802_784, 92, 189, 77.9, 93.7, 299, "scale", "inception_v3"),
    ("InceptionResNetV2", 55_873_736, 54_336_736, 215, 449, 80.3, 95.3, 299, "scale", "inception_resnet_v2"),
    ("MobileNet", 4_253_864, 3_228_864, 16, 55, 70.4, 89.5, 224, "scale", "mobilenet_1_0_224_tf_no_top.h5"),
    ("MobileNetV2", 3_538_984, 2_257_984, 14, 105, 71.3, 90.1, 224, "scale", _V2_FILE),
    ("MobileNetV3Small", 2_554_968, 939_120, 10, 88, 68.1, None, 224, "scale", _V3_FILE.format("small")),
    ("MobileNetV3Large", 5_507_432, 2_996_352, 21, 110, 75.6, None, 224, "scale", _V3_FILE.format("large")),
    ("DenseNet121", 8_062_504, 7_037_504, 33, 242, 75.0, 92.3, 224, "torch", "densenet121"),
    ("DenseNet169", 14_307_880, 12_642_880, 57, 338, 76.2, 93.2, 224, "torch", "densenet169"),
    ("DenseNet201", 20_242_984, 18_321_984, 80, 402, 77.3, 93.6, 224, "torch", "densenet201"),
    ("NASNetMobile", 5_326_716, 4_269_716, 23, 389, 74.4, 91.9, 224, "scale", "nasnet_mobile_no_top.h5"),
    ("NASNetLarge", 88_949_818, 84_916_818, 343, 533, 82.5, 96.0, 331, "scale", "nasnet_large_no_top.h5"),
    ("EfficientNetB0", 5_330_571, 4_049_571, 29, 132, 77.1, 93.3, 224, "none", "efficientnetb0_notop.h5"),
    ("EfficientNetB1", 7_856_239, 6_575_239, 31, 186, 79.1, 94.4, 240, "none", "efficientnetb1_notop.h5"),
    ("EfficientNetB2", 9_177_569, 7_768_569, 36, 186, 80.1, 94.9, 260, "none", "efficientnetb2_notop.h5"),
    ("EfficientNetB3", 12_320_535, 10_783_535, 48, 210, 81.6, 95.7, 300, "none", "efficientnetb3_notop.h5"),
    ("EfficientNetB4", 19_466_823, 17_673_823, 75, 258, 82.9, 96.4, 380, "none", "efficientnetb4_notop.h5"),
    ("EfficientNetB5", 30_562_527, 28_513_527, 118, 312, 83.6, 96.7, 456, "none", "efficientnetb5_notop.h5"),
    ("EfficientNetB6", 43_265_143, 40_960_143, 166, 360, 84.0, 96.8, 528, "none", "efficientnetb6_notop.h5"),
    ("EfficientNetB7", 66_658_687, 64_097_687, 256, 438, 84.3, 97.0, 600, "none", "efficientnetb7_notop.h5"),
    ("EfficientNetV2B0", 7_200_312, 5_919_312, 29, 151, 78.7, 94.3, 224, "torch", "efficientnetv2-b0_notop.h5"),
    ("EfficientNetV2B1", 8_212_124, 6_931_124, 34, 185, 79.8, 95.0, 240, "torch", "efficientnetv2-b1_notop.h5"),
    ("EfficientNetV2B2", 10_178_374, 8_769_374, 42, 193, 80.5, 95.1, 260, "torch", "efficientnetv2-b2_notop.h5"),
    ("EfficientNetV2B3", 14_467_622, 12_930_622, 59, 225, 82.0, 95.8, 300, "torch", "efficientnetv2-b3_notop.h5"),
    ("EfficientNetV2S", 21_612_360, 20_331_360, 88, 281, 83.9, 96.7, 384, "scale128", "efficientnetv2-s_notop.h5"),
    ("EfficientNetV2M", 54_431_388, 53_150_388, 220, 403, 85.3, 97.4, 480, "scale128", "efficientnetv2-m_notop.h5"),
    ("EfficientNetV2L", 119_027_848, 117_746_848, 479, 557, 85.7, 97.5, 480, "scale128", "efficientnetv2-l_notop.h5"),
    ("ConvNeXtTiny", 28_589_128, 27_820_128, 109.42, None, 81.3, None, 224, "torch", "convnext_tiny_notop.h5"),
    ("ConvNeXtSmall", 50_223_688, 49_454_688, 192.29, None, 82.3, None, 224, "torch", "convnext_small_notop.h5"),
    ("ConvNeXtBase", 88_591_464, 87_566_464, 338.58, None, 85.3, None, 224, "torch", "convnext_base_notop.h5"),
    ("ConvNeXtLarge", 197_767_336, 196_230_336, 755.07, None, 86.3, None, 224, "torch", "convnext_large_notop.h5"),
    ("ConvNeXtXLarge", 350_196_968, 348_147_968, 1310, None, 86.7, None, 224, "torch", "convnext_xlarge_notop.h5"),
)
# fmt: on

_MORE: Mapping[str, Mapping[str, Any]] = {
    "Xception": {"min_size": 71},
    "VGG16": {"top_layers": ("fc1", "fc2")},
    "VGG19": {"top_layers": ("fc1", "fc2")},
    "InceptionV3": {"min_size": 75},
    "InceptionResNetV2": {"min_size": 75},
    "MobileNet": {"options": _MOBILENET, "top_convolutions": 1},
    "MobileNetV2": {"options": {"alpha": _ALPHA}},
    "MobileNetV3Small": {"options": _MOBILENET_V3, "top_convolutions": 2},
    "MobileNetV3Large": {"options": _MOBILENET_V3, "top_convolutions": 2},
}


def _keras_network(name: str, *row: Any) -> NetworkInfo:
    *figures, file = row
    weights_file = file if file.endswith(".h5") else _KERNELS_FILE.format(file)
    return NetworkInfo(name, *figures, **{"min_size": 32, "weights_file": weights_file, **_MORE.get(name, {})})


# Parameters are counted as the authors do, without the statistics of batch norm; Keras's count_params() adds 42,016,
# 53,664 and 58,096 of them. They publish the accuracies, too, and no top-5.
_EFFICIENTNET_LITE = tuple(
    NetworkInfo(
        name, parameters, parameters - 1000 * 1281, size_mb, depth, top1, None, size, (1 / 128, -127 / 128), 32,
        module="efficientnet_lite",
    )
    for name, parameters, size_mb, depth, top1, size in (
        ("EfficientNetLite0", 4_652_008, 18, 99, 75.0, 224),
        ("EfficientNetLite1", 5_416_680, 21, 129, 76.7, 240),
        ("EfficientNetLite2", 6_092_072, 24, 129, 77.6, 260),
    )
)  # fmt: skip
_CONVNET_INFO = NetworkInfo(
    "ConvNet", 240_832, 240_832, 1, None, None, None, 150, (1 / 255, 0.0), 1,
    options=_CONVNET, has_imagenet=False, module="convnet", top_classes=0,
)  # fmt: skip


# Networks without ImageNet weights, for training from scratch; their modules name the papers

CIFAR_PX = 32
"""Height and width of the images of CIFAR, with ten classes, and of LeNet5."""

AlexNetForm = Literal["64-192-384-256-256", "96-256-384-384-256", "two-towers"]
ShuffleNetWidth = Literal[0.5, 1.0, 1.5, 2.0]  # type: ignore[valid-type]
SqueezeNetVersion = Literal[1.0, 1.1]  # type: ignore[valid-type]

_DROPOUT = Option(BelowOne, 0.5, "Dropout after each dense layer of the top.")
_BATCH_NORM = Option(bool, False, "Batch normalization between convolution and activation.")
_LRN = Option(bool, True, "Local response normalization where the form has it.")
_LENET = {
    "activation": Option(ConvNetActivation, "tanh", "Activation of all layers."),
    "pooling": Option(Literal["average", "max"], "average", "Pooling behind both convolutions."),
}
_ALEXNET = {
    "form": Option(AlexNetForm, "64-192-384-256-256", "Filters of the convolutions; two-towers: the paper's groups."),
    "lrn": _LRN,
    "dropout": _DROPOUT,
}
_ZFNET = {
    "form": Option(Literal["384-384-256", "512-1024-512"], "512-1024-512", "Filters of the last three convolutions."),
    "lrn": _LRN,
    "dropout": _DROPOUT,
}
_VGG = {"batch_norm": _BATCH_NORM, "dropout": _DROPOUT}
_VGG11 = {"lrn": Option(bool, False, "Local response normalization in the first block: configuration A-LRN."), **_VGG}
_GOOGLENET = {
    "auxiliary": Option(bool, False, "Two auxiliary classifiers, whose losses count 0.3 in training, nowhere else."),
    "batch_norm": Option(bool, False, "Batch normalization instead of local response normalization."),
    "activation": Option(Literal["relu", "sigmoid"], "relu", "Activation after each convolution."),
    "lrn": Option(bool, True, "Local response normalization after the first and third convolution."),
}
_SHORTCUT = Literal["projection", "identity", "none"]
_SHORTCUTS = "Shortcuts between shapes: projection (option B), identity with zeros (option A); none: a plain network."
_DENSENET = {
    "growth_rate": Option(Count, 32, "Feature maps that each layer adds."),
    "dense_blocks": Option(Counts, (6, 12, 24, 16), "Layers of each dense block."),
    "reduction": Option(Annotated[float, Field(gt=0.0, le=1.0)], 0.5, "Fraction of the maps kept between blocks."),
    "bottleneck": Option(bool, True, "1×1 convolution to four times the growth rate below each 3×3 convolution."),
    "stem": Option(Literal["imagenet", "cifar"], "imagenet", "7×7 convolution and pooling, or 3×3 for small images."),
    "dropout": Option(BelowOne, 0.0, "Dropout after each 3×3 convolution."),
}
_VIT = {
    "patch_size": Option(Count, 16, "Height and width of a patch in pixels; divides the image size."),
    "width": Option(Count, 192, "Values of each patch's vector."),
    "depth": Option(Count, 12, "Number of blocks."),
    "heads": Option(Count, 3, "Heads of each self-attention; divides the width."),
}
_BLOCKS_264 = Option(Counts, (6, 12, 64, 48), "Layers of each dense block.")
_SMALLER_DROPOUT = Option(BelowOne, 0.25, "Dropout after each pooling.")
_WIDTH = Option(ShuffleNetWidth, 1.0, "Width multiplier.")
_VERSION = Option(SqueezeNetVersion, 1.0, "Version of the network; 1.1 needs less than half of the operations.")


def _residual(shortcut: str, **more: Option) -> dict[str, Option]:
    return {**more, "shortcut": Option(_SHORTCUT, shortcut, _SHORTCUTS)}


def _of_cifar(n: int, shortcut: str) -> dict[str, Option]:
    return _residual(shortcut, n=Option(Count, n, "Blocks of each of the three stages: 6n + 2 layers."))


# fmt: off
# name, parameters, without top, layers with parameters, input, smallest input, module, options
_SCRATCH_ROWS: tuple[tuple[str, int, int, int, int, int, str, dict[str, Option]], ...] = (
    ("LeNet5", 61_706, 2_572, 5, 32, 16, "lenet", _LENET),
    ("AlexNet", 61_100_840, 2_469_696, 8, 227, 67, "alexnet", _ALEXNET),
    ("ZFNet", 107_627_624, 11_247_744, 8, 224, 63, "alexnet", _ZFNET),
    ("VGG11", 132_863_336, 9_220_480, 11, 224, 32, "vgg", _VGG11),
    ("VGG13", 133_047_848, 9_404_992, 13, 224, 32, "vgg", _VGG),
    ("VGG16C", 133_638_952, 9_996_096, 16, 224, 32, "vgg", _VGG),
    ("SmallerVGGNet", 8_678_277, 279_424, 13, 96, 12, "vgg", {"dropout": _SMALLER_DROPOUT}),
    ("GoogLeNet", 6_998_552, 5_973_552, 58, 224, 32, "googlenet", _GOOGLENET),
    ("ResNet18", 11_699_112, 11_186_112, 41, 224, 32, "resnet", _residual("projection")),
    ("ResNet34", 21_814_696, 21_301_696, 73, 224, 32, "resnet", _residual("projection")),
    ("PlainNet18", 11_523_496, 11_010_496, 35, 224, 32, "resnet", _residual("none")),
    ("PlainNet34", 21_639_080, 21_126_080, 67, 224, 32, "resnet", _residual("none")),
    ("ResNet20", 271_098, 270_448, 39, 32, 8, "resnet", _of_cifar(3, "identity")),
    ("ResNet32", 466_426, 465_776, 63, 32, 8, "resnet", _of_cifar(5, "identity")),
    ("ResNet44", 661_754, 661_104, 87, 32, 8, "resnet", _of_cifar(7, "identity")),
    ("ResNet56", 857_082, 856_432, 111, 32, 8, "resnet", _of_cifar(9, "identity")),
    ("ResNet110", 1_736_058, 1_735_408, 219, 32, 8, "resnet", _of_cifar(18, "identity")),
    ("PlainNet20", 271_098, 270_448, 39, 32, 8, "resnet", _of_cifar(3, "none")),
    ("PlainNet32", 466_426, 465_776, 63, 32, 8, "resnet", _of_cifar(5, "none")),
    ("PlainNet44", 661_754, 661_104, 87, 32, 8, "resnet", _of_cifar(7, "none")),
    ("PlainNet56", 857_082, 856_432, 111, 32, 8, "resnet", _of_cifar(9, "none")),
    ("PlainNet110", 1_736_058, 1_735_408, 219, 32, 8, "resnet", _of_cifar(18, "none")),
    ("ResNeXt50", 25_097_128, 23_048_128, 107, 224, 32, "resnet", {}),
    ("ResNeXt101", 44_315_560, 42_266_560, 209, 224, 32, "resnet", {}),
    ("DenseNet", 8_062_504, 7_037_504, 242, 224, 32, "densenet", _DENSENET),
    ("DenseNet264", 33_736_232, 31_047_232, 530, 224, 32, "densenet", {**_DENSENET, "dense_blocks": _BLOCKS_264}),
    ("SqueezeNet", 1_248_424, 735_424, 26, 224, 21, "squeezenet", {"version": _VERSION}),
    ("ShuffleNetV2", 2_294_784, 1_269_784, 113, 224, 32, "shufflenet", {"width": _WIDTH}),
    ("ViT", 5_716_840, 5_523_840, 63, 224, 8, "vit", _VIT),
)
# fmt: on


_SCRATCH_MORE: Mapping[str, Mapping[str, Any]] = {
    "LeNet5": {"top_layers": ("c5", "f6"), "channels": 1},
    "AlexNet": {"top_layers": ("fc6", "fc7")},
    "ZFNet": {"top_layers": ("fc6", "fc7")},
    "VGG11": {"top_layers": ("fc1", "fc2")},
    "VGG13": {"top_layers": ("fc1", "fc2")},
    "VGG16C": {"top_layers": ("fc1", "fc2")},
    "SmallerVGGNet": {"top_layers": ("fc1",), "top_classes": 5},
    "SqueezeNet": {"top_convolutions": 1},
}


def _scratch_network(name: str, parameters: int, *row: Any) -> NetworkInfo:
    without_top, depth, size, smallest, module, options = row
    more = {"top_classes": 10 if size == CIFAR_PX else 1000, **_SCRATCH_MORE.get(name, {})}
    return NetworkInfo(
        name, parameters, without_top, parameters * 4 / 2**20, depth, None, None, size, (1 / 127.5, -1.0), smallest,
        options=options, has_imagenet=False, module=module, **more,
    )  # fmt: skip


_ALL = (
    *_EFFICIENTNET_LITE,
    _CONVNET_INFO,
    *(_keras_network(*row) for row in _KERAS_ROWS),
    *(_scratch_network(*row) for row in _SCRATCH_ROWS),
)
NETWORKS: Mapping[str, NetworkInfo] = {info.name: info for info in _ALL}


def network_named(name: str) -> NetworkInfo:
    """Return a network of the catalogue, or the one in a saved model, whose description is read if it exists."""
    return NETWORKS[name] if name in NETWORKS else _network_in(Path(name))


def is_model_file(name: str) -> bool:
    """Return whether a network's name is the path of a saved model."""
    return name.lower().endswith(MODEL_SUFFIX)


def _network_in(path: Path) -> NetworkInfo:
    height, channels = _input_of(path) or (NETWORKS["ConvNet"].input_size, 3)
    return NetworkInfo(
        path.stem, 0, 0, 0.0, None, None, None, height, "none", 1,
        has_imagenet=False, module="saved_model_file", top_classes=0, channels=channels, file=str(path),
    )  # fmt: skip


def _input_of(path: Path) -> tuple[int, int] | None:
    """Return height and channels of the images that a saved model takes, or None if it cannot be read."""
    from cnncli.storage.safe_io import parse_json
    from cnncli.storage.zips import ARCHIVE_ERRORS, open_zip, read_entry

    try:
        with open_zip(path) as archive:
            description: Any = parse_json(read_entry(archive, archive.getinfo("config.json"), MAX_DESCRIPTION_BYTES))
        _, height, _, channels = description["config"]["layers"][0]["config"]["batch_shape"]
    except (*ARCHIVE_ERRORS, ValueError, KeyError, IndexError, TypeError):
        return None
    return (height, channels) if type(height) is type(channels) is int and min(height, channels) > 0 else None
