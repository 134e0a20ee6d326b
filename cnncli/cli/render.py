"""Print runs, plans and metrics."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.cli.options import print_json
from cnncli.metrics.table import EVALUATED, GOOD_ENOUGH, METRICS, metric_named
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import Preferred, open_run
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import decimal, duration, percent, percent_range, short_path

if TYPE_CHECKING:
    from cnncli.evaluation.assessment import Assessment
    from cnncli.evaluation.parity import ProbabilityAgreement
    from cnncli.inference.robustness import Robustness
    from cnncli.metrics.classification import Metrics
    from cnncli.recipes.evaluate import EnsembleEvaluation
    from cnncli.recipes.train import Run
    from cnncli.training.stage_report import StagePlan

LARGEST_MATRIX = 12
"""Largest number of classes for which the confusion matrix is printed. JSON always has it."""

MOST_CLASSES = 20
"""Maximum number of classes in a table; of more, those with the lowest F1. JSON always has all."""

MOST_PAIRS = 10
"""Maximum number of confused pairs in a table."""

AVERAGES = {"mean_average_precision": "mAP", "micro_f1": "micro F1", "macro_f1": "macro F1"}
"""Headings of the averages over the labels of a multi-label classifier."""

HEADINGS = {
    **AVERAGES,
    "balanced_accuracy": "balanced accuracy",
    "top3": "top-3 accuracy",
    "top5": "top-5 accuracy",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "brier_score": "Brier score",
    "calibration_error": "calibration error",
}
"""Texts for the further results of an evaluation."""

SUGGESTED_LAYERS = 4
"""Number of layers to unfreeze in the suggested command, or all if the backbone has fewer."""

log = logging.getLogger(__name__)


def open_named_run(name: str | Path | None, runs_dir: Path, prefer: Preferred = "finished") -> RunFolder:
    """Open a run, by default the newest finished or unfinished one, and report its name unless `name` has it."""
    run = open_run(name, runs_dir, prefer)
    if name is None or Path(name).name != run.path.name:
        log.info(f"run {run.path.name}")
    return run


def print_run(run: Run, as_json: bool, console: Console) -> None:
    """Print the metrics of a finished run to stdout."""
    if as_json:
        print_json(run)
    elif run.metrics:
        _print_splits(run.metrics, console)


def print_end(run: Run, as_json: bool) -> None:
    """Print path and duration of a training, and the commands that can follow it, unless stdout is for a program."""
    if as_json:
        return
    results = f" (results after {duration(run.seconds)})" if run.concluding_s else ""
    log.info(f"{short_path(run.path)} in {duration(run.seconds + run.concluding_s)}{results}")
    path = shlex.quote(str(short_path(run.path)))
    log.info(f"cnncli predict --run {path} IMAGE.jpg")
    log.info(f"cnncli evaluate {path}")
    is_good_enough = "validation" in run.metrics and run.metrics["validation"].top1 >= GOOD_ENOUGH
    if is_good_enough:
        log.info(f"cnncli report {path} --open")
    elif run.layers:
        log.info(f"cnncli finetune {path} --unfreeze {min(SUGGESTED_LAYERS, run.layers)}")


def print_metrics(split: str, metrics: Metrics, console: Console) -> None:
    """Print all metrics of a split."""
    _print_splits({split: metrics}, console)
    above = AVERAGES if metrics.is_multi_label else ()
    shown = {name: EVALUATED[name].text(value) for name, value in metrics.evaluated.items() if name not in above}
    if shown:
        columns = [HEADINGS[name] for name in shown]
        console.table(columns, [tuple(shown.values())], optional=tuple(reversed(columns)))
    _print_classes(metrics, console)
    if metrics.is_multi_label:
        return
    if len(metrics.classes) <= LARGEST_MATRIX:
        rows = zip(metrics.classes, metrics.confusion_matrix, strict=True)
        console.table(
            ("true \\ predicted", *metrics.classes),
            [(name, *(f"{count:,}" for count in counts)) for name, counts in rows],
        )
    elif metrics.confused_pairs:
        console.table(
            ("true class", "predicted", "images", "of the class"),
            [
                (pair.label, pair.prediction, f"{pair.n:,}", percent(pair.fraction))
                for pair in metrics.confused_pairs[:MOST_PAIRS]
            ],
        )


def print_trust(found: Assessment, console: Console) -> None:
    """Print the calibration of an evaluation, and how many images were answered."""
    if found.calibrated is not None:
        before = percent(found.metrics.evaluated["calibration_error"])
        after = percent(found.calibrated.calibration_error)
        change = f" becomes {after}" if found.corrected else ", which needs no correction"
        console.print(f"temperature {found.temperature:.2f}: calibration error {before}{change}")
    if (answers := found.answers) is not None:
        n_unknown = answers.n - answers.answered
        interval = percent_range(*answers.accuracy_ci95)
        accuracy = f", {percent(answers.accuracy)} of them right ({interval})" if answers.answered else ""
        console.print(f"answered {percent(answers.answered / answers.n)}{accuracy}; unknown {n_unknown:,}")


def print_agreements(found: Sequence[ProbabilityAgreement], console: Console) -> None:
    """Print how far the results of new processes differ from those that were reported."""
    rows = [
        (
            *(one.where, f"{one.n:,}", decimal(one.largest), decimal(one.tolerance.largest), decimal(one.mean)),
            *(f"{one.n_changed:,}", percent(one.accuracy), "yes" if one.holds else "NO"),
        )
        for one in found
    ]
    columns = ("verified", "images", "largest difference", "accepted", "mean", "changed", "accuracy", "agrees")
    console.table(columns, rows, optional=("mean", "accuracy", "accepted"))


def print_ensemble(found: EnsembleEvaluation, console: Console) -> None:
    """Print the results of an ensemble beside those of its members, then all of its metrics."""
    together = (f"{found.rule} of {len(found.runs)}", found.metrics)
    rows = [
        (name, f"{one.n:,}", decimal(one.loss), percent(one.top1), percent_range(*one.top1_ci95))
        for name, one in (*zip([run.name for run in found.runs], found.members, strict=True), together)
    ]
    console.table(("run", "images", "loss", "accuracy", "95 % interval"), rows)
    console.print("")
    print_metrics(found.split, found.metrics, console)
    if found.n_left_out:
        log.info(f"{found.n_left_out:,} images are left out, because not all runs have them in this split")


def print_robustness(found: Robustness, console: Console) -> None:
    """Print the results over the strength of a perturbation."""
    console.print(f"{found.perturbation}: {found.unit}")
    rows = [
        (
            *(f"{one.strength:g}", percent(one.accuracy), percent_range(*one.ci95)),
            *(percent(one.probability), percent(one.unchanged)),
        )
        for one in found.points
    ]
    columns = ("strength", "accuracy", "95 % interval", "true class", "unchanged")
    console.table(columns, rows, optional=("true class",))


def _print_classes(metrics: Metrics, console: Console) -> None:
    """Print the results of each class or label; of many, only the worst, the worst first."""
    classes = list(zip(metrics.classes, metrics.per_class, strict=True))
    noun = "label" if metrics.is_multi_label else "class"
    if len(classes) > MOST_CLASSES:
        console.print(f"the {MOST_CLASSES} worst of {len(classes):,} classes; --json has all")
        classes = sorted(classes, key=lambda one: (one[1].f1, -one[1].n))[:MOST_CLASSES]
    rows = [
        (
            *(name, f"{one.n:,}", percent(one.precision), percent(one.recall), percent(one.f1)),
            *(_fraction(getattr(one, value)) for value in ("average_precision", "threshold") if hasattr(one, value)),
        )
        for name, one in classes
    ]
    threshold = ("threshold",) if metrics.is_multi_label else ()
    columns = (noun, "images", "precision", "recall", "F1", "average precision", *threshold)
    console.table(columns, rows, optional=("threshold", "average precision", "F1"))


def _fraction(value: float | None) -> str:
    return "–" if value is None else percent(value)


def print_plan(plan: StagePlan, console: Console) -> None:
    """Print the layers that a stage would train, and where it would cut the classifier."""
    layers = zip(plan.trained_layers, plan.layer_parameters, strict=True)
    console.table(("trainable layer", "parameters"), [(name, f"{size:,}") for name, size in layers])
    console.print(f"trainable parameters {plan.trainable_parameters:,}, frozen {plan.frozen_parameters:,}")
    features = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in plan.crossing)
    console.print(f"cut before {plan.cut_at}: the layers before it are frozen and run once per image")
    console.print(f"features at the cut: {features}")


def _print_splits(splits: Mapping[str, Metrics], console: Console) -> None:
    names = dict.fromkeys([*METRICS, *(name for one in splits.values() for name in one.values)])
    others = {name: metric for name in names if name not in ("loss", "accuracy") and (metric := metric_named(name))}
    averages = AVERAGES if any(one.is_multi_label for one in splits.values()) else {}
    rows = [
        (
            *(split, f"{one.n:,}", decimal(one.loss), percent(one.top1), percent_range(*one.top1_ci95)),
            # Runs from before a metric was added do not have it.
            *(metric.text(one.values[name]) if name in one.values else "–" for name, metric in others.items()),
            *(_fraction(one.evaluated.get(name)) for name in averages),
        )
        for split, one in splits.items()
    ]
    columns = ("split", "images", "loss", "accuracy", "95 % interval", *others, *averages.values())
    console.table(columns, rows, optional=tuple(others))
