"""A whole training: stage after stage on one classifier, each with its own cut, features and proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import Stage
from cnncli.config.schema import Config
from cnncli.console import Console
from cnncli.engines.build import build_engine
from cnncli.engines.engine import Engine, EngineChoice, Precision
from cnncli.errors import CnncliError, ConfigError
from cnncli.features.extract import Counts, Extraction, extract, seconds_per_picture
from cnncli.features.store import FeatureStore
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.mixed import is_convolutional
from cnncli.pictures.decode import PixelRecipe
from cnncli.pictures.manifest import Manifest
from cnncli.pictures.views import number_of_views
from cnncli.training.feed import Feed, FreshFeed, Labelled, StoredFeed
from cnncli.training.ledger import LedgerEntry, plan_of
from cnncli.training.loop import Scores
from cnncli.training.mixing import MixedObjective, Mixing
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.optimizer import build_optimizer
from cnncli.training.stage import Incumbent, Recorder, StageWork, train_stage


@dataclass(frozen=True)
class Workshop:
    """What every stage of a training works with.

    Attributes:
        config: of the run.
        manifest: its pictures.
        pixels: how a file becomes pixels.
        choice: engine and precision of trunks.
        store: where features are kept.
        graphs: folder of converted trunks.
        console: shows what happens.
    """

    config: Config
    manifest: Manifest
    pixels: PixelRecipe
    choice: EngineChoice
    store: FeatureStore
    graphs: Path
    console: Console


@dataclass(frozen=True)
class Division:
    """A classifier cut for a stage, with what runs its trunk.

    Attributes:
        stage: whose cut it is.
        cut: trunk and tail.
        fingerprint: of the trunk, None where it is empty.
        engine: runs the trunk, None where it is empty.
        graph: the converted trunk, None where there is none.
        precision: in which the tail computes: bfloat16 where the trunk was to and the tail convolves.
    """

    stage: Stage
    cut: Cut
    fingerprint: str | None
    engine: Engine | None
    graph: Path | None
    precision: Precision


@dataclass(frozen=True)
class Outcome:
    """What a training leaves beside the weights in the classifier."""

    best: Incumbent
    ledger: tuple[LedgerEntry, ...]
    features: Counts
    last: Division


def divide(classifier: Classifier, stage: Stage, shop: Workshop) -> Division:
    """Cut a classifier for a stage and give its trunk an engine."""
    cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
    precision = shop.choice.precision if is_convolutional(cut.tail) else "float32"
    if cut.trunk is None:
        return Division(stage, cut, None, None, None, precision)
    name = fingerprint(cut.trunk)
    engine, graph = build_engine(cut.trunk, name, shop.choice, shop.graphs, shop.console)
    return Division(stage, cut, name, engine, graph, precision)


def check_stages(classifier: Classifier, stages: Sequence[Stage], needs_pixels: bool = False) -> None:
    """Find out before anything is trained whether every stage can be cut and has an optimizer that Keras takes.

    Args:
        classifier: the whole graph.
        stages: in order.
        needs_pixels: whether no stage may freeze anything, as CutMix pastes pixels.

    Raises:
        ConfigError: what is wrong with any of them, a line each.
    """
    problems: list[str] = []
    for stage in stages:
        try:
            cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
            build_optimizer(stage.optimizer)
            if needs_pixels and cut.trunk is not None:
                raise ConfigError(
                    f"augmentation.cutmix: pastes pixels, and what is below {cut.at} is frozen; "
                    "unfreeze: all, or augmentation.mixup in its place."
                )
        except CnncliError as error:
            problems += [f"stage {stage.name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)


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
        announce(classifier, division, shop)
        training, computed = _training_feed(division, shop)
        validation, computed_too = validation_feed(division, shop)
        counts = counts + computed + computed_too
        work = StageWork(
            seed=shop.config.seed,
            mixing=Mixing.of(shop.config.augmentation, shop.config.seed),
            handed=best.validation if best else handed,
            stage=stage,
            classifier=classifier,
            cut=division.cut,
            training=training,
            validation=validation,
            objective=_objective(shop, training.pictures),
            batch_size=shop.config.training.batch_size,
            monitor=shop.config.training.best.monitor,
            precision=division.precision,
        )
        best, entry = train_stage(work, best, epochs + 1, recorder, shop.console)
        epochs += entry.epochs
        ledger.append(entry)
        keep(entry)
        used = {shop.choice.precision, division.engine.choice.precision if division.engine else division.precision}
        if problem := entry.hand_over_problem("bfloat16" if "bfloat16" in used else "float32"):
            shop.console.warn(problem)
    if best is None:
        raise ValueError("a training has at least one stage")
    return Outcome(best, tuple(ledger), counts, division)


def announce(classifier: Classifier, division: Division, shop: Workshop) -> None:
    """One line before a stage's work: what trains, what runs the trunk, how much is stored, how long it will take."""
    plan = plan_of(division.stage.name, division.stage.unfreeze, classifier, division.cut)
    parts = [f"{plan.trainable_parameters:,} parameters train from {plan.cut_at} on in {division.precision}"]
    if division.engine is None:
        parts.append("nothing is frozen")
    else:
        choice = division.engine.choice
        parts.append(f"{plan.frozen_parameters:,} frozen, {choice.engine} {choice.precision}")
    if mixing := Mixing.of(shop.config.augmentation, shop.config.seed):
        parts.append(mixing.in_words(on_features=division.engine is not None))
    missing, total, seconds = _work_ahead(division, shop)
    parts.append(f"{total:,} pictures and views, {total - missing:,} stored")
    if missing:
        parts.append(f"about {seconds:.0f} s for the others")
    shop.console.phase(f"stage {plan.name}", " · ".join(parts))


