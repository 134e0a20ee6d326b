"""The benchmark of `scripts/bench.py`: a module for each group of figures, and what they measure and write with.

A group's module has `FIGURES`, the names that the command line takes, and `measure(bench)`, which measures the one that
`bench.figure` names and records what it found.
"""

GROUPS = (
    "forward",
    "files",
    "recipe",
    "store",
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
"""In the order of the table."""
