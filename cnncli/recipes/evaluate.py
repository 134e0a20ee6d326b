"""`cnncli evaluate`: evaluate a run on a split or on a different folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.data_settings import DataConfig, LabelsConfig
from cnncli.config.overrides import variable_notes
from cnncli.config.reader import absolute, cache_settings, is_table, load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.build import manifest_of_folder
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.verification import require_unchanged
from cnncli.errors import ConfigError, DataError, Message, MinimumMissedError, RunError, printable, reason_of
from cnncli.evaluation.agreement import shared_images
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.predictions import OTHER_DATA
from cnncli.features.extract import FeatureSet, require_cached
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.inference.crops import multi_crop_logits
from cnncli.inference.ensemble import Rule, combine, require_same_classes, to_logits
from cnncli.inference.evaluate_rows import assess, compute_outputs, evaluate_manifest, extraction_of, save_assessments
from cnncli.inference.predictor import Predictor, load_predictor, load_spec
from cnncli.inference.robustness import Robustness, measure_robustness
from cnncli.inference.split_outputs import outputs_of_images
from cnncli.metrics.classification import Metrics, evaluate_logits
from cnncli.networks.backend import standard_settings
from cnncli.report.robustness_plot import draw_robustness
from cnncli.runs.documents import damaged, time_text, utc_now
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.shards.shard import is_there
from cnncli.storage.cache_dir import FEATURES, make_cache_dir
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent

CROPS = (5, 10)
"""Numbers of crops of multi-crop evaluation."""
REMEDY = "use `cnncli evaluate --data DIR` to evaluate the current images of a folder"
"""Remedy if images of the run are missing or have changed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a run on a split (`train`, `validation` or `test`), or on the folder in `data`.

    `crops` is the number of crops of each image whose predictions were averaged; 1: the image itself. `robustness` has
    the results under perturbations, if any were requested. `assessment` has everything else about the evaluation of the
    images themselves.
    """

    run: Path
    split: str
    data: Path | None
    metrics: Metrics
    crops: int = 1
    robustness: tuple[Robustness, ...] = ()
    assessment: Assessment | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `evaluate --json`."""
        where: dict[str, Any] = {} if self.data is None else {"data": str(self.data)}
        where |= {"crops": self.crops} if self.crops > 1 else {}
        perturbed = {"robustness": [one.to_dict() for one in self.robustness]} if self.robustness else {}
        more = self.assessment.to_dict() if self.assessment else {}
        return {"run": str(self.run), "split": self.split, **where, **self.metrics.to_dict(), **more, **perturbed}

    def require(self, minimum: float) -> None:
        """Raise `MinimumMissedError` if the top-1 accuracy is below `minimum` (0-1)."""
        accuracy = self.metrics.top1
        if accuracy < minimum:
            text = f"accuracy on {self.split} is {percent(accuracy)}, below the required {percent(minimum)}."
            facts = {"split": self.split, "received": accuracy, "expected": minimum}
            raise MinimumMissedError(Message("metrics-minimum-missed", text, **facts))


