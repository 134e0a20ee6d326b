"""The figures of a GPU: frozen forward, fine-tuning ResNet50, store on and off; skipped aloud where there is none."""

from __future__ import annotations

import click

from cnncli.networks.backend import gpus
from scripts.benchmarks import finetuning, forward, store
from scripts.benchmarks.workbench import Workbench

FIGURES = (*forward.FIGURES, "fine-tuning", "store")


def measure(bench: Workbench) -> None:
    """What the benchmarks of the CPU measure, through the engine that cnncli chooses on a GPU."""
    if not gpus():
        click.echo(f"gpu {bench.figure}: skipped, TensorFlow sees no GPU")
    elif bench.figure == "fine-tuning":
        finetuning.measure_case(bench, "ResNet50")
    elif bench.figure == "store":
        store.measure(bench)
    else:
        forward.measure(bench)
