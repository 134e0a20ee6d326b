"""`cnncli advise`: recommend a way to train, with evidence.

The advice is the table with four cases of courses on transfer learning (CS231n): few or many images, similar to
ImageNet or different. Which case it is, is measured on cached features: by linear probes at several depths, and by the
learning curve of the head.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.modes import FINE_TUNING_EPOCHS
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.errors import CnncliError, ConfigError, DataError, Message, printable
from cnncli.evaluation.cross_validation import DEFAULT_FOLDS, Pool
from cnncli.evaluation.depth_probes import Probe, probe_depths, probe_pool
from cnncli.evaluation.learning_curve import LearningCurve, measure_learning_curve
from cnncli.metrics.table import GOOD_ENOUGH
from cnncli.networks.architectures import has_local_weights
from cnncli.networks.backend import standard_settings
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import countable_layers, cut_classifier
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.recipes.crossval import frozen_network
from cnncli.storage.atomic import output_path, write_atomically
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent
from cnncli.training.context import TrainingContext
from cnncli.training.exact_head import FrozenNetwork
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep

FEW, MANY = 100, 5_000
"""Images per class below which a dataset is small and from which on it is large, whatever the learning curve says."""
LAST_LAYERS = 4
TIMED_IMAGES, TIMED_STEPS = 8, 2

Size = Literal["small", "large"]
Kind = Literal["similar", "different"]
Read = Callable[[Sequence[str]], Config]

log = logging.getLogger(__name__)

CASES: dict[tuple[Size, Kind], tuple[str, tuple[str, ...]]] = {
    ("small", "similar"): ("a linear head on the frozen backbone", ("mode=feature-extraction",)),
    ("small", "different"): ("a linear head on an earlier layer", ("mode=feature-extraction",)),
    ("large", "similar"): (
        "fine-tuning of the last layers",
        ("mode=fine-tuning", "training.solver=gradient", f"training.unfreeze={LAST_LAYERS}"),
    ),
    ("large", "different"): (
        "fine-tuning of all layers",
        ("mode=fine-tuning", "training.solver=gradient", "training.unfreeze=all"),
    ),
}
"""Recommendation of the table in each case, and the settings."""


@dataclass(frozen=True)
class BackboneResult:
    """A backbone with its cross-validated head.

    Attributes:
        name: Name of the network, or of the file of its weights.
        setting: The setting that selects it, `KEY=VALUE`.
        probe: Result of the head.
        ms: Milliseconds to decode an image and run it through the frozen backbone on this machine.
        mb: Size of its weights in float32.
    """

    name: str
    setting: str
    probe: Probe
    ms: float
    mb: float

    def to_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        values = {"name": self.name, "accuracy": self.probe.accuracy, "ci95": self.probe.ci95}
        return {**values, "p": self.probe.p, "ms_per_image": self.ms, "mb": self.mb}


@dataclass(frozen=True)
class TimeEstimate:
    """Estimated time of a training on this machine: what is computed once, then for each epoch."""

    way: str
    once_s: float
    epoch_s: float
    epochs: int

    @property
    def total_s(self) -> float:
        """Duration of the training."""
        return self.once_s + self.epochs * self.epoch_s


@dataclass(frozen=True)
class Advice:
    """A recommendation with its evidence.

    Attributes:
        n, n_classes: Numbers of training and validation images, and of classes.
        probes: Linear probes, the lowest layer first.
        curve: Learning curve of the head; None with too few images.
        times: Estimated times of the ways to train.
        backbones: Compared backbones, the most accurate first; empty if they were not compared.
        problems: Problems of backbones that could not be compared.
        config: The recommended config.
        out: The file to which it is written, or None.
    """

    n: int
    n_classes: int
    probes: tuple[Probe, ...]
    curve: LearningCurve | None
    times: tuple[TimeEstimate, ...]
    config: Config
    backbones: tuple[BackboneResult, ...] = ()
    problems: tuple[Message, ...] = field(default=())
    out: Path | None = None

    @property
    def per_class(self) -> float:
        """Number of training and validation images per class."""
        return self.n / self.n_classes

    @property
    def size(self) -> Size:
        """Whether the dataset is small or large for its problem; see `size_of`."""
        return size_of(self.per_class, self.curve)

    @property
    def kind(self) -> Kind:
        """Whether the images are similar to those of ImageNet or different; see `kind_of`."""
        return kind_of(self.probes)

    @property
    def recommendation(self) -> str:
        """The recommended training; see `recommend`."""
        return recommend(self.size, self.kind, self.probes)[0]

    def config_text(self) -> str:
        """Return the recommended config as YAML, with the reason at its top."""
        accuracy, preposition = percent(self.probes[-1].accuracy), "to" if self.kind == "similar" else "from"
        reason = f"{self.size}, {self.per_class:,.0f} images per class, {self.kind} {preposition} ImageNet"
        return (
            f"# Recommended by `cnncli advise`: {self.recommendation}.\n"
            f"# The dataset: {reason}; a linear head has {accuracy} in cross-validation.\n"
            f"{dump_config(self.config, is_short=True, folder=self.out and self.out.parent)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `advise --json`."""
        return {
            "n": self.n,
            "n_classes": self.n_classes,
            "size": self.size,
            "kind": self.kind,
            "recommendation": self.recommendation,
            "probes": self.probes,
            "learning_curve": self.curve,
            "times": [{**vars(one), "total_s": one.total_s} for one in self.times],
            "backbones": self.backbones,
            "problems": self.problems,
            "config": self.config_text(),
        }


