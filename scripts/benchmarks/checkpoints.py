"""Measure how much of the training time checkpoints take: small network from scratch, head on cached features."""

from __future__ import annotations

import statistics
from pathlib import Path

from cnncli.runs.folder import RunFolder
from cnncli.runs.records import read_history
from scripts.benchmarks.commands import cnncli_command, run
from scripts.benchmarks.images import ROOT
from scripts.benchmarks.measurements import Finding, Samples, Target
from scripts.benchmarks.workbench import Workbench

CONFIGS = ROOT / "configs" / "dogs-vs-cats"
CASES = {
    "ConvNet": ("convnet-from-scratch.yaml", "ConvNet of 3.5 million parameters from scratch, 150 px", 3),
    "EfficientNetLite0": ("efficientnetlite0-features.yaml", "head on cached features of EfficientNetLite0", 20),
}
"""Config, description and epochs by benchmark."""
BENCHMARKS = tuple(CASES)


def measure(bench: Workbench) -> None:
    """Train once per round, and compare the total time of saves with that of epochs."""
    file, title, epochs = CASES[bench.benchmark]
    data = bench.splits()
    settings = [f"data.path={data}", f"training.epochs={bench.count(epochs, 2)}", "training.early_stopping=null"]
    words = ["--json", "--quiet", "--runs-dir", str(bench.work / "runs")]
    command = cnncli_command("train", CONFIGS / file, *settings, *words)
    percentages, seconds = [], []
    for _ in range(bench.rounds):
        folder = RunFolder(Path(run(command, bench.work / "cache").document["run"]))
        saving = float(folder.read_facts()["checkpoint_seconds"])
        training = sum(row.seconds for row in read_history(folder.history))
        percentages.append(100 * saving / (training + saving))
        seconds.append(training)
    finding = Finding(
        f"{title}: checkpoints",
        "% of the training's time",
        Samples(tuple(percentages)),
        target=Target("cnncli", most=5.0),
        note=f"{statistics.median(seconds):.1f} s of training",
    )
    bench.record(finding)
