"""`cnncli demo`: what a network computes, in numbers that can be checked by hand."""

from __future__ import annotations

import click

from cnncli.cli.demo_loss import loss, penalty
from cnncli.cli.options import example


@click.group(epilog=example("cnncli demo loss --scores 3.2,5.1,-1.7 --true 1"))
def command() -> None:
    """Show what a network computes, step by step."""


command.add_command(loss)
command.add_command(penalty)
