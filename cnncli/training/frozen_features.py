"""The features that training and evaluating a config reads from the cache, to compute them without training."""

from __future__ import annotations

from collections.abc import Iterator

from cnncli.config.solver import exact_obstacles
from cnncli.features.extract import FeatureSet
from cnncli.networks.classifier import build_classifier
from cnncli.training.context import StageSetup, TrainingContext, check_stages
from cnncli.training.exact_head import FrozenNetwork


def frozen_features(context: TrainingContext) -> list[FeatureSet]:
    """Return the features of training, validation and test images below the trained layers of each stage.

    If nothing is frozen, or for fresh views, these are decoded pixels. The features below a linear head need no Keras
    if its network is known; see `FrozenNetwork.of`.
    """
    if any(exact_obstacles(context.config)):
        stages = [setup.feature_sets() for setup in _setups(context)]
    else:
        stages = [FrozenNetwork.of(context).feature_sets()]
    test = context.manifest.split("test")
    sets = [
        one
        for train, validation in stages
        for one in (train, validation, FeatureSet(validation.extraction, test, min(train.views, 1)))
    ]
    return [one for one in sets if one.total]


def _setups(context: TrainingContext) -> Iterator[StageSetup]:
    """Yield the setup of each stage whose frozen layers no earlier stage trains."""
    classifier = build_classifier(context.config, len(context.manifest.classes))
    check_stages(classifier, context.config)
    trained = set[str]()
    for stage in context.stages:
        setup = StageSetup.build(classifier, stage, context)
        frozen = setup.cut.trunk.operations if setup.cut.trunk else ()
        if trained.isdisjoint(operation.name for operation in frozen):
            yield setup
        trained |= set(setup.cut.trained)
