"""Measure whether maps of `cnncli explain` find what matters: insertion and deletion scores against random maps.

    python scripts/measure_explanations.py runs/quickstart --images 100 --method grad-cam --method occlusion

For each method and for random maps, prints the mean insertion score (higher is better), the mean deletion score (lower
is better), and the fraction of the images on which the method is better than the random map. Random maps are as smooth
as those of Grad-CAM: noise of 5 × 5 values, enlarged.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cnncli.cli.options import print_json
from cnncli.dataset.manifest import Manifest
from cnncli.explanation.perturbation import deletion_score, insertion_score
from cnncli.images.decode import decode
from cnncli.inference.predictor import load_predictor
from cnncli.recipes.explain import METHODS, Explainer, Method, importance_of
from cnncli.runs.folder import RunFolder
from cnncli.runtime.random_keys import generator
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import plain_table

RANDOM_SIDE = 5


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--images", default=100, show_default=True, help="Number of test images, drawn at random.")
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, default=["grad-cam"], show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(run: Path, images: int, methods: tuple[Method, ...], as_json: bool) -> None:
    """Print a table of the scores."""
    scores = measure(RunFolder(run.resolve()), images, methods, Console(quiet=as_json))
    rows = {name: summarize(values, scores["random"]) for name, values in scores.items()}
    if as_json:
        print_json(rows)
        return
    columns = [["map", *rows], *([name, *(f"{row[name]:.3f}" for row in rows.values())] for name in rows["random"])]
    click.echo(plain_table(columns))


def measure(
    run: RunFolder, n_images: int, methods: tuple[Method, ...], console: Console
) -> dict[str, NDArray[np.float64]]:
    """Return the insertion and deletion scores (n, 2) of the predicted class, by method and for random maps."""
    predictor = load_predictor(run.engine, run.model)
    manifest = Manifest.from_csv(run.manifest)
    rows = manifest.split("test") or manifest.split("validation")
    random = generator("explanations", 0)
    chosen = random.choice(len(rows), min(n_images, len(rows)), replace=False)
    explainer = Explainer(run, predictor, methods)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*methods, "random")}
    with console.progress(len(chosen), "measuring", "images") as progress:
        for n in chosen:
            pixels = decode(rows[n].path, predictor.spec.pixels)
            k = int(predictor.probabilities(pixels[None])[0].argmax())
            maps: dict[str, NDArray[np.float32]] = {"random": random_map(pixels.shape[0], pixels.shape[1], random)}
            maps |= {method: importance_of(explainer.map(method, pixels, k)) for method in methods}
            for name, importance in maps.items():

                def score(changed: NDArray[np.uint8], k: int = k) -> NDArray[np.float64]:
                    return np.asarray(predictor.probabilities(changed)[:, k])

                found[name].append(
                    (insertion_score(score, pixels, importance), deletion_score(score, pixels, importance))
                )
            progress.advance()
    return {name: np.array(values) for name, values in found.items()}


def random_map(height: int, width: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return a smooth random map."""
    import cv2

    noise = random.random((RANDOM_SIDE, RANDOM_SIDE)).astype(np.float32)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR))


def summarize(scores: NDArray[np.float64], random: NDArray[np.float64]) -> dict[str, float]:
    """Return mean scores (n, 2), and the fractions of the images on which they are better than those of random maps."""
    better = np.array([1, -1]) * (scores - random) > 0
    return {
        "insertion": float(scores[:, 0].mean()),
        "deletion": float(scores[:, 1].mean()),
        "insertion better": float(better[:, 0].mean()),
        "deletion better": float(better[:, 1].mean()),
    }


if __name__ == "__main__":
    main()
