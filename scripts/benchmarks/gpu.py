"""GPU: forward passes, fine-tuning ResNet50, and the feature cache; skipped with a message without a GPU."""

from __future__ import annotations

import click

from cnncli.networks.backend import gpus
from scripts.benchmarks import cache, finetuning, forward
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = (*forward.BENCHMARKS, "fine-tuning", "cache")


def measure(bench: Workbench) -> None:
    """Run the CPU benchmarks with the engine that cnncli selects on a GPU."""
    if not gpus():
        click.echo(f"gpu {bench.benchmark}: skipped, TensorFlow sees no GPU")
    elif bench.benchmark == "fine-tuning":
        finetuning.measure_case(bench, "ResNet50")
    elif bench.benchmark == "cache":
        cache.measure(bench)
    else:
        forward.measure(bench)
