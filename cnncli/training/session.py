"""A whole training: stage after stage on one classifier, each with its own cut, features and proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnncli.config.modes import Stage
from cnncli.features.extract import Counts
from cnncli.networks.classifier import Classifier
from cnncli.training.feed import Labelled
from cnncli.training.ledger import LedgerEntry, plan_of
from cnncli.training.loop import Scores
from cnncli.training.mixing import MixedObjective, Mixing
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.stage import Incumbent, Recorder, StageWork, train_stage
from cnncli.training.supply import Supply
from cnncli.training.workshop import Division, Workshop, divide


@dataclass(frozen=True)
class Outcome:
    """What a training leaves beside the weights in the classifier; cut and supply of features are the last stage's."""

    best: Incumbent
    ledger: tuple[LedgerEntry, ...]
    features: Counts
    last: Division
    supply: Supply


def train_stages(
    classifier: Classifier,
    stages: Sequence[Stage],
    shop: Workshop,
    recorder: Recorder,
    handed: Scores | None = None,
    keep: Callable[[LedgerEntry], None] = lambda _: None,
) -> Outcome:
    """Train stage after stage; the classifier ends with the weights of the best epoch.

    Args:
        classifier: with the weights to start from.
        stages: in order.
        shop: what they work with.
        recorder: takes the history.
        handed: validation scores of the weights to start from, where another run measured them.
        keep: is given a stage's entry in the ledger as soon as it ends.

    Raises:
        TrainingError: a loss that is no number, or weights that moved and should not have.
        DataError: pictures that cannot be decoded any more.
        CutError: a stage names a layer that is not there.
    """
    best: Incumbent | None = None
    ledger: list[LedgerEntry] = []
    counts, epochs = Counts(), 0
    for stage in stages:
        division = divide(classifier, stage, shop)
        supply = Supply.of(division, shop)
        shop.store.keep_only(supply.keys())
        announce(classifier, division, supply, shop)
        work, computed = _work(classifier, division, supply, best.validation if best else handed)
        counts = counts + computed
        best, entry = train_stage(work, best, epochs + 1, recorder, shop.console)
        del work  # holds features, which may have to make room for those of the next stage
        epochs += entry.epochs
        ledger.append(entry)
        keep(entry)
        used = {shop.choice.precision, division.engine.choice.precision if division.engine else division.precision}
        if problem := entry.hand_over_problem("bfloat16" if "bfloat16" in used else "float32"):
            shop.console.warn(problem)
    if best is None:
        raise ValueError("a training has at least one stage")
    return Outcome(best, tuple(ledger), counts, division, supply)


def _work(
    classifier: Classifier, division: Division, supply: Supply, handed: Scores | None
) -> tuple[StageWork, Counts]:
    """What a stage trains with, and how much had to be stored for it now."""
    shop = supply.shop
    training, counts = supply.training_feed()
    validation, more = supply.validation_feed()
    work = StageWork(
        seed=shop.config.seed,
        mixing=Mixing.of(shop.config.augmentation, shop.config.seed),
        handed=handed,
        stage=division.stage,
        classifier=classifier,
        cut=division.cut,
        training=training,
        validation=validation,
        objective=_objective(shop, training.pictures),
        batch_size=shop.config.training.batch_size,
        monitor=shop.config.training.best.monitor,
        precision=division.precision,
    )
    return work, counts + more


def announce(classifier: Classifier, division: Division, supply: Supply, shop: Workshop) -> None:
    """One line before a stage's work: what trains, what runs the trunk, how much is stored, how long it will take."""
    plan = plan_of(division.stage.name, division.stage.unfreeze, classifier, division.cut)
    parts = [f"{plan.trainable_parameters:,} parameters train from {plan.trains_from} on in {division.precision}"]
    if division.engine is None:
        parts.append("nothing is frozen")
    else:
        choice = division.engine.choice
        parts.append(f"{plan.frozen_parameters:,} frozen, {choice.engine} {choice.precision}")
    if mixing := Mixing.of(shop.config.augmentation, shop.config.seed):
        parts.append(mixing.in_words(on_features=division.engine is not None))
    parts += supply.work_ahead().in_words()
    shop.console.phase(f"stage {plan.name}", " · ".join(parts))
    if supply.reason:
        shop.console.say(supply.reason)


def _objective(shop: Workshop, pictures: Labelled) -> Objective:
    config, n_classes = shop.config, len(shop.manifest.classes)
    weights = balanced_weights(pictures.labels, n_classes) if config.data.class_weights == "balanced" else None
    kind = MixedObjective if config.augmentation.mixes else Objective
    return kind(config.head.activation, n_classes, config.training.label_smoothing, weights)
