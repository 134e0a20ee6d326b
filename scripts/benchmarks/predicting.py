"""Compare `cnncli predict` with a script that loads the same `model.keras` in Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.commands import cnncli_command, plain_command, run
from scripts.benchmarks.images import ROOT, files_below
from scripts.benchmarks.measurements import Finding, Samples, Target, seconds_in_turns
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("one", "many")
CONFIG = ROOT / "configs" / "dogs-vs-cats" / "efficientnetlite0-features.yaml"


def measure(bench: Workbench) -> None:
    """Predict one image in a new process, or all images."""
    folder = bench.splits()
    model = _train(bench, folder)
    {"one": _measure_one, "many": _measure_many}[bench.benchmark](bench, model, folder)


def _measure_one(bench: Workbench, model: Path, folder: Path) -> None:
    image = next(iter(files_below(folder / "test")))
    seconds = _both(bench, model, image)
    title = "`cnncli predict`, one image, cold process"
    bench.record(
        Finding(
            title,
            "s",
            seconds["cnncli"],
            "Keras `load_model` + `predict`",
            seconds["Keras"],
            comparison="time",
            target=Target("comparison", least=5.0),
        )
    )
    bench.record(Finding(f"{title}, absolute", "s", seconds["cnncli"], target=Target("cnncli", most=1.5)))


def _measure_many(bench: Workbench, model: Path, folder: Path) -> None:
    count = sum(1 for _ in files_below(folder))
    seconds = _both(bench, model, folder)
    bench.record(
        Finding(
            f"`cnncli predict`, {count:,} images, command to last line",
            "images/s",
            seconds["cnncli"].per_second(count),
            "Keras `load_model`, `image_dataset_from_directory` + `predict`, batches of 32",
            seconds["Keras"].per_second(count),
            target=Target("comparison", least=4.0),
        )
    )


def _both(bench: Workbench, model: Path, source: Path) -> dict[str, Samples]:
    cache = bench.work / "cache"
    sides: dict[str, Callable[[], object]] = {
        "cnncli": lambda: run(cnncli_command("predict", source, "--run", model.parent, "--csv"), cache),
        "Keras": lambda: run(plain_command("predict", model, source)),
    }
    return seconds_in_turns(sides, bench.rounds)


def _train(bench: Workbench, folder: Path) -> Path:
    """Train the default network, and return the path of the model."""
    words = [f"data.path={folder}", "training.epochs=3", "--json", "--quiet", "--runs-dir", str(bench.work / "runs")]
    done = run(cnncli_command("train", CONFIG, *words), bench.work / "cache")
    return Path(done.document["run"]) / "model.keras"
