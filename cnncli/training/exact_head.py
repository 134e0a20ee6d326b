"""Solve the head of a run exactly, on the cached features of its frozen network."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.views import number_of_views
from cnncli.config.modes import metrics_of
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.build import known_engine
from cnncli.engines.engine import Engine
from cnncli.engines.linear import as_vectors
from cnncli.errors import CutError, Message, TrainingError
from cnncli.features.extract import Counts, Extraction, FeatureSet, extract
from cnncli.metrics.classification import Metrics, evaluate_logits
from cnncli.metrics.multilabel import DEFAULT_THRESHOLD
from cnncli.metrics.table import as_validation
from cnncli.networks.arithmetic import count_multiply_adds
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import countable_layers, cut_classifier
from cnncli.networks.fingerprint import hash_arrays, hash_weights
from cnncli.networks.head import LOGITS, output_units
from cnncli.networks.keras_metrics import compute_keras_metrics
from cnncli.networks.losses import evaluate_losses
from cnncli.networks.template import Template, template_folder
from cnncli.runs.records import HistoryRow, RunWriter
from cnncli.storage.cache_dir import not_writable
from cnncli.training.context import BuiltTrunk, TrainingContext, build_engines, describe_frozen
from cnncli.training.inputs import CachedFeatures
from cnncli.training.objective import balanced_weights
from cnncli.training.solvers.exact import FOLDS, solve_head
from cnncli.training.solvers.folds import stratified_folds
from cnncli.training.solvers.problem import HeadProblem, LinearHead
from cnncli.training.stage_report import StagePlan, StageReport

log = logging.getLogger(__name__)


def head_problem(
    config: Config,
    n_classes: int,
    views: Sequence[NDArray[np.float32]],
    boundaries: tuple[int, ...],
    labels: NDArray[Any],
    folds: NDArray[np.int64],
) -> HeadProblem:
    """Return the problem of a config's head for images.

    Args:
        config: The config.
        n_classes: Number of classes.
        views: Features of the images in each view, float32 (n, features).
        boundaries: See `HeadProblem`.
        labels: Their labels; see `Manifest.labels`.
        folds: Their folds, int64 (n,).
    """
    given = config.head.l2 is not None or config.training.l2 > 0
    return HeadProblem(
        features=np.concatenate(views),
        labels=np.concatenate([labels] * len(views)),
        folds=np.tile(folds, len(views)),
        n_classes=n_classes,
        activation=config.head.activation,
        loss=config.training.loss,
        l2=(config.head.l2 or 0.0) + config.training.l2 if given else None,
        label_smoothing=config.training.label_smoothing,
        class_weights=balanced_weights(labels, n_classes) if config.data.class_weights == "balanced" else None,
        boundaries=boundaries,
    )


def read_vectors(source: CachedFeatures, view: int) -> NDArray[np.float32]:
    """Return the features of a view, float32 (n, features), those of several networks concatenated.

    Raises:
        TrainingError: The features are NaN or Inf.
    """
    vectors = as_vectors(source.views[view].rows(np.arange(len(source.labels))))
    if not np.isfinite(vectors).all():
        text = "The features contain NaN or Inf. Check backbone.weights and backbone.preprocessing."
        raise TrainingError(Message("training-features-not-finite", text, key="backbone.weights"))
    return vectors


def _problem(context: TrainingContext, train: CachedFeatures) -> HeadProblem:
    manifest, config, labels = context.manifest, context.config, train.labels
    groups = [image.group for image in manifest.split("train")]
    folds = stratified_folds(labels, list(train.digests), groups, min(FOLDS, len(labels)), config.seed)
    views = [read_vectors(train, view) for view in range(len(train.views))]
    return head_problem(config, len(manifest.classes), views, train.boundaries, labels, folds)


def solve_on(context: TrainingContext, train: CachedFeatures) -> LinearHead:
    """Solve the head of a config on the features of its training images.

    Raises:
        TrainingError: The features are NaN or Inf, or do not fit into memory.
    """
    try:
        return solve_head(_problem(context, train))
    except MemoryError as error:
        text = "stage head: the features of all views do not fit into memory, where the exact solver needs them."
        remedy = "Use head.pooling=avg, fewer augmentation.views, or training.solver=gradient."
        raise TrainingError(
            Message("training-exact-out-of-memory", f"{text} {remedy}", key="training.solver")
        ) from error


def evaluate_head(head: LinearHead, config: Config, manifest: Manifest, source: CachedFeatures) -> Metrics:
    """Return the metrics of a head on features, with those of Keras that the config names."""
    return evaluate_scores(scores_of(head, source), config, manifest, source)


def scores_of(head: LinearHead, source: CachedFeatures) -> NDArray[np.float32]:
    """Return the logits (n, units) of a head on features."""
    return np.asarray(read_vectors(source, 0) @ head.kernel + head.bias)


def evaluate_scores(logits: NDArray[np.float32], config: Config, manifest: Manifest, source: CachedFeatures) -> Metrics:
    """Return the metrics of the logits of features, with those of Keras that the config names."""
    classes, activation, labels = manifest.classes, config.head.activation, source.labels
    losses_of = partial(evaluate_losses, config.training.loss)
    found = evaluate_logits(logits, labels, classes, activation, (DEFAULT_THRESHOLD,) * len(classes), losses_of)
    if not (others := metrics_of(config)):
        return found
    values = compute_keras_metrics(others, logits, labels, activation)  # needs Keras
    return replace(found, values={**found.values, **values})


@dataclass(frozen=True)
class FrozenNetwork:
    """The frozen network below a linear head, known from a template or built by Keras.

    Attributes:
        template: The saved classifier with another head.
        extraction: How its features are computed.
        trunks: The trunks of the extraction with their files.
    """

    context: TrainingContext
    template: Template
    extraction: Extraction
    trunks: tuple[BuiltTrunk, ...]

    @classmethod
    def of(cls, context: TrainingContext) -> FrozenNetwork:
        """Return the network of a config, without Keras if it is known. For errors, see `build_classifier`."""
        folder = template_folder(context.graphs, context.config, len(context.manifest.classes))
        if (template := Template.load(folder)) is None:
            return cls._build(context, folder)
        known = [known_engine(trunk, context.choice, context.graphs) for trunk in template.trunks]
        found = [one for one in known if one is not None]
        return cls._with_engines(context, template, found) if len(found) == len(known) else cls._build(context, folder)

    @classmethod
    def _with_engines(
        cls, context: TrainingContext, template: Template, engines: Sequence[tuple[Engine, Path | None]]
    ) -> FrozenNetwork:
        trunks = context.trunks(engines, template.trunks, template.multiply_adds, template.ends, _n_views(context))
        return cls(context, template, context.extraction(trunks), trunks)

    @classmethod
    def _build(cls, context: TrainingContext, folder: Path) -> FrozenNetwork:
        classifier = build_classifier(context.config, len(context.manifest.classes))
        cut = cut_classifier(classifier, 0, context.stages[0].batch_norm)
        if cut.trunk is None:
            key, text = "training.solver", "the backbone has no weights, so there is nothing frozen below the head."
            remedy = "Set training.solver=gradient, or mode=from-scratch."
            raise CutError(Message("cut-nothing-frozen", f"{key}: {text} {remedy}", key=key))
        prints, engines = build_engines(cut, context)
        facts = {
            "frozen_parameters": sum(math.prod(weight.shape) for weight in cut.trunk.weights),
            "frozen_sha256": hash_weights(layer for layer in classifier.model.layers if layer.name not in cut.trained),
            "multiply_adds": [count_multiply_adds(trunk) for trunk in cut.trunks],
            "n_countable": len(countable_layers(classifier)),
            "pretrained": classifier.pretrained,
        }
        try:
            template = Template.make(folder, classifier, cut, prints, facts)
        except OSError as error:  # another process may have made the same template
            if (found := Template.load(folder)) is None:
                raise not_writable(error, folder) from error
            template = found
        return cls._with_engines(context, template, engines)

    @property
    def plan(self) -> StagePlan:
        """The head as a stage without epochs."""
        manifest, shapes = self.context.manifest, [shape for _, shape in self.template.crossing]
        units = output_units(self.context.config.head, len(manifest.classes), manifest.is_multi_label)
        n, frozen = (sum(map(math.prod, shapes)) + 1) * units, self.template.frozen_parameters
        return StagePlan("head", 0, LOGITS, self.template.crossing, (LOGITS,), (n,), n, frozen)

    def feature_sets(self) -> list[FeatureSet]:
        """Return the features of training and validation images."""
        manifest = self.context.manifest
        validation = manifest.split("validation")
        return [
            FeatureSet(self.extraction, manifest.split("train"), _n_views(self.context)),
            FeatureSet(self.extraction, validation, min(1, len(validation))),
        ]

    def load(self) -> tuple[CachedFeatures, CachedFeatures, Counts]:
        """Return the features of the training and validation images, and how many were computed."""
        (train, computed), (validation, others) = map(self._load, self.feature_sets())
        return train, validation, computed + others

    def load_images(self, images: Sequence[ImageRecord]) -> CachedFeatures:
        """Return the features of images of the manifest in all views of training images."""
        return self._load(FeatureSet(self.extraction, images, _n_views(self.context)))[0]

    def _load(self, features: FeatureSet) -> tuple[CachedFeatures, Counts]:
        views, counts = extract(features, self.context.store, self.context.console, self.context.machines.compute)
        labels = self.context.manifest.labels(features.images)
        return CachedFeatures(features.digests, labels, self.context.config.seed, views), counts

    def announce(self) -> None:
        """Print one line about the head, its frozen network, and what is cached."""
        sets = self.feature_sets()
        total, missing = sum(one.total for one in sets), sum(one.missing(self.context.store) for one in sets)
        frozen = describe_frozen(self.template.frozen_parameters, self.extraction)
        cached = f"{total:,} images{self.extraction.in_words}: {total - missing:,} cached"
        parts = [f"{self.plan.trainable_parameters:,} weights of {LOGITS}", frozen, cached]
        if self.context.config.training.devices != 1:
            parts.append("on one device, because it is a head on cached features")
        self.context.console.phase("stage head", " · ".join(parts))


def _n_views(context: TrainingContext) -> int:
    """Return the number of views of each training image."""
    views = number_of_views(context.config.augmentation, trunk_is_empty=False)
    if views == "fresh":
        raise TypeError("a head is solved on cached views")
    return views


@dataclass(frozen=True)
class SolvedHead:
    """A solved head with its results, as the only epoch of its only stage."""

    head: LinearHead
    row: HistoryRow
    report: StageReport
    features: Counts


def solve(frozen: FrozenNetwork, writer: RunWriter) -> SolvedHead:
    """Solve the head of a run, and write its history and its report.

    Raises:
        TrainingError: The features are NaN or Inf, or do not fit into memory.
        DataError: Images can no longer be decoded.
    """
    frozen.announce()
    context = frozen.context
    context.store.keep_only(key for features in frozen.feature_sets() for key in features.keys)
    train, validation, counts = frozen.load()
    started = time.monotonic()
    head = solve_on(context, train)
    metrics = dict(evaluate_head(head, context.config, context.manifest, train).values)
    if len(validation.labels):
        metrics |= as_validation(evaluate_head(head, context.config, context.manifest, validation).values)
    seconds = time.monotonic() - started
    row = HistoryRow("head", 1, None, metrics, seconds, len(train.labels) / seconds, head.solution.penalty)
    report = StageReport(
        plan=frozen.plan,
        learning_rate=None,
        epochs=1,
        best_epoch=1,
        inherited_val_loss=None,
        start_val_loss=None,
        end_val_loss=row.validation.get("loss"),
        frozen_weights_sha256=(frozen.template.frozen_sha256,) * 2,
        trained_weights_sha256=(hash_arrays([]), hash_arrays([head.kernel, head.bias])),
        solution=head.solution,
    )
    writer.write_epoch([row])
    writer.write_stages([report.to_dict()])
    text = f"stage head: {report.describe()}"
    log.info(Message("training-stage-finished", text, stage="head", best_epoch=1))
    if _has_no_optimum(context.config, head, metrics["accuracy"], len(train.views)):
        text = f"head.l2: 0, but all {len(train.labels):,} training images are classified correctly, so that larger"
        remedy = "weights are always better, and the solver stopped at some. Leave head.l2 out, or set it above 0."
        log.warning(Message("training-no-optimum", f"{text} {remedy}", key="head.l2", received=0.0))
    return SolvedHead(head, row, report, counts)


def _has_no_optimum(config: Config, head: LinearHead, accuracy: float, n_views: int) -> bool:
    """Return whether the cross-entropy of a head falls without end, as without penalty for images that it separates."""
    is_logistic, has_end = head.solution.method == "logistic regression", config.training.label_smoothing > 0
    return is_logistic and not has_end and head.solution.l2 == 0 and accuracy == 1 and n_views == 1
