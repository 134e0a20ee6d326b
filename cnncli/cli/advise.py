"""`cnncli advise`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.crossval import folds_option
from cnncli.cli.learning_curve import other_limits
from cnncli.cli.options import (
    OUT_FILE,
    config_argument,
    console_options,
    example,
    json_option,
    log_written,
    overrides_argument,
    result_printer,
)
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import duration, percent, percent_range

if TYPE_CHECKING:
    from cnncli.config.schema import Config
    from cnncli.evaluation.depth_probes import Probe
    from cnncli.recipes.advise import Advice

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli advise configs/quickstart.yaml --out advised.yaml"))
@config_argument
@overrides_argument
@folds_option
@click.option("--backbones", is_flag=True, help="Compare all networks whose ImageNet weights are here.")
@click.option(
    "--weights",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Compare the files NETWORK_….h5 of a folder, too.",
)
@click.option("--out", type=OUT_FILE, metavar="FILE.yaml", help="Write the recommended config instead of printing it.")
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    folds: int | None,
    backbones: bool,
    weights: Path | None,
    out: Path | None,
    as_json: bool,
    console: Console,
) -> None:
    """Recommend a way to train, with evidence.

    Courses give a table: few or many images, similar to ImageNet or different. This command measures which case a
    dataset is. Linear probes at several depths of the backbone show whether the last features are the best, which they
    are for images similar to ImageNet; the learning curve shows whether there are enough images for more than a head.
    Estimates the times of the ways to train on this machine. Test images are not used.
    """
    from cnncli.dataset.source import read_config
    from cnncli.recipes.advise import advise

    def read(further: Sequence[str]) -> Config:
        return read_config(config, (*overrides, *further))

    show = result_printer(print_advice, console, as_json)
    advise(read, console, folds, backbones, weights, out, show)
    log_written("config", out)


def print_advice(found: Advice, console: Console) -> None:
    """Print the evidence, the case of the dataset in a table, the recommendation, and the config if it is not saved."""
    from cnncli.recipes.advise import CASES

    if found.backbones:
        rows = [
            (one.name, *_accuracy(one.probe), _p(one.probe), f"{one.ms:.1f}", f"{one.mb:,.0f}")
            for one in found.backbones
        ]
        console.table(("backbone", "accuracy", "95 % interval", "p", "ms", "MB"), rows)
        for problem in found.problems:
            log.warning(problem)
        console.print("")
    names = [(one.layer or "end of the backbone", one) for one in found.probes]
    sizes = ["–" if one.size is None else "{} × {}".format(*one.size) for one in found.probes]
    probes = [
        (name, size, f"{one.n_features:,}", *_accuracy(one), _p(one))
        for (name, one), size in zip(names, sizes, strict=True)
    ]
    console.table(("linear probe", "maps", "features", "accuracy", "95 % interval", "p"), probes)
    console.print("")
    console.table(
        ("training", "before", "epoch", "epochs", "total"),
        [
            (one.way, duration(one.once_s), *_epochs(one.epoch_s, one.epochs), duration(one.total_s))
            for one in found.times
        ],
    )
    console.print("")
    console.print(_size_in_words(found))
    console.print(_kind_in_words(found))
    console.print("")
    cases = {case: f"→ {way}" if case == (found.size, found.kind) else way for case, (way, _) in CASES.items()}
    console.table(
        ("", "similar to ImageNet", "different from ImageNet"),
        [
            ("small", cases["small", "similar"], cases["small", "different"]),
            ("large", cases["large", "similar"], cases["large", "different"]),
        ],
    )
    if found.recommendation != CASES[found.size, found.kind][0]:
        console.print(f"A linear head is already {percent(found.probes[-1].accuracy)} accurate.")
    console.print(f"Recommended: {found.recommendation}.")
    if found.out is None:
        click.echo(f"\n{found.config_text()}", nl=False)


def _accuracy(probe: Probe) -> tuple[str, str]:
    return percent(probe.accuracy), percent_range(*probe.ci95)


def _p(probe: Probe) -> str:
    return "–" if probe.p is None else f"{probe.p:.2g}"


def _epochs(seconds: float, epochs: int) -> tuple[str, str]:
    return (duration(seconds), str(epochs)) if epochs else ("–", "–")


def _size_in_words(found: Advice) -> str:
    """Return one sentence on the size of the dataset and the reason for the verdict."""
    from cnncli.recipes.advise import FEW, MANY

    counted = f"{found.per_class:,.0f} images per class"
    if found.per_class < FEW:
        return f"Small: {counted}, fewer than {FEW}."
    if found.per_class >= MANY:
        return f"Large: {counted}, at least {MANY:,}."
    if found.curve is None:
        return f"Small: {counted}, too few for a learning curve."
    removed = found.curve.removed_by_doubling
    effect = f"twice as many would remove {percent(removed.value)} of the errors of the head"
    interval = percent_range(removed.low, removed.high)
    text = f"{found.size.capitalize()}: {counted}, and {effect} ({interval})."
    return " ".join(filter(None, (text, other_limits(found.curve))))


def _kind_in_words(found: Advice) -> str:
    """Return one sentence on the similarity of the images to those of ImageNet."""
    *others, last = found.probes
    if not others:
        return "Similar to ImageNet, by assumption: the backbone has no layers to compare with its end."
    best = max(others, key=lambda one: one.accuracy)
    pair = f"{best.layer} {percent(best.accuracy)}, end of the backbone {percent(last.accuracy)}, p = {_p(best)}"
    verdict = "an earlier layer has better features" if found.kind == "different" else "no earlier layer is better"
    return f"{found.kind.capitalize()} {'from' if found.kind == 'different' else 'to'} ImageNet: {verdict} ({pair})."
