"""`cnncli update`: add images or classes to a finished run, without its old images."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnncli.config.overrides import variable_notes
from cnncli.config.reader import absolute, cache_settings, load_resolved
from cnncli.config.schema import MAX_NAME_LENGTH, Config
from cnncli.config.solver import exact_obstacles
from cnncli.dataset.build import build_manifest, order_of_row
from cnncli.dataset.inheritance import divided_groups
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.table import ImageTable
from cnncli.engines.build import graphs_in_use
from cnncli.errors import ConfigError, DataError, Message, RunError, printable
from cnncli.evaluation.agreement import PairedTest, RunPredictions, compare_predictions
from cnncli.evaluation.calibration import Calibration
from cnncli.evaluation.outputs import load_outputs
from cnncli.features.extract import require_cached
from cnncli.inference.evaluate_rows import extraction_of
from cnncli.inference.predictor import load_predictor, load_spec, trunk_file
from cnncli.inference.split_outputs import outputs_of_images
from cnncli.metrics.classification import choose_thresholds, wilson_interval
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.template import has_templates
from cnncli.recipes.evaluate import other_data
from cnncli.recipes.train import Run, conclude, solve_run
from cnncli.runs.folder import RunFolder, update_facts
from cnncli.runs.listing import require_finished
from cnncli.runs.log import remembering
from cnncli.runs.tracking import require_tracking
from cnncli.shards.shard import is_there
from cnncli.storage.cache_dir import GRAPHS, make_cache_dir
from cnncli.terminal.console import Console
from cnncli.training.context import BuiltTrunk, TrainingContext
from cnncli.training.exact_head import FrozenNetwork
from cnncli.training.session import new_run

SUFFIX = "-updated"
MAX_LISTED = 20
"""Number of images with contradicting labels that are listed one by one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassChange:
    """A class before and after an update, on the same `n` images.

    Attributes:
        before, after: Fraction of the images of the class that are classified correctly, 0-1; for several labels per
            image, for which the label is predicted. `before` is None for a new class, both are without images.
        before_ci95, after_ci95: Their 95 % Wilson intervals.
        n_train, n_train_before: Numbers of training images.
    """

    name: str
    n: int
    before: float | None
    before_ci95: tuple[float, float] | None
    after: float | None
    after_ci95: tuple[float, float] | None
    n_train: int
    n_train_before: int


