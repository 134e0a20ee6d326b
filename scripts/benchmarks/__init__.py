"""Benchmarks of `scripts/bench.py`, one module per group, and their tools.

The module of a group has `BENCHMARKS`, the names for the command line, and `measure(bench)`, which runs the benchmark
that `bench.benchmark` names and records its findings.
"""

GROUPS = (
    "forward",
    "files",
    "recipe",
    "cache",
    "finetuning",
    "scratch",
    "checkpoints",
    "augmentation",
    "startup",
    "predicting",
    "memory",
    "accuracy",
    "gpu",
)
"""Groups in the order of the table."""
