"""`cnncli demo loss` and `cnncli demo penalty`."""

from __future__ import annotations

from typing import Any

import click

from cnncli.cli.options import console_options, example, json_option, print_json
from cnncli.terminal.console import Console


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers of a text."""
        try:
            return tuple(map(float, value.split(","))) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 3.2,5.1,-1.7", param, ctx)


@click.command(epilog=example("cnncli demo loss --scores 3.2,5.1,-1.7 --true 1"))
@click.option("--scores", type=Numbers(), multiple=True, metavar="A,B,...", help="Scores of the classes of a sample.")
@click.option("--probabilities", type=Numbers(), multiple=True, metavar="A,B,...", help="Their probabilities instead.")
@click.option("--true", "true", type=int, multiple=True, required=True, metavar="N", help="True class, counted from 1.")
@click.option("--factor", type=float, default=1.0, metavar="X", help="Multiply all scores, as larger weights do.")
@json_option
@console_options
def loss(
    scores: tuple[tuple[float, ...], ...],
    probabilities: tuple[tuple[float, ...], ...],
    true: tuple[int, ...],
    factor: float,
    as_json: bool,
    console: Console,
) -> None:
    """Calculate the losses of samples step by step.

    These are the losses of training.loss, and Keras's CategoricalHinge, which differs from hinge: it counts only the
    worst wrong class. Give --scores and --true once for each sample, for the mean over several samples.
    """
    from cnncli.recipes.demo_loss import explain_losses

    if bool(scores) == bool(probabilities):
        raise click.UsageError("Give either --scores or --probabilities.")
    found = explain_losses(scores or probabilities, true, bool(probabilities), 1.0 if probabilities else factor)
    if as_json:
        print_json(found)
        return
    for sample in found.samples:
        values = ", ".join(f"{one:g}" for one in sample.values)
        console.print(f"{'probabilities' if probabilities else 'scores'} {values} · true class {sample.true}")
        rows = [(one.name, f"{one.value:.4f}", one.calculation) for one in sample.losses]
        console.table(("loss", "value", "calculation"), rows)
    if len(found.samples) > 1:
        console.print(f"mean over {len(found.samples)} samples")
        console.table(("loss", "mean"), [(name, f"{value:.4f}") for name, value in found.means.items()])


@click.command(epilog=example("cnncli demo penalty --inputs 1,1,1,1 --weights 1,0,0,0 --weights 0.25,0.25,0.25,0.25"))
@click.option("--weights", type=Numbers(), multiple=True, required=True, metavar="A,B,...", help="Weights of a unit.")
@click.option("--inputs", type=Numbers(), metavar="A,B,...", help="Input, for the score of each of the weights.")
@json_option
@console_options
def penalty(
    weights: tuple[tuple[float, ...], ...], inputs: tuple[float, ...] | None, as_json: bool, console: Console
) -> None:
    """Compare L1 and L2 penalties of weights of equal score.

    L2 prefers weights of equal size, L1 does not. Both are those of l1: 1 and l2: 1 in a config.
    """
    from cnncli.recipes.demo_loss import explain_penalties

    found = explain_penalties(weights, inputs)
    if as_json:
        print_json(found)
        return
    scores = ("–" if one.score is None else f"{one.score:g}" for one in found)
    texts = (", ".join(f"{weight:g}" for weight in one.weights) for one in found)
    rows = [(text, score, f"{one.l1:g}", f"{one.l2:g}") for text, score, one in zip(texts, scores, found, strict=True)]
    console.table(("weights", "score", "L1", "L2"), rows)
