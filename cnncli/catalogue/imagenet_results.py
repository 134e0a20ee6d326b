"""Published results and costs of networks: multiply-adds, errors on ImageNet, and the ILSVRC competition by year.

Errors of a competition or a paper are often those of several networks and many crops of each image, so they are lower
than those of one network on one crop, such as the accuracies of `NetworkInfo`: VGG16 has 7.3 % in the competition, and
Keras's weights 9.9 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedError:
    """A published top-5 error on ImageNet in percent, with its source."""

    top5_error: float
    source: str


@dataclass(frozen=True)
class Entry:
    """An entry of the ILSVRC classification task: year, network or team, top-5 error in percent, and its source."""

    year: int
    name: str
    top5_error: float
    is_winner: bool
    source: str


MULTIPLY_ADDS: Mapping[str, int] = {
    "EfficientNetLite0": 385_187_552,
    "EfficientNetLite1": 600_185_232,
    "EfficientNetLite2": 859_736_272,
    "ConvNet": 232_883_712,
    "Xception": 8_357_403_496,
    "VGG16": 15_470_264_320,
    "VGG19": 19_632_062_464,
    "ResNet50": 3_857_973_248,
    "ResNet101": 7_570_194_432,
    "ResNet152": 11_282_415_616,
    "ResNet50V2": 3_482_255_360,
    "ResNet101V2": 7_194_476_544,
    "ResNet152V2": 10_906_697_728,
    "InceptionV3": 5_713_216_096,
    "InceptionResNetV2": 13_155_794_016,
    "MobileNet": 568_740_352,
    "MobileNetV2": 300_774_272,
    "MobileNetV3Small": 56_510_400,
    "MobileNetV3Large": 216_589_760,
    "DenseNet121": 2_834_161_664,
    "DenseNet169": 3_359_843_328,
    "DenseNet201": 4_291_365_888,
    "NASNetMobile": 563_638_816,
    "NASNetLarge": 23_783_414_658,
    "EfficientNetB0": 385_814_752,
    "EfficientNetB1": 686_802_832,
    "EfficientNetB2": 993_561_872,
    "EfficientNetB3": 1_827_141_392,
    "EfficientNetB4": 4_393_771_024,
    "EfficientNetB5": 10_266_384_752,
    "EfficientNetB6": 19_067_593_536,
    "EfficientNetB7": 37_745_884_192,
    "EfficientNetV2B0": 718_086_176,
    "EfficientNetV2B1": 1_196_819_360,
    "EfficientNetV2B2": 1_697_542_832,
    "EfficientNetV2B3": 3_011_458_816,
    "EfficientNetV2S": 8_365_617_152,
    "EfficientNetV2M": 24_582_460_384,
    "EfficientNetV2L": 56_079_699_008,
    "ConvNeXtTiny": 4_455_531_264,
    "ConvNeXtSmall": 8_683_712_256,
    "ConvNeXtBase": 15_354_729_472,
    "ConvNeXtLarge": 34_361_433_600,
    "ConvNeXtXLarge": 60_921_030_656,
    "LeNet5": 416_520,
    "AlexNet": 716_767_232,
    "ZFNet": 2_476_704_896,
    "VGG11": 7_609_090_048,
    "VGG13": 11_308_466_176,
    "VGG16C": 11_770_888_192,
    "SmallerVGGNet": 129_602_560,
    "GoogLeNet": 1_582_671_872,
    "ResNet18": 1_814_073_344,
    "ResNet34": 3_663_761_408,
    "PlainNet18": 1_794_805_760,
    "PlainNet34": 3_644_493_824,
    "ResNet20": 40_551_040,
    "ResNet32": 68_862_592,
    "ResNet44": 97_174_144,
    "ResNet56": 125_485_696,
    "ResNet110": 252_887_680,
    "PlainNet20": 40_551_040,
    "PlainNet32": 68_862_592,
    "PlainNet44": 97_174_144,
    "PlainNet56": 125_485_696,
    "PlainNet110": 252_887_680,
    "ResNeXt50": 4_230_479_872,
    "ResNeXt101": 7_969_996_800,
    "DenseNet": 2_834_161_664,
    "DenseNet264": 5_751_653_376,
    "SqueezeNet": 818_924_576,
    "ShuffleNetV2": 144_907_992,
    "ViT": 1_246_563_840,
}
"""Multiply-adds of one image of the default size with the published top, without pooling, as `cnncli summary --top`
counts them with the installed Keras. A test computes them again."""

_TORCHVISION = "torchvision's first weights, one crop"

PUBLISHED_ERRORS: Mapping[str, PublishedError] = {
    "AlexNet": PublishedError(15.3, "ILSVRC 2012 (Krizhevsky et al. 2012): seven networks"),
    "ZFNet": PublishedError(14.8, "arXiv 1311.2901 (Zeiler and Fergus 2013): six networks"),
    "VGG16": PublishedError(7.3, "ILSVRC 2014 (arXiv 1409.1556): seven networks, many crops"),
    "VGG19": PublishedError(7.3, "ILSVRC 2014 (arXiv 1409.1556): seven networks, many crops"),
    "GoogLeNet": PublishedError(6.7, "ILSVRC 2014 (arXiv 1409.4842): seven networks, 144 crops"),
    "ResNet18": PublishedError(10.92, _TORCHVISION),
    "ResNet34": PublishedError(8.58, _TORCHVISION),
    "ResNet50": PublishedError(7.13, _TORCHVISION),
    "ResNet101": PublishedError(6.44, _TORCHVISION),
    "ResNet152": PublishedError(5.94, f"{_TORCHVISION}; 3.57 in ILSVRC 2015 with six networks (arXiv 1512.03385)"),
}
"""Published top-5 errors other than the accuracies of Keras's weights."""

_RUSSAKOVSKY = "Russakovsky et al. 2015 (arXiv 1409.0575), table 8"

ILSVRC: tuple[Entry, ...] = (
    Entry(2010, "NEC-UIUC", 28.2, True, _RUSSAKOVSKY),
    Entry(2011, "XRCE", 25.8, True, _RUSSAKOVSKY),
    Entry(2012, "AlexNet", 15.3, True, "Krizhevsky et al. 2012, with the images of 2011"),
    Entry(2013, "Clarifai", 11.2, True, _RUSSAKOVSKY),
    Entry(2013, "ZFNet", 14.8, False, "arXiv 1311.2901"),
    Entry(2014, "GoogLeNet", 6.7, True, "arXiv 1409.4842"),
    Entry(2014, "VGG", 7.3, False, "arXiv 1409.1556"),
    Entry(2015, "ResNet152", 3.57, True, "arXiv 1512.03385"),
    Entry(2016, "Trimps-Soushen", 2.99, True, "image-net.org, results of 2016"),
    Entry(2017, "SENet", 2.25, True, "arXiv 1709.01507"),
)
"""Winners of the ILSVRC classification task by year, and known runners-up."""

HUMAN_ERROR = 5.1
"""Top-5 error in percent of a trained human on ImageNet (Russakovsky et al. 2015)."""
