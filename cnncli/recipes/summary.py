"""`cnncli summary`: the layers of a config's classifier, or of a backbone."""

from __future__ import annotations

from cnncli.catalogue.networks import network
from cnncli.config.modes import stages_of
from cnncli.config.schema import BackboneConfig, Config
from cnncli.networks.backbone import build_backbone
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.summary import Summary, summarize
from cnncli.pictures.scan import scan


def summarize_config(config: Config) -> Summary:
    """The classifier of a config, layers marked as its last stage trains them.

    Weights are left at random: names, shapes and counts do not depend on them, and nothing has to be fetched.
    """
    backbone = config.backbone.model_copy(update={"weights": "none"})
    built = build_classifier(config.model_copy(update={"backbone": backbone}), _number_of_classes(config))
    classifier = Classifier(built.model, pretrained=config.backbone.weights != "none")
    last = stages_of(config)[-1]
    cut_classifier(classifier, last.unfreeze, last.batch_norm)
    return summarize(classifier.model)


def _number_of_classes(config: Config) -> int:
    """As many as the data has class folders; no picture is opened for it."""
    classes = scan(config.data.path).classes.values()
    return max(2, max((len(names) for names in classes), default=2))


def summarize_backbone(name: str) -> Summary:
    """A backbone by its name in `cnncli backbones`, at its own image size and without top."""
    size = network(name).input_size
    return summarize(build_backbone(BackboneConfig(name=network(name).name, weights="none"), (size, size, 3), seed=0))
