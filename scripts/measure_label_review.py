"""Measure how many wrong labels `cnncli data review` finds: flip labels at random, train, review, and count.

    python scripts/measure_label_review.py data/dogs-vs-cats --flips 40 --seeds 3

Prints for each seed how many of the flipped labels are among the first N and 2 N images of the ranking, N being the
number of flips. Further KEY=VALUE settings change the config, such as backbone.name=ResNet50.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cnncli.cli.options import print_json
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.source import read_config
from cnncli.recipes.data_review import Review, review
from cnncli.recipes.train import train
from cnncli.runtime.random_keys import generator
from cnncli.terminal.console import Console


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--flips", default=40, show_default=True, help="Number of training labels to flip.")
@click.option("--seeds", default=3, show_default=True, help="Number of repetitions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(folder: Path, overrides: tuple[str, ...], flips: int, seeds: int, as_json: bool) -> None:
    """Print the results of each seed."""
    console, results = Console(quiet=True), []
    config = read_config(folder.resolve(), overrides)
    manifest = build_manifest(config.data, config.seed, console)
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as temporary:
            flipped = write_flipped(manifest, flips, seed, Path(temporary) / "labels.csv")
            run = train(with_table(config, Path(temporary) / "labels.csv"), Path(temporary) / "runs", console)
            started = time.monotonic()
            found = review(run.folder, console)
            results.append({"seed": seed, **count_found(found, flipped), "seconds": time.monotonic() - started})
            if not as_json:
                click.echo(" · ".join(f"{name} {value:g}" for name, value in results[-1].items()))
    if as_json:
        print_json(results)


def write_flipped(manifest: Manifest, flips: int, seed: int, path: Path) -> set[str]:
    """Write the labels of a manifest with random other labels for some training images, and return their files."""
    random = generator("flipped labels", seed)
    n = len(manifest.split("train"))
    flipped = {manifest.split("train")[k].file for k in random.choice(n, flips, replace=False)}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for row in manifest.rows:
            others = [name for name in manifest.classes if name != row.label]
            label = others[random.integers(len(others))] if row.file in flipped else row.label
            writer.writerow((row.file, label, row.split))
    return flipped


def with_table(config: Config, table: Path) -> Config:
    """Return a config whose labels come from a table."""
    labels = config.data.labels.model_copy(update={"path": table})
    return config.model_copy(update={"data": config.data.model_copy(update={"labels": labels})})


def count_found(found: Review, flipped: set[str]) -> dict[str, float]:
    """Return the number of flipped labels at the top of the ranking and among the flagged labels."""
    is_flipped = [one.row.file in flipped for one in found.labels]
    flagged = [hit for hit, one in zip(is_flipped, found.labels, strict=True) if one.flagged]
    n = len(flipped)
    return {
        "flips": n,
        "among_first": sum(is_flipped[:n]),
        "among_twice": sum(is_flipped[: 2 * n]),
        "flagged": len(flagged),
        "flagged_flips": sum(flagged),
    }


if __name__ == "__main__":
    main()
