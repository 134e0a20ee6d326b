"""A whole training: stage after stage on one classifier, each with its own cut, features and proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import Stage
from cnncli.config.schema import Config
from cnncli.console import Console
from cnncli.engines.build import build_engine
from cnncli.engines.engine import Engine, EngineChoice
from cnncli.features.extract import Counts, Extraction, extract, seconds_per_picture
from cnncli.features.store import FeatureStore
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.pictures.decode import PixelRecipe
from cnncli.pictures.manifest import Manifest
from cnncli.pictures.views import number_of_views
from cnncli.training.feed import Feed, FreshFeed, Labelled, StoredFeed
from cnncli.training.ledger import LedgerEntry, plan_of
from cnncli.training.objective import Objective, balanced_weights
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
    """

    stage: Stage
    cut: Cut
    fingerprint: str | None
    engine: Engine | None
    graph: Path | None


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
    if cut.trunk is None:
        return Division(stage, cut, None, None, None)
    name = fingerprint(cut.trunk)
    engine, graph = build_engine(cut.trunk, name, shop.choice, shop.graphs, shop.console)
    return Division(stage, cut, name, engine, graph)


def train_stages(classifier: Classifier, stages: Sequence[Stage], shop: Workshop, recorder: Recorder) -> Outcome:
    """Train stage after stage; the classifier ends with the weights of the best epoch.

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
            stage=stage,
            classifier=classifier,
            cut=division.cut,
            training=training,
            validation=validation,
            objective=_objective(shop, training.pictures),
            batch_size=shop.config.training.batch_size,
            monitor=shop.config.training.best.monitor,
        )
        best, entry = train_stage(work, best, epochs + 1, recorder, shop.console)
        epochs += entry.epochs
        ledger.append(entry)
        if problem := entry.hand_over_problem(shop.choice.precision):
            shop.console.warn(problem)
    if best is None:
        raise ValueError("a training has at least one stage")
    return Outcome(best, tuple(ledger), counts, division)


def announce(classifier: Classifier, division: Division, shop: Workshop) -> None:
    """One line before a stage's work: what trains, what runs the trunk, how much is stored, how long it will take."""
    plan = plan_of(division.stage.name, division.stage.unfreeze, classifier, division.cut)
    parts = [f"{plan.trainable_parameters:,} parameters train from {plan.cut_at} on"]
    if division.engine is None:
        parts.append("nothing is frozen, Keras float32")
    else:
        choice = division.engine.choice
        parts.append(f"{plan.frozen_parameters:,} frozen, {choice.engine} {choice.precision}")
    missing, total, seconds = _work_ahead(division, shop)
    parts.append(f"{total:,} pictures and views, {total - missing:,} stored")
    if missing:
        parts.append(f"about {seconds:.0f} s for the others")
    shop.console.phase(f"stage {plan.name}", " · ".join(parts))


def _work_ahead(division: Division, shop: Workshop) -> tuple[int, int, float]:
    """Renderings of training and validation pictures that are missing, all of them, and the seconds that will take."""
    views = number_of_views(shop.config.augmentation, trunk_is_empty=division.engine is None)
    fresh = views == "fresh"
    extraction = Extraction(None, None, shop.pixels) if fresh else _extraction(division, shop)
    missing = total = 0
    for split, count in (("train", 1 if views == "fresh" else views), ("validation", 1)):
        digests = [row.digest for row in shop.manifest.split(split)]
        total += count * len(set(digests))
        missing += sum(len(shop.store.missing(extraction.key(view), digests)) for view in range(count))
    return missing, total, missing * seconds_per_picture(extraction) if missing else 0.0


def _labelled(shop: Workshop, split: str) -> Labelled:
    rows = shop.manifest.split(split)
    return Labelled([row.digest for row in rows], shop.manifest.labels(rows))


def _extraction(division: Division, shop: Workshop) -> Extraction:
    return Extraction(division.engine, division.fingerprint, shop.pixels, shop.config.augmentation)


def _training_feed(division: Division, shop: Workshop) -> tuple[Feed, Counts]:
    rows, pictures, seed = shop.manifest.split("train"), _labelled(shop, "train"), shop.config.seed
    extraction = _extraction(division, shop)
    views = number_of_views(shop.config.augmentation, trunk_is_empty=division.engine is None)
    if views == "fresh":
        stored = Extraction(None, None, shop.pixels)
        (pixels,), counts = extract(stored, rows, 1, shop.store, shop.console)
        return FreshFeed(pictures, pixels, extraction, seed), counts
    features, counts = extract(extraction, rows, views, shop.store, shop.console)
    return StoredFeed(pictures, features, seed), counts


def validation_feed(division: Division, shop: Workshop) -> tuple[StoredFeed, Counts]:
    """The validation pictures, cut where a stage is cut, and how much of that had to be computed."""
    features, counts = extract(
        _extraction(division, shop), shop.manifest.split("validation"), 1, shop.store, shop.console
    )
    return StoredFeed(_labelled(shop, "validation"), features, shop.config.seed), counts


def _objective(shop: Workshop, pictures: Labelled) -> Objective:
    config, n_classes = shop.config, len(shop.manifest.classes)
    weights = balanced_weights(pictures.labels, n_classes) if config.data.class_weights == "balanced" else None
    return Objective(config.head.activation, n_classes, config.training.label_smoothing, weights)