@dataclass(frozen=True)
class UpdateResult:
    """An updated run, compared with its parent.

    Attributes:
        run: The new run.
        split: Split on which the two are compared.
        classes: Each class, the old ones first.
        test: Comparison of parent and new run on the images of old classes; None without images.
    """

    run: Run
    split: str
    classes: tuple[ClassChange, ...]
    test: PairedTest | None

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `update --json`."""
        return {**self.run.to_dict(), "split": self.split, "classes": self.classes, "test": self.test}


@remembering()
@standard_settings()
def update(parent: RunFolder, data: Path, runs_dir: Path, console: Console) -> UpdateResult:
    """Solve the head of a finished run again, in a new run, on its images and on others.

    The features of the old images come from the cache, so that their files can be gone. New images of old and new
    classes are divided into splits as `train` would; images that the run knows already keep their split, and others of
    their groups, or similar to them, get it.

    Args:
        parent: The run.
        data: Folder or table of the additional images.
        runs_dir: Folder of the runs.
        console: Console for progress.

    Raises:
        ConfigError: The head of the run cannot be solved exactly.
        DataError: Problems of the new images, or old ones that are neither cached nor there.
        RunError: The run is unfinished or damaged, or its backbone has changed.
    """
    started = time.monotonic()
    config, graphs = _child_config(parent), make_cache_dir() / GRAPHS
    require_tracking(config, runs_dir)
    for note in variable_notes():
        log.warning(note)
    if not has_templates(graphs, config):
        import_keras_meanwhile()
    old = Manifest.from_csv(parent.manifest)
    settings = other_data(config.data, absolute(str(data), Path.cwd()), config.data.max_pixels)
    new = build_manifest(settings, config.seed, console, old=old.rows)
    new.log_issues()
    manifest = _merge(old, new, data)
    added, classes = len(manifest.rows) - len(old.rows), sorted({*manifest.classes} - {*old.classes})
    text = f"{len(old.rows):,} of {printable(parent.path.name)} · {added:,} added"
    console.phase("images", f"{text} · new classes: {', '.join(classes)}" if classes else text)
    context = TrainingContext.for_this_machine(config, manifest, console)
    with graphs_in_use(context.graphs):
        frozen = network_of_parent(context, parent)
        require_cached(frozen.feature_sets(), old.rows, context.store)
        with new_run(context, runs_dir, frozen.template.frozen_sha256, parent.path) as folder:
            update_facts(folder, {"added": str(absolute(str(data), Path.cwd()))})
            run = solve_run(folder, frozen, started)
    run = conclude(run)
    if not all(is_there(row.path) for row in old.rows):
        run = replace(run, layers=0)  # fine-tuning needs the images
    return _compare(run, parent, old, console)


def _child_config(parent: RunFolder) -> Config:
    """Return the config of an updated run: the parent's, with an exact solver and the coverage of its calibration."""
    require_finished(parent)
    config = load_resolved(parent.config)
    for key, reason in exact_obstacles(config):
        text = f"cnncli update solves one linear layer on frozen features, but {key} of the run {reason}."
        remedy = "Train on all images again."
        raise ConfigError(Message("config-not-exact", f"{text} {remedy}", key=key, command="update"))
    name = f"{config.name[: MAX_NAME_LENGTH - len(SUFFIX)].removesuffix(SUFFIX)}{SUFFIX}" if config.name else None
    training = config.training.model_copy(update={"solver": "exact"})
    data = config.data.model_copy(update={"train_images": None, "min_images": 1})
    changed: dict[str, Any] = {"training": training, "name": name, "data": data}
    changed["cache"] = cache_settings(config.cache)
    if calibration := Calibration.load(parent.engine, len(load_spec(parent.engine).classes)):
        changed["evaluation"] = config.evaluation.model_copy(update={"coverage": calibration.coverage})
        if calibration.min_confidences or _has_chosen_thresholds(parent):
            text = "The limits that `cnncli calibrate` chose for classes of the parent are those of its head."
            remedy = "Choose new ones for the updated run."
            log.warning(Message("data-update-calibration", f"{text} {remedy}", path=parent.path))
    return config.model_copy(update=changed)


def _has_chosen_thresholds(parent: RunFolder) -> bool:
    """Return whether the thresholds of a run's labels are others than those that a training chooses."""
    spec, manifest = load_spec(parent.engine), Manifest.from_csv(parent.manifest)
    rows = manifest.split("validation")
    outputs = load_outputs(parent.outputs, "validation", len(rows), spec.units) if spec.is_multi_label else None
    return outputs is not None and spec.thresholds != choose_thresholds(outputs.logits, manifest.labels(rows))


def _merge(old: Manifest, new: Manifest, data: Path) -> Manifest:
    """Return the images of both manifests; those in both keep their split.

    Raises:
        DataError: Images have other labels than in the run, groups are in another split, or no image is new.
    """
    known = {row.digest: row for row in old.rows}
    other = [row for row in new.rows if row.digest in known and row.labels != known[row.digest].labels]
    if other:
        problems = [_other_label(row, known[row.digest]) for row in other[:MAX_LISTED]]
        text = f"{len(other):,} images have another label than in the run."
        remedy = "Correct the labels, or train on all images again."
        raise DataError([*problems, Message("data-update-other-labels", f"{text} {remedy}", n=len(other))])
    added = [row for row in new.rows if row.digest not in known]
    if not added:
        text = f"{printable(data)}: the run has all of these {len(new.rows):,} images already."
        raise DataError(Message("data-update-nothing-new", text, path=data, n=len(new.rows)))
    if divided := divided_groups(added, old.rows):
        group, (received, expected) = next(iter(divided.items()))
        text = (
            f"{printable(data)}: {len(divided):,} groups are in another split than in the run, e.g. {printable(group)}"
        )
        text += f" ({received}, but {expected} in the run). Put them into that split, or provide images without splits."
        facts = {"n": len(divided), "group": group, "received": received, "expected": expected}
        raise DataError(Message("data-update-groups-divided", text, path=data, **facts))
    if n := len(new.rows) - len(added):
        text = f"{n:,} images are in the run already, and keep their split."
        log.info(Message("data-update-known-images", text, n=n))
    rows, classes = sorted((*old.rows, *added), key=order_of_row), sorted({*old.classes, *new.classes})
    return Manifest(
        ImageTable(rows), tuple(classes), new.skipped, is_multi_label=old.is_multi_label, similar=new.similar
    )


