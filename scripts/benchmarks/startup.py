"""Measure the start-up time of the help and of config errors."""

from __future__ import annotations

from scripts.benchmarks.commands import cnncli_command, run
from scripts.benchmarks.measurements import Finding, Target, seconds_in_turns
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("help", "config-error")
REACH_S = {"help": 0.3, "config-error": 0.5}


def measure(bench: Workbench) -> None:
    """Measure the seconds from the start of a process to its end."""
    config = bench.work / "broken.yaml"
    config.write_text(
        f"data: {{path: {bench.data.folder}}}\ntraining: {{optimizer: {{learning_rte: 0.1}}, epochs: 0}}\n"
    )
    commands = {"help": (("--help",), 0), "config-error": (("train", config), 2)}
    arguments, code = commands[bench.benchmark]

    def side() -> None:
        run(cnncli_command(*arguments), bench.work / "cache", code)

    seconds = seconds_in_turns({"cnncli": side}, bench.rounds)["cnncli"]
    title = {"help": "`cnncli --help`", "config-error": "`cnncli train` with two mistakes in its config"}[
        bench.benchmark
    ]
    bench.record(Finding(title, "s", seconds, target=Target("cnncli", most=REACH_S[bench.benchmark])), "no images")
