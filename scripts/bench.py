"""Compare cnncli with Keras, scikit-learn, OpenVINO, timm and yolo, alternately, and keep the results as JSON.

    python scripts/bench.py forward MobileNet     one network
    python scripts/bench.py cold                  all rows of a group
    python scripts/bench.py page                  write the tables of the documentation

Photographs and weights are read from ../shared; without it, the drawn sample and random weights are used, which only
shows times.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmarks import accuracy, commands, frozen, tails, torch_side
from scripts.benchmarks.rows import ISA_LIMIT, RESULTS, Row, save, write_page
from scripts.benchmarks.setting import Setting

FROZEN = ("MobileNet", "VGG16", "ResNet50", "Xception", "EfficientNetLite0", "DenseNet121")
WITH_WEIGHTS = ("MobileNet", "MobileNetV2", "EfficientNetLite0", "ResNet50", "Xception", "VGG16")
DEFAULT = (commands.DEFAULT,)
GROUPS: dict[str, tuple[Callable[[Setting, str], Iterator[Row]], tuple[str, ...]]] = {
    "cold": (commands.measure_cold, (*DEFAULT, "MobileNetV2")),
    "warm": (commands.measure_warm, DEFAULT),
    "predict": (commands.measure_predict, DEFAULT),
    "start": (commands.measure_start, ("--help", "config validate configs/quickstart.yaml")),
    "forward": (frozen.measure_forward, FROZEN),
    "files": (frozen.measure_files, FROZEN),
    "finetune": (tails.measure_finetune, tuple(tails.CASES)),
    "scratch": (tails.measure_scratch, ("ConvNet",)),
    "limit": (tails.measure_limit, (*tails.CASES, "ConvNet")),
    "solver": (accuracy.measure_solver, WITH_WEIGHTS),
    "letters": (accuracy.measure_letters, WITH_WEIGHTS),
    "int8": (accuracy.measure_int8, WITH_WEIGHTS),
    "timm": (torch_side.measure_timm, FROZEN),
    "yolo": (torch_side.measure_yolo, DEFAULT),
}
"""Each group with the networks, or commands, that it measures by default."""
WITH_TORCH = ("timm", "yolo")


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.argument("group", type=click.Choice([*GROUPS, "page"]))
@click.argument("networks", nargs=-1, metavar="[NETWORK]...")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds.")
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16", "int8"]), default="auto", help="Of cnncli."
)
@click.option(
    "--torch",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="CNNCLI_TORCH",
    help="Python of an environment with timm and ultralytics, for the groups timm and yolo.",
)
@click.option("--quick", is_flag=True, help="Few images: only to see whether it runs.")
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="Folder of the results."
)
def main(
    group: str,
    networks: tuple[str, ...],
    repeats: int,
    precision: str,
    torch: Path | None,
    quick: bool,
    results: Path,
) -> None:
    """Run a group, or write the page."""
    if group == "page":
        click.echo(f"{write_page(results)} rows")
        return
    if group == "int8" and precision != "auto":
        raise click.UsageError("int8 compares precisions; it takes no --precision.")
    if quick and results == RESULTS:
        raise click.UsageError("--quick needs --results DIRECTORY, because its values are not worth publishing.")
    if group in WITH_TORCH and torch is None:
        raise click.UsageError(f"{group} needs --torch PYTHON, an environment with timm and ultralytics.")
    limit = os.environ.get(ISA_LIMIT)
    measure, usual = GROUPS[group]
    names = () if set(networks) == set(usual) else networks
    words = [*([f"{ISA_LIMIT}={limit}"] if limit else []), "python", "scripts/bench.py", group, *names]
    words += ["--repeats", str(repeats)] if repeats != 5 else []
    words += ["--precision", precision] if precision != "auto" else []
    words += ["--torch", "PYTHON"] if group in WITH_TORCH else []
    with tempfile.TemporaryDirectory(prefix="cnncli-bench-", ignore_cleanup_errors=True) as work:
        setting = Setting(Path(work), repeats, quick, precision, torch=torch or Path(sys.executable))
        for name in networks or usual:
            for row in measure(setting, name):
                click.echo(save(row, group, shlex.join(words), results, precision).describe())


if __name__ == "__main__":
    main()