def size_of(per_class: float, curve: LearningCurve | None) -> Size:
    """Return whether a dataset is small: more images would still improve even a head, the smallest thing to train.

    Then there are not enough of them to train millions of weights below it. With fewer than `FEW` images per class, the
    dataset is always small, with `MANY` it is large.
    """
    if per_class < FEW or curve is None:
        return "small"
    return "large" if per_class >= MANY or not curve.would_help else "small"


def kind_of(probes: Sequence[Probe]) -> Kind:
    """Return whether images are different from ImageNet's: an earlier layer has better features than the last one.

    Features become more specific to the classes of ImageNet with depth, which helps with similar images only. The
    difference must be significant in McNemar's test.
    """
    return "different" if best_depth(probes) else "similar"


def best_depth(probes: Sequence[Probe]) -> str | None:
    """Return the layer of the most accurate probe if it is significantly better than the last one, or None."""
    *others, last = probes
    better = [one for one in others if one.is_better_than(last)]
    return max(better, key=lambda one: one.accuracy).layer if better else None


def recommend(size: Size, kind: Kind, probes: Sequence[Probe]) -> tuple[str, tuple[str, ...]]:
    """Return what the table recommends, or a linear head where it is `GOOD_ENOUGH`, and the settings."""
    is_good_enough = probes[-1].accuracy >= GOOD_ENOUGH
    return CASES["small" if is_good_enough else size, kind]


@standard_settings()
def advise(
    read: Read,
    console: Console,
    folds: int | None = None,
    backbones: bool = False,
    weights: Path | None = None,
    out: Path | None = None,
    show: Callable[[Advice], None] | None = None,
) -> Advice:
    """Recommend a way to train a config, with evidence from its training and validation images.

    Args:
        read: Function that returns the config with overrides, `KEY=VALUE` texts.
        console: Console for progress.
        folds: Number of folds; None: `data.folds`, or else 5.
        backbones: Whether to compare the backbones whose ImageNet weights are here, and to continue with the fastest of
            those that are not significantly less accurate than the best.
        weights: Folder with further files of weights to compare, `NETWORK_….h5`.
        out: YAML file for the recommended config; None: none is written.
        show: Called with the result before `out` is written, so that a full disk does not lose it.

    Raises:
        ConfigError: The head of the config cannot be solved exactly, or there is no folder `weights`.
        DataError: Problems of the images, or too few for the folds.
        CnncliError: `out` is not the name of a YAML file, or its folder does not exist.
    """
    path = None if out is None else output_path(out, (".yaml", ".yml"))
    if weights and not weights.is_dir():
        text = f"--weights {printable(weights)}: there is no such folder."
        raise ConfigError(Message("usage-value-invalid", text, key="--weights", received=weights))
    chosen: list[str] = []
    folds = folds or read([]).data.folds or DEFAULT_FOLDS
    compared: tuple[BackboneResult, ...] = ()
    problems: tuple[Message, ...] = ()
    if backbones or weights:
        compared, problems = _compare_backbones(read, _settings_of_backbones(weights), folds, console)
        chosen = [choose_backbone(compared).setting]
    with frozen_network(read(chosen), "advise", console) as frozen:
        pool = Pool.load(frozen)
        probes, curve, times = _measure(frozen, pool, folds, console)
    size, kind = size_of(len(pool.images) / len(pool.classes), curve), kind_of(probes)
    settings = [*chosen, *recommend(size, kind, probes)[1]]
    if "mode=feature-extraction" in settings and (layer := best_depth(probes)):
        settings.append(f"backbone.output_layer={layer}")
    config = read(settings)
    found = Advice(len(pool.images), len(pool.classes), probes, curve, times, config, compared, problems, path)
    if show:
        show(found)
    if path is not None:
        write_atomically(path, found.config_text())
    return found


def _measure(
    frozen: FrozenNetwork, pool: Pool, folds: int, console: Console
) -> tuple[tuple[Probe, ...], LearningCurve | None, tuple[TimeEstimate, ...]]:
    """Return linear probes, the learning curve of the head, and estimated times of the ways to train."""
    context = frozen.context
    classifier = build_classifier(context.config, len(pool.classes))
    console.phase("probes", f"{len(pool.images):,} images in {folds} folds · test images are not used")
    began = time.monotonic()
    last = probe_pool(pool, folds)
    solve_s = (time.monotonic() - began) / folds
    probes = (*probe_depths(classifier, context, pool, last, folds), last)
    return probes, _learning_curve(pool, folds), _times(frozen, classifier, context, solve_s)


