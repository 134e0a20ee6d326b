"""`cnncli evaluate`: metrics of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cnncli.cli.options import PATH, console_options, example, json_option, print_json, runs_argument, runs_dir_option
from cnncli.errors import Message
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.evaluation.parity import ProbabilityAgreement
    from cnncli.runs.folder import RunFolder

PERTURBATION_NAMES = ("shift", "rotate", "scale", "brightness", "contrast", "noise", "blur")
"""Names in `cnncli.augmentation.perturbations`, which imports NumPy."""


@click.command(epilog=example("cnncli evaluate --min-accuracy 0.95"))
@runs_argument("runs", required=False)
@click.option(
    "--ensemble",
    type=click.Choice(["mean", "vote"]),
    help="Evaluate several runs together: by the mean of their probabilities, or by vote.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Split of the run's dataset to evaluate.  [default: test, else validation]",
)
@click.option(
    "--data",
    type=PATH,
    metavar="DIR|TABLE",
    help="Evaluate a different folder or table: its test split, else all its images.",
)
@click.option(
    "--allow-missing", is_flag=True, help="With --data: accept a folder or table that lacks classes of the run."
)
@click.option(
    "--min-accuracy",
    type=click.FloatRange(0.0, 1.0),
    metavar="X",
    help="Exit with code 3 if the top-1 accuracy (0-1) is lower.",
)
@click.option(
    "--crops",
    type=click.Choice(["5", "10"]),
    help="Average the predictions for corners and center of each image; 10: and for their mirror images.",
)
@click.option(
    "--perturb",
    "perturbations",
    type=click.Choice([*PERTURBATION_NAMES, "all"]),
    multiple=True,
    help="Also evaluate perturbed images over the strength of the perturbation, and draw the results; repeatable.",
)
@click.option(
    "--figures",
    is_flag=True,
    help="Draw confusion matrix, mistakes, reliability diagram, and ROC and precision-recall curves in the run.",
)
@click.option(
    "--verify",
    "verifies",
    is_flag=True,
    help="Load the run in new processes, with the prediction path, its engine and plain Keras, and exit with code 3 if "
    "one of them gives other results.",
)
@runs_dir_option
@json_option
@console_options
def command(
    runs: tuple[str, ...],
    ensemble: Literal["mean", "vote"] | None,
    split: str | None,
    data: Path | None,
    allow_missing: bool,
    min_accuracy: float | None,
    crops: str | None,
    perturbations: tuple[str, ...],
    figures: bool,
    verifies: bool,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Evaluate a run: accuracy, each class, confusions, calibration.

    RUN is a run directory or its name; default: the newest finished run. The prediction of every image is written to
    predictions.csv in the run. Several runs with --ensemble are evaluated on the images that are in the same split of
    all of them.
    """
    if verifies and (data is not None or crops is not None):
        text = "--verify cannot be used together with --data or --crops."
        raise click.UsageError(Message("usage-options-conflict", text))
    from cnncli.cli.render import (
        open_named_run,
        print_agreements,
        print_ensemble,
        print_metrics,
        print_robustness,
        print_trust,
    )
    from cnncli.recipes.evaluate import evaluate, evaluate_ensemble

    if (len(runs) > 1) != (ensemble is not None):
        text = "--ensemble needs several runs, and several runs need --ensemble; `cnncli compare` compares runs."
        raise click.UsageError(Message("usage-ensemble", text, received=len(runs)))
    if ensemble is not None:
        if crops or perturbations or figures or verifies:
            text = "--ensemble cannot be used together with --crops, --perturb, --figures or --verify."
            raise click.UsageError(Message("usage-options-conflict", text))
        folders = [open_named_run(run, runs_dir) for run in runs]
        combined = evaluate_ensemble(folders, ensemble, console, split, data, allow_missing)
        if as_json:
            print_json(combined)
        else:
            print_ensemble(combined, console)
        if min_accuracy is not None:
            combined.require(min_accuracy)
        return
    run = runs[0] if runs else None
    chosen = PERTURBATION_NAMES if "all" in perturbations else tuple(dict.fromkeys(perturbations))
    run_folder, n_crops = open_named_run(run, runs_dir), int(crops or 1)
    found = evaluate(run_folder, console, split, data, allow_missing, crops=n_crops, perturb=chosen, figures=figures)
    if not as_json:
        print_metrics(found.split, found.metrics, console)
        if found.assessment is not None:
            print_trust(found.assessment, console)
        for robustness in found.robustness:
            print_robustness(robustness, console)
    agreements = _verify(run_folder, found.split) if verifies else []
    if as_json:
        verified = {"verified": {one.where: one for one in agreements}} if verifies else {}
        print_json({**found.to_dict(), **verified})
    elif verifies:
        print_agreements(agreements, console)
    if verifies:
        _require(agreements)
    if min_accuracy is not None:
        found.require(min_accuracy)


def _verify(run: RunFolder, split: str) -> list[ProbabilityAgreement]:
    from cnncli.recipes.verify import verify

    return verify(run, split)


def _require(agreements: list[ProbabilityAgreement]) -> None:
    from cnncli.evaluation.parity import require_parity

    require_parity(agreements)