@dataclass(frozen=True)
class EnsembleEvaluation:
    """Metrics of several runs together on the images of a split that all of them have, or on the folder in `data`.

    Attributes:
        runs: Directories of the runs.
        rule: How their probabilities are combined.
        n_left_out: Number of images that only some of the runs have.
        metrics: Metrics of the ensemble; its loss is the cross-entropy.
        members: Metrics of each run on the same images, with the same loss.
    """

    runs: tuple[Path, ...]
    rule: Rule
    split: str
    data: Path | None
    n_left_out: int
    metrics: Metrics
    members: tuple[Metrics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `evaluate --ensemble --json`."""
        return {
            "runs": [str(run) for run in self.runs],
            "ensemble": self.rule,
            "split": self.split,
            **({} if self.data is None else {"data": str(self.data)}),
            "n_left_out": self.n_left_out,
            **self.metrics.to_dict(),
            "members": [metrics.summary() for metrics in self.members],
        }

    def require(self, minimum: float) -> None:
        """Raise `MinimumMissedError` if the top-1 accuracy is below `minimum` (0-1)."""
        Evaluation(self.runs[0], self.split, self.data, self.metrics).require(minimum)


@standard_settings()
def evaluate_ensemble(
    runs: Sequence[RunFolder],
    rule: Rule,
    console: Console,
    split: str | None = None,
    data: Path | None = None,
    allow_missing: bool = False,
) -> EnsembleEvaluation:
    """Evaluate several runs together, on images that are in the same split of all of them, or on a folder.

    Raises:
        ConfigError: The runs do not have the same classes, or both `split` and `data` are given.
        DataError: Images are unreadable, missing or changed.
        RunError: A run is unfinished, or the runs share no images.
    """
    if data is not None and split is not None:
        text = "data and split cannot be used together: data selects the test split of a folder, or all of its images."
        raise ConfigError(Message("usage-options-conflict", text, key="split", received=split))
    for run in runs:
        require_finished(run)
    specs = [load_spec(run.engine) for run in runs]
    require_same_classes([run.path.name for run in runs], specs)
    manifests = [Manifest.from_csv(run.manifest) for run in runs]
    if data is not None:
        settings = other_data(load_resolved(runs[0].config).data, absolute(str(data), Path.cwd()), specs[0].max_pixels)
        manifest, split, n_left_out = manifest_of_folder(settings, specs[0].classes, allow_missing, console), "test", 0
        manifest.log_issues()
        for run in runs:
            _warn_about_known_images(manifest, run)
        rows: Sequence[ImageRecord] = manifest.rows
    else:
        manifest = manifests[0]
        split = split or ("test" if all(one.split("test") for one in manifests) else "validation")
        of_runs = [one.split(split) for one in manifests]
        rows = tuple(shared_images(of_runs))
        n_left_out = len({row.digest for one in of_runs for row in one}) - len(rows)
        if not rows:
            text = f"{len(runs)} runs share no images of the {split} split."
            raise RunError(Message("run-split-missing", text, path=runs[0].path, received=split, expected=()))
    console.phase("evaluate", f"{split} {len(rows):,} · {len(runs)} runs, {rule}")
    place = None if data is not None else split
    outputs = [outputs_of_images(run, rows, console, place) for run in runs]
    combined, thresholds = combine([one.probabilities for one in outputs], [one.thresholds for one in specs], rule)
    labels, kind = manifest.labels(rows), "sigmoid" if manifest.is_multi_label else "softmax"

    def measure(probabilities: NDArray[np.float64], limits: Sequence[float]) -> Metrics:
        logits = to_logits(probabilities, is_multi_label=manifest.is_multi_label)
        return evaluate_logits(logits, labels, manifest.classes, kind, limits)

    members = [measure(one.probabilities, one.spec.thresholds) for one in outputs]
    paths, metrics = tuple(run.path for run in runs), measure(combined, thresholds)
    return EnsembleEvaluation(paths, rule, split, data, n_left_out, metrics, tuple(members))


@standard_settings()
def evaluate(
    run: RunFolder,
    console: Console,
    split: str | None = None,
    data: Path | None = None,
    allow_missing: bool = False,
    *,
    crops: int = 1,
    perturb: Sequence[str] = (),
    figures: bool = False,
) -> Evaluation:
    """Evaluate a run with its own engine and precision; for the arguments, see `cnncli.evaluate`.

    `perturb` has the names of perturbations: their results over the strength are measured, and drawn in the run. With
    `figures`, the evaluation is drawn there, too.

    Raises:
        CacheError: The cache folder cannot be created.
        ConfigError: Both `split` and `data` are given, or there is no such number of crops.
        DataError: The classes do not match, or images are unreadable, missing or changed; the error lists all of them.
        RunError: The run is unfinished, or has no such split.
    """
    _require_compatible(split, data, crops, perturb, figures)
    require_finished(run)
    store_folder = make_cache_dir() / FEATURES
    for note in variable_notes():
        log.warning(note)
    config, predictor = load_resolved(run.config), load_predictor(run.engine, run.model)
    if data is None:
        manifest, split, rows = _own_images(run, split, config, predictor, console, crops > 1 or bool(perturb))
    else:
        data, split = absolute(str(data), Path.cwd()), "test"
        manifest = _other_images(run, data, config, predictor, allow_missing, console)
        rows = _rows(manifest, split, run)
    cropped = f" · {crops} crops of each image" if crops > 1 else ""
    console.phase("evaluate", f"{split} {len(rows):,}{cropped} · {predictor.spec.in_words}")
    if crops > 1:
        averaged = multi_crop_logits(predictor, rows, crops, console)
        metrics = evaluate_manifest(predictor.spec, manifest, rows, averaged)
        evaluation = Evaluation(run.path, split, data, metrics, crops)
        _record(run, evaluation)
        return evaluation
    with FeatureStore(store_folder, cache_settings(config.cache).max_bytes) as store:
        networks = [backbone.network.name for backbone in config.backbones]
        outputs, _ = compute_outputs(predictor, rows, store, console, networks=networks)
    place = split if data is None else OTHER_DATA
    found = assess(predictor.spec, predictor.calibration, manifest, rows, place, outputs)
    with suppress(OSError):  # a run may be on a read-only disk
        save_assessments(run, [found], {place: outputs} if data is None else {})
    robustness = measure_robustness(predictor, manifest, rows, outputs.logits, perturb, console) if perturb else []
    _draw_robustness(run, split, robustness)
    if figures:
        _draw(run, found, predictor.spec.pixels)
    evaluation = Evaluation(run.path, split, data, found.metrics, robustness=tuple(robustness), assessment=found)
    _record(run, evaluation)
    return evaluation


def _require_compatible(
    split: str | None, data: Path | None, crops: int, perturb: Sequence[str], figures: bool
) -> None:
    """Raise ConfigError if options cannot be used together, or there is no such number of crops."""
    if data is not None and split is not None:
        text = "data and split cannot be used together: data selects the test split of a folder, or all of its images."
        raise ConfigError(Message("usage-options-conflict", text, key="split", received=split))
    if crops not in (1, *CROPS):
        text = f"crops: received {crops!r}, expected one of {', '.join(map(str, (1, *CROPS)))}."
        raise ConfigError(Message("usage-crops", text, key="crops", received=crops, expected=(1, *CROPS)))
    if crops > 1 and (perturb or figures):
        key, name = ("perturb", "perturbations") if perturb else ("figures", "figures")
        text = f"crops and {name} cannot be used together; evaluate twice."
        raise ConfigError(Message("usage-options-conflict", text, key=key, received=crops))


def _own_images(
    run: RunFolder, split: str | None, config: Config, predictor: Predictor, console: Console, needs_pixels: bool
) -> tuple[Manifest, str, Sequence[ImageRecord]]:
    """Return the manifest of the run, the split to evaluate, and its images, which are usable."""
    manifest = Manifest.from_csv(run.manifest)
    if (manifest.classes, manifest.is_multi_label) != (predictor.spec.classes, predictor.spec.is_multi_label):
        raise damaged(run.manifest, "has other classes than the run's engine")
    split = split or ("test" if manifest.split("test") else "validation")
    rows = _rows(manifest, split, run)
    _require_images(rows, config, predictor, console, needs_pixels=needs_pixels)
    return manifest, split, rows


def _other_images(
    run: RunFolder, data: Path, config: Config, predictor: Predictor, allow_missing: bool, console: Console
) -> Manifest:
    """Return the manifest of a folder of other images; images that the run knows are a warning."""
    settings = other_data(config.data, data, predictor.spec.max_pixels)
    manifest = manifest_of_folder(settings, predictor.spec.classes, allow_missing, console)
    manifest.log_issues()
    _warn_about_known_images(manifest, run)
    return manifest


def _draw(run: RunFolder, found: Assessment, pixels: PixelSpec) -> None:
    """Draw an evaluation in the figures of the run."""
    from cnncli.report.evaluation_figures import draw_evaluation  # matplotlib's helpers would delay the results

    try:
        paths = draw_evaluation(found, pixels, run.path.name, run.figures)
    except OSError as error:  # a run may be on a read-only disk
        log.warning(f"{printable(run.figures)}: cannot be written ({reason_of(error)})")
        return
    log.info(f"figures {', '.join(printable(path.name) for path in paths)} in {printable(run.figures)}")


def _draw_robustness(run: RunFolder, split: str, robustness: Sequence[Robustness]) -> None:
    """Draw the results of each perturbation as `figures/robustness-NAME.png` of the run."""
    for one in robustness:
        path = run.figures / f"robustness-{one.perturbation}.png"
        try:
            run.figures.mkdir(exist_ok=True)
            draw_robustness(one, f"{run.path.name}: {split}", path)
        except OSError as error:  # a run may be on a read-only disk
            log.warning(f"{printable(path)}: cannot be written ({reason_of(error)})")
        else:
            log.info(f"robustness: {printable(path)}")


def other_data(data: DataConfig, path: Path, max_pixels: int) -> DataConfig:
    """Return a run's settings of data for a different folder, or for a table with the columns of the run's table."""
    labels = LabelsConfig(separator=data.labels.separator)
    if is_table(path):
        labels, path = data.labels.model_copy(update={"path": path}), path.parent
    elif data.labels.is_multi_label and not labels.is_multi_label:
        text = f"{printable(path)}: the run's labels are columns of a table; expected a table with these columns."
        raise DataError(Message("data-table-needed", text, path=path, expected=data.labels.label))
    return data.model_copy(update={"path": path, "labels": labels, "max_pixels": max_pixels})


def _rows(manifest: Manifest, split: str, run: RunFolder) -> Sequence[ImageRecord]:
    """Return the images of a split, which must not be empty."""
    if not (rows := manifest.split(split)):
        splits = list(manifest.counts())
        text = f"{printable(run.path)}: the dataset has no {split} split, only {', '.join(splits)}."
        raise RunError(Message("run-split-missing", text, path=run.path, received=split, expected=splits))
    return rows


def _require_images(
    rows: Sequence[ImageRecord], config: Config, predictor: Predictor, console: Console, *, needs_pixels: bool
) -> None:
    """Check that images of a run have not changed. Files can be gone if their features are cached and are enough."""
    there = rows if needs_pixels else [row for row in rows if is_there(row.path)]
    if gone := len(rows) - len(there):
        features = FeatureSet(extraction_of(predictor), rows)
        with FeatureStore(make_cache_dir() / FEATURES, cache_settings(config.cache).max_bytes) as store:
            require_cached([features], rows, store, f"Or {REMEDY}.")
        text = "their cached features or identical images are used"
        log.info(f"The files of {gone:,} of {len(rows):,} images are gone; {text}.")
    require_unchanged(there, config.data, REMEDY, console)


def _warn_about_known_images(manifest: Manifest, run: RunFolder) -> None:
    """Warn if the run was trained on some of the images, or selected its best epoch with them."""
    digests = {row.digest for row in manifest.rows}
    known = Manifest.from_csv(run.manifest)
    for split, did in (("train", "was trained on"), ("validation", "chose its best epoch by")):
        count = len(digests & {row.digest for row in known.split(split)})
        if count:
            text = f"the run {did} {count:,} of these {len(digests):,} images, so its metrics are too optimistic."
            log.warning(Message("metrics-known-images", text, path=run.path, split=split, received=count))


def _record(run: RunFolder, evaluation: Evaluation) -> None:
    """Record the evaluation in the run, since test metrics become optimistic when runs are selected by them."""
    data, metrics = evaluation.data and str(evaluation.data), evaluation.metrics
    line: dict[str, Any] = {"time": time_text(utc_now()), "split": evaluation.split, "data": data}
    line |= {"crops": evaluation.crops} if evaluation.crops > 1 else {}
    text = json.dumps({**line, "n": metrics.n, "loss": metrics.loss, "top1": metrics.top1}) + "\n"
    with suppress(OSError), run.evaluations.open("a", encoding="utf-8") as file:  # a run may be on a read-only disk
        file.write(text)