def _learning_curve(pool: Pool, folds: int) -> LearningCurve | None:
    try:
        return measure_learning_curve(replace(pool, views=pool.views[:1]), folds, pool.config.seed)
    except DataError as error:  # too few images
        log.info(error.problems[0])
        return None


def _settings_of_backbones(weights: Path | None) -> dict[str, str]:
    """Return the setting of each network whose ImageNet weights are here, and of each file of weights in a folder."""
    here = [info.name for info in NETWORKS.values() if info.has_imagenet and has_local_weights(info)]
    found = {name: f"backbone={{name: {name}}}" for name in here}
    for file in sorted(weights.glob("*.h5") if weights else ()):
        names = [name for name in NETWORKS if re.match(rf"{re.escape(name)}[_.]", file.name)]
        if names:
            path = json.dumps(str(file.resolve()))
            found[file.name] = f"backbone={{name: {names[0]}, weights: {path}}}"
    return found


def _compare_backbones(
    read: Read, settings: Mapping[str, str], folds: int, console: Console
) -> tuple[tuple[BackboneResult, ...], tuple[Message, ...]]:
    """Return the results of backbones by their settings, the most accurate first, and the problems of others.

    Raises:
        ConfigError: None of them could be compared.
    """
    found: list[BackboneResult] = []
    problems = dict[Message, None]()
    for number, (name, setting) in enumerate(settings.items(), start=1):
        console.phase("backbone", f"{number} of {len(settings)}: {name}")
        try:
            with frozen_network(read([setting]), "advise", console) as frozen:
                probe = probe_pool(Pool.load(frozen), folds)
                ms = 1e3 * frozen.extraction.seconds_per_image
                mb = 4e-6 * frozen.template.frozen_parameters
                found.append(BackboneResult(name, setting, probe, ms, mb))
        except CnncliError as error:
            problems |= dict.fromkeys(error.problems)
    if not found:
        text = "--backbones: the ImageNet weights of no network are on this machine, or none can be used."
        raise ConfigError([*problems, Message("config-no-backbones", text, key="backbone.weights")])
    found.sort(key=lambda one: one.probe.accuracy, reverse=True)
    best, *others = found
    compared = (best, *(replace(one, probe=one.probe.against(best.probe)) for one in others))
    return compared, tuple(problems)


def choose_backbone(compared: Sequence[BackboneResult]) -> BackboneResult:
    """Return the fastest of the backbones that are not significantly less accurate than the first one, the best."""
    best = compared[0]
    return min((one for one in compared if not one.probe.is_worse_than(best.probe)), key=lambda one: one.ms)


def _times(
    frozen: FrozenNetwork, classifier: Classifier, context: TrainingContext, solve_s: float
) -> tuple[TimeEstimate, ...]:
    """Estimate the times of three ways to train all images, without what is cached."""
    manifest, config = context.manifest, context.config
    n_images, n_train = len(manifest.rows), len(manifest.split("train"))
    features_s = frozen.extraction.seconds_per_image * n_images
    estimates = [TimeEstimate("linear head", features_s + solve_s, 0.0, 0)]
    if len(config.backbones) > 1 or config.evaluation.tta != "none":
        return tuple(estimates)  # whose backbones stay frozen
    ways: list[int | str] = [min(LAST_LAYERS, len(countable_layers(classifier))), "all"]
    for unfreeze in [way for way in ways if way]:
        seconds = step_seconds(classifier, context, unfreeze)
        name = "all layers" if unfreeze == "all" else f"last {unfreeze} layers"
        estimates.append(TimeEstimate(f"fine-tuning, {name}", features_s, seconds * n_train, FINE_TUNING_EPOCHS))
    return tuple(estimates)


def step_seconds(classifier: Classifier, context: TrainingContext, unfreeze: int | str) -> float:
    """Return the measured time of a training step per image with random features. Changes the weights."""
    cut = cut_classifier(classifier, unfreeze)
    precision = context.choice.precision if is_convolutional(cut.tail) else "float32"
    objective = Objective.from_config(context.config, len(context.manifest.classes))
    step = TrainStep(cut.training_tail, build_optimizer(context.config.training.optimizer), objective, precision)
    rng = np.random.default_rng(0)
    inputs = [rng.random((TIMED_IMAGES, *shape), np.float32) for _, shape in cut.crossing]
    labels = context.manifest.labels(context.manifest.split("train")[:1]).repeat(TIMED_IMAGES, axis=0)
    step.repeat(inputs, labels)  # compiles
    began = time.monotonic()
    for _ in range(TIMED_STEPS):
        step.repeat(inputs, labels)
    return (time.monotonic() - began) / (TIMED_STEPS * TIMED_IMAGES)