def _work_ahead(division: Division, shop: Workshop) -> tuple[int, int, float]:
    """Renderings of training and validation pictures that are missing, all of them, and the seconds that will take."""
    missing = total = 0
    seconds = 0.0
    for split, extraction, views in (
        ("train", *_stored_training(division, shop)),
        ("validation", *_stored(division, shop)),
    ):
        digests = [row.digest for row in shop.manifest.split(split)]
        absent = sum(len(shop.store.missing(extraction.key(view), digests)) for view in range(views))
        seconds += absent * seconds_per_picture(extraction) if absent else 0.0
        missing, total = missing + absent, total + views * len(set(digests))
    return missing, total, seconds


def _stored(division: Division, shop: Workshop, views: int = 1) -> tuple[Extraction, int]:
    """What is stored for a stage, and in how many views: the features at its cut."""
    config = shop.config
    stored = Extraction(division.engine, division.fingerprint, shop.pixels, config.augmentation, config.backbone.name)
    return stored, views


def _stored_training(division: Division, shop: Workshop) -> tuple[Extraction, int]:
    """What is stored of the training pictures: their views' features, or the pixels that are rendered fresh."""
    views = number_of_views(shop.config.augmentation, trunk_is_empty=division.engine is None)
    return (Extraction(None, None, shop.pixels), 1) if views == "fresh" else _stored(division, shop, views)


def _labelled(shop: Workshop, split: str) -> Labelled:
    rows = shop.manifest.split(split)
    return Labelled([row.digest for row in rows], shop.manifest.labels(rows))


def _training_feed(division: Division, shop: Workshop) -> tuple[Feed, Counts]:
    rows, pictures, seed = shop.manifest.split("train"), _labelled(shop, "train"), shop.config.seed
    stored, views = _stored_training(division, shop)
    features, counts = extract(stored, rows, views, shop.store, shop.console)
    if number_of_views(shop.config.augmentation, trunk_is_empty=division.engine is None) == "fresh":
        return FreshFeed(pictures, features[0], _stored(division, shop)[0], seed), counts
    return StoredFeed(pictures, features, seed), counts


def validation_feed(division: Division, shop: Workshop) -> tuple[StoredFeed, Counts]:
    """The validation pictures, cut where a stage is cut, and how much of that had to be computed."""
    extraction, views = _stored(division, shop)
    features, counts = extract(extraction, shop.manifest.split("validation"), views, shop.store, shop.console)
    return StoredFeed(_labelled(shop, "validation"), features, shop.config.seed), counts


def _objective(shop: Workshop, pictures: Labelled) -> Objective:
    config, n_classes = shop.config, len(shop.manifest.classes)
    weights = balanced_weights(pictures.labels, n_classes) if config.data.class_weights == "balanced" else None
    kind = MixedObjective if config.augmentation.mixes else Objective
    return kind(config.head.activation, n_classes, config.training.label_smoothing, weights)