def _other_label(row: ImageRecord, known: ImageRecord) -> Message:
    text = f"{printable(row.path)}: {printable(row.label)}, but {printable(known.label)} in the run"
    return Message("data-update-other-label", text, path=row.path, received=row.label, expected=known.label)


def network_of_parent(context: TrainingContext, parent: RunFolder) -> FrozenNetwork:
    """Return the frozen network of a run, with the engines of its trunks, so that cached features are found.

    Raises:
        RunError: The backbone has changed since the run was trained.
    """
    # An int8 trunk is that of the parent: calibrating another one would need images.
    plain = context.config.model_copy(update={"precision": context.choice.precision})
    frozen = replace(FrozenNetwork.of(replace(context, config=plain)), context=context)
    predictor = load_predictor(parent.engine, parent.model, compile_trunk=False)
    if predictor.spec.trunks != frozen.template.trunks:
        text = f"{printable(parent.path)}: the weights of its backbone have changed since."
        remedy = "Train on all images again."
        raise RunError(Message("run-initial-weights-changed", f"{text} {remedy}", path=parent.path))
    if predictor.spec.engine != "openvino":
        return frozen
    networks = [backbone.network.name for backbone in context.config.backbones]
    extraction = replace(extraction_of(predictor, networks), augmentation=context.config.augmentation)
    graphs = [parent.engine / trunk_file(number) for number in range(len(extraction.trunks))]
    trunks = [BuiltTrunk(trunk, graph, None) for trunk, graph in zip(extraction.trunks, graphs, strict=True)]
    return replace(frozen, extraction=extraction, trunks=tuple(trunks))


def _compare(run: Run, parent: RunFolder, old: Manifest, console: Console) -> UpdateResult:
    """Compare an updated run with its parent on the same images, class by class."""
    manifest = Manifest.from_csv(run.folder.manifest)
    split = "test" if manifest.split("test") else "validation"
    rows = manifest.split(split)
    shared = tuple(row for row in rows if {*row.labels} <= {*old.classes})
    before = outputs_of_images(parent, shared, console).predictions(parent.path.name)
    after = outputs_of_images(run.folder, rows, console, split).predictions(run.path.name)
    found = compare_predictions(split, [before, after])
    hits_before, hits_after, hits = _hits(before, shared), _hits(after, shared), _hits(after, rows)
    classes = []
    for name in (*old.classes, *(one for one in manifest.classes if one not in old.classes)):
        n_train, n_train_before = (sum(name in row.labels for row in one.split("train")) for one in (manifest, old))
        if name in old.classes:
            n = sum(name in row.labels for row in shared)
            results = (*_fraction(hits_before[name], n), *_fraction(hits_after[name], n))
        else:
            n = sum(name in row.labels for row in rows)
            results = (None, None, *_fraction(hits[name], n))
        classes.append(ClassChange(name, n, *results, n_train, n_train_before))
    return UpdateResult(run, split, tuple(classes), found.tests[0] if found.tests else None)


def _hits(found: RunPredictions, images: Sequence[ImageRecord]) -> Counter[str]:
    """Return the number of images of each class, among some, for which the class is predicted."""
    counted = {row.digest for row in images}
    pairs = zip(found.images, found.predictions, strict=True)
    return Counter(label for row, said in pairs if row.digest in counted for label in row.labels if label in said)


def _fraction(hits: int, n: int) -> tuple[float | None, tuple[float, float] | None]:
    return (hits / n, wilson_interval(hits, n)) if n else (None, None)
