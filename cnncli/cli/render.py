"""How runs, plans and figures are shown."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import print_json
from cnncli.errors import printable
from cnncli.runs.folder import RunFolder, open_run
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.metrics.classification import Metrics
    from cnncli.recipes.result import Run
    from cnncli.training.stage_report import StagePlan

LARGEST_MATRIX = 12
"""Most classes for which the confusion matrix is printed; it is always in the JSON."""

SUGGESTED_LAYERS = 4
"""Layers to unfreeze next, in the command to copy; fewer where the backbone has not so many."""


def open_run_aloud(name: str | Path | None, runs_dir: Path, console: Console) -> RunFolder:
    """A run; where its directory was not named, the newest finished one there is or has that name, saying which."""
    run = open_run(name, runs_dir)
    if name is None or Path(name).name != run.path.name:
        console.say(f"run {printable(run.path.name)}")
    return run


def print_run(run: Run, as_json: bool, console: Console) -> None:
    """The summary of a training: its figures on stdout, and commands to copy: what can be done next."""
    from cnncli.recipes.result import shortest

    if as_json:
        print_json(run.to_dict())
        return
    console.table(
        ("split", "images", "loss", "accuracy", "95 % interval"),
        [_row(split, metrics) for split, metrics in run.metrics.items()],
        to="stdout",
    )
    short = shortest(run.path)
    console.say(f"{printable(short)} in {run.seconds:.1f} s")
    path = printable(shlex.quote(str(short)))
    console.say(f"cnncli predict --run {path} IMAGE.jpg")
    console.say(f"cnncli evaluate {path}")
    if run.layers:
        console.say(f"cnncli finetune {path} --unfreeze {min(SUGGESTED_LAYERS, run.layers)}")


def print_metrics(split: str, metrics: Metrics, console: Console) -> None:
    """All figures of a split."""
    console.table(("split", "images", "loss", "accuracy", "95 % interval"), [_row(split, metrics)], to="stdout")
    if metrics.top5 is not None:
        click.echo(f"top-5 accuracy {metrics.top5:.4f}")
    console.table(
        ("class", "images", "precision", "recall", "F1"),
        [
            (name, f"{one.n:,}", f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}")
            for name, one in zip(metrics.classes, metrics.per_class, strict=True)
        ],
        to="stdout",
    )
    if len(metrics.classes) <= LARGEST_MATRIX:
        rows = zip(metrics.classes, metrics.confusion_matrix, strict=True)
        console.table(
            ("true \\ predicted", *metrics.classes),
            [(name, *(f"{count:,}" for count in counts)) for name, counts in rows],
            to="stdout",
        )


def print_plan(plan: StagePlan, console: Console) -> None:
    """What a stage would train."""
    layers = zip(plan.trained_layers, plan.layer_parameters, strict=True)
    console.table(("layer that trains", "parameters"), [(name, f"{size:,}") for name, size in layers], to="stdout")
    click.echo(f"trainable parameters {plan.trainable_parameters:,}, frozen {plan.frozen_parameters:,}")
    crossing = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in plan.crossing)
    click.echo(f"cut before {plan.cut_at}; across it goes {crossing}")


def _row(split: str, metrics: Metrics) -> tuple[str, str, str, str, str]:
    low, high = metrics.top1_ci95
    return split, f"{metrics.n:,}", f"{metrics.loss:.4f}", f"{metrics.top1:.4f}", f"{low:.4f} - {high:.4f}"
