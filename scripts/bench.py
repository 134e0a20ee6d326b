"""Compare cnncli with its alternatives. Each benchmark is one command that measures both sides alternately.

    python scripts/bench.py forward MobileNet     one benchmark
    python scripts/bench.py forward               the benchmarks of a group
    python scripts/bench.py all                   all benchmarks, each group in a separate process
    python scripts/bench.py table                 write scripts/BENCHMARKS.md from the results

The other side is plain Keras as its guides write it (`image_dataset_from_directory`, `cache`, `prefetch`, compiled
`predict` and `fit`), unless the benchmark names a different one. Photographs and weights are read from ../shared; if it
is absent, the drawn sample and random weights are used. Results are appended to JSON lines in --results.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmarks import GROUPS
from scripts.benchmarks.images import SHARED, find_images
from scripts.benchmarks.machine import load
from scripts.benchmarks.table import write_table
from scripts.benchmarks.workbench import QUICK_ROUNDS, ROUNDS, Workbench, usual_rounds

HERE = Path(__file__).resolve().parent
RESULTS = HERE / ".benchmarks"
TABLE = HERE / "BENCHMARKS.md"
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.argument("group", type=click.Choice([*GROUPS, "all", "table"]))
@click.argument("benchmarks", nargs=-1, metavar="[BENCHMARK]...")
@click.option(
    "--repeats", type=click.IntRange(min=1), help=f"Rounds.  [default: {ROUNDS}; {QUICK_ROUNDS} with --quick]"
)
@click.option("--quick", is_flag=True, help="Tiny counts, one round: only to see whether it runs.")
@click.option("--data", type=FOLDER, help="Images: train, validation and test with class folders.")
@click.option("--weights", type=FOLDER, help="Folder of NAME_notop.weights.h5 files.")
@click.option("--results", type=FOLDER, default=RESULTS, help="Folder of JSON lines.  [default: scripts/.benchmarks]")
@click.option("--out", type=click.Path(path_type=Path), default=TABLE, help="File that `table` writes.")
def main(group: str, benchmarks: tuple[str, ...], results: Path, out: Path, **options: Any) -> None:
    """Run benchmarks or write the table."""
    if group == "table":
        click.echo(f"{out}: {write_table(results, out)} rows")
    elif group == "all":
        measure_all(results=results.resolve(), **options)
    else:
        measure(group, benchmarks, results=results.resolve(), **options)


def measure(
    group: str,
    benchmarks: tuple[str, ...],
    *,
    repeats: int | None,
    quick: bool,
    data: Path | None,
    weights: Path | None,
    results: Path,
) -> None:
    """Run the given benchmarks of a group, or all of them."""
    module = import_module(f"scripts.benchmarks.{group}")
    if unknown := [benchmark for benchmark in benchmarks if benchmark not in module.BENCHMARKS]:
        raise click.UsageError(
            f"unknown benchmark of {group}: {', '.join(unknown)}; expected {', '.join(module.BENCHMARKS)}."
        )
    images = find_images(data)
    folder = weights.resolve() if weights else SHARED / "weights" if (SHARED / "weights").is_dir() else None
    given = tuple(f"--{name} {value}" for name, value in (("data", data), ("weights", weights)) if value)
    rounds = repeats or usual_rounds(quick)
    click.echo(f"images: {images.name}; weights: {folder or 'random'}")
    for benchmark in benchmarks or module.BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="cnncli-bench-", ignore_cleanup_errors=True) as name:
            work = Path(name)
            module.measure(Workbench(group, benchmark, rounds, quick, images, folder, results, work, load(), given))


def measure_all(**options: Any) -> None:
    """Run each group in a separate process; a failure does not stop the other groups."""
    words = [word for name, value in options.items() if value for word in _option(name, value)]
    codes = {group: subprocess.run([sys.executable, __file__, group, *words]).returncode for group in GROUPS}
    if failed := [group for group, code in codes.items() if code]:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _option(name: str, value: object) -> list[str]:
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


if __name__ == "__main__":
    main()
