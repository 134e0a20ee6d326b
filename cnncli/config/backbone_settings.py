"""Settings of `backbone`: a network without its classification layers, or a list of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from cnncli.catalogue.blocks import NetworkOptions
from cnncli.catalogue.networks import NETWORKS, NetworkInfo, Preprocessing, network_named
from cnncli.catalogue.settings import Expected, Settings, as_tuple
from cnncli.config.checked_names import MAX_ITEMS, name_in, suggest

NetworkName = Annotated[
    str,
    name_in(NETWORKS, "network", or_model_file=True),
    suggest(NETWORKS),
    Expected("a name of `cnncli backbones`, or a saved model (.keras)"),
]


class BackboneConfig(Settings):
    """Network without its classification layers."""

    name: NetworkName = "EfficientNetLite0"
    """Name of a network (`cnncli backbones` lists them), or a saved model (.keras) that contains one: a classifier of
    cnncli up to its head, or a functional model of Keras."""
    weights: Annotated[str, Expected("imagenet, none or a weights file")] = Field(default="imagenet", min_length=1)
    """imagenet, none (random), or a file: .weights.h5 (Keras 3), .h5 (legacy), .keras; default for a saved model: its
    own."""
    output_layer: Annotated[str, Expected("a layer's name")] | None = Field(default=None, min_length=1)
    """Name of the layer whose output is the output of the backbone; null: the last layer."""
    include_top_layers: Annotated[str, Expected("a layer's name")] | None = Field(default=None, min_length=1)
    """Layer of the network's ImageNet top with which the backbone ends, e.g. fc1 or fc2 of VGG16; null: without top."""
    adapter: Literal["none", "conv1x1"] = "none"
    """conv1x1: a trained 1×1 convolution converts the channels to three for a pretrained network. The backbone behind
    it then runs in every step, because its features change with the adapter and cannot be cached."""
    preprocessing: Annotated[
        Preprocessing | None,
        BeforeValidator(as_tuple),
        Expected("scale, scale128, caffe, torch, none, or [scale, offset]"),
    ] = None
    """Conversion of pixels x in 0–255: scale (x/127.5 − 1), scale128 (x/128 − 1), caffe (BGR, means subtracted), torch
    (mean and deviation of ImageNet), none, or [a, b] for a·x + b; null: that of the network's weights."""
    options: Annotated[NetworkOptions, BeforeValidator(lambda options: options or {})] = Field(
        default_factory=NetworkOptions
    )
    """Arguments of the network's constructor, e.g. {alpha: 0.35} for MobileNetV2, {filters: [32, 64]} for ConvNet."""

    @property
    def network(self) -> NetworkInfo:
        """Facts about the network."""
        return network_named(self.name)

    @property
    def is_pretrained(self) -> bool:
        """Whether the network has pretrained weights."""
        return self.weights != "none"

    @property
    def has_adapter(self) -> bool:
        """Whether a trained adapter of channels is below the network; without pretrained weights, none is needed."""
        return self.adapter != "none" and self.is_pretrained


def _form_of_backbone(value: object) -> str:
    return "BackboneConfig[]" if isinstance(value, list | tuple) else "BackboneConfig"


def _single(backbones: BackboneConfig | tuple[BackboneConfig, ...]) -> BackboneConfig | tuple[BackboneConfig, ...]:
    """Return the item of a list of one, which means the same."""
    return backbones[0] if isinstance(backbones, tuple) and len(backbones) == 1 else backbones


Backbones = Annotated[
    Annotated[BackboneConfig, Tag("BackboneConfig")]
    | Annotated[
        tuple[BackboneConfig, ...],
        Field(min_length=1, max_length=MAX_ITEMS),
        BeforeValidator(as_tuple),
        Tag("BackboneConfig[]"),
    ],
    Discriminator(_form_of_backbone),
    AfterValidator(_single),
    Expected("a group of settings such as {name: VGG16}, or a list of such groups"),
]
