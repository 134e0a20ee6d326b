"""`cnncli summary`: the layers of a config's classifier, or of a backbone.

Weights are left at random: names, shapes and counts do not depend on them, and nothing has to be fetched. The graph is
the one that would be trained, all the same: EfficientNetB0–B7 have one more layer with their ImageNet weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.catalogue.networks import network
from cnncli.config.modes import stages_of
from cnncli.config.schema import BackboneConfig, Config
from cnncli.dataset.scan import scan
from cnncli.networks.backbone import build_backbone, build_network, cut_at
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import PIXELS, Classifier, build_classifier, image_size
from cnncli.networks.cut import cut_classifier
from cnncli.networks.graph import replay
from cnncli.networks.head import build_head
from cnncli.networks.preprocessing import preprocess
from cnncli.networks.summary import Summary, summarize
from cnncli.networks.weights.load import wants_imagenet_graph

if TYPE_CHECKING:
    import keras


def summarize_config(config: Config) -> Summary:
    """The classifier of a config, layers marked as its last stage trains them."""
    model = _model_of(config, _number_of_classes(config))
    classifier = Classifier(model, pretrained=config.backbone.weights != "none")
    last = stages_of(config)[-1]
    cut_classifier(classifier, last.unfreeze, last.batch_norm)
    return summarize(classifier.model)


def summarize_backbone(name: str) -> Summary:
    """A backbone by its name in `cnncli backbones`, at its own image size, without top, as for ImageNet weights."""
    info = network(name)
    config = BackboneConfig(name=info.name, weights="imagenet" if info.has_imagenet else "none")
    return summarize(_backbone_of(config, (info.input_size, info.input_size, 3)))


def _number_of_classes(config: Config) -> int:
    """As many as the data has class folders; no image is opened for it."""
    classes = scan(config.data.path).classes.values()
    return max(2, max((len(names) for names in classes), default=2))


def _has_graph_of_its_own(config: BackboneConfig) -> bool:
    """Whether the network is another one with these weights than with random ones."""
    info = network(config.name)
    return info.preprocessing == "none" and wants_imagenet_graph(info, config)


def _backbone_of(config: BackboneConfig, input_shape: tuple[int, int, int]) -> keras.Model:
    if _has_graph_of_its_own(config):
        model, _ = build_network(network(config.name), config, input_shape)
        return cut_at(model, config.output_layer, config.name)
    return build_backbone(config.model_copy(update={"weights": "none"}), input_shape, seed=0)


def _model_of(config: Config, n_classes: int) -> keras.Model:
    if not _has_graph_of_its_own(config.backbone):
        backbone = config.backbone.model_copy(update={"weights": "none"})
        return build_classifier(config.model_copy(update={"backbone": backbone}), n_classes).model
    keras, (height, width) = import_keras(), image_size(config)
    pixels = keras.Input((height, width, 1 if config.data.color == "grayscale" else 3), name=PIXELS)
    prepared = preprocess(pixels, network(config.backbone.name).preprocessing)
    (features,) = replay(_backbone_of(config.backbone, (height, width, 3)), [prepared])
    return keras.Model(pixels, build_head(features, config.head, n_classes, config.seed), name="classifier")
