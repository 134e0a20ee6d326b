"""Measure how well a run tells images that are none of its classes from its test images.

    python scripts/measure_abstention.py RUN --photos DIR

RUN is a run on dogs and cats with a frozen network. It is asked about 1,000 drawn patterns, 1,000 images of
Fashion-MNIST (Debian's package dataset-fashion-mnist), and photographs without dogs and cats: two of scikit-learn, and
those in scripts/photographs.txt, of scikit-image and of Debian's packages gnome-backgrounds, lomiri-wallpapers-16.04,
lomiri-wallpapers-20.04, mate-backgrounds, opencv-doc, plasma-workspace-wallpapers and ukui-wallpapers. DIR is the
folder in which all of them are unpacked (`dpkg-deb -x FILE.deb DIR`, `unzip -d DIR scikit_image-VERSION.whl`). For
several scores, two tables list the area under the ROC curve and the fraction refused by a threshold that 95 % of the
test images pass.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cnncli.dataset.known.idx import parse_idx
from cnncli.dataset.manifest import Manifest
from cnncli.engines.linear import as_vectors
from cnncli.images.decode import ImageSource, decode
from cnncli.inference.predictor import Predictor, load_predictor
from cnncli.metrics.curves import Ranking
from cnncli.runs.folder import runs_dir_from
from cnncli.runs.listing import open_run
from cnncli.runtime.threads import batched, map_ordered
from cnncli.terminal.formatting import plain_table

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
PHOTOGRAPHS = Path(__file__).with_name("photographs.txt")
Scores = Mapping[str, NDArray[np.float64]]
Vectors = NDArray[np.float32]
CONFIDENCE = "confidence"


@dataclass(frozen=True)
class Seen:
    """Images as a run sees them: features (n, d) of the frozen network and logits (n, units)."""

    features: Vectors
    logits: NDArray[np.float32]


Score = Callable[[Seen], NDArray[np.float64]]


def see(predictor: Predictor, images: list[ImageSource]) -> Seen:
    """Run images through a predictor."""

    def run(batch: list[ImageSource]) -> tuple[Vectors, NDArray[np.float32]]:
        pixels = np.stack([decode(image, predictor.spec.pixels) for image in batch])
        tensors = [tensor for trunk in predictor.trunks for tensor in trunk.run([pixels])]
        pooled = [
            tensor.reshape(len(tensor), -1, tensor.shape[-1]).mean(axis=1, dtype=np.float32) for tensor in tensors
        ]
        return as_vectors(pooled), predictor.logits(tensors)

    features, logits = zip(*map_ordered(run, batched(images, 32), ahead=4), strict=True)
    return Seen(np.concatenate(features), np.concatenate(logits))


# Images that are none of the classes


def draw_patterns(n: int, side: int = 160) -> Iterator[Image.Image]:
    """Yield stripes, checkers, dots, rings, gradients, noise of several scales, polygons, text-like bars, in turn."""
    kinds = (_stripes, _checkers, _dots, _rings, _gradient, _noise, _clouds, _polygons, _bars, _plain)
    for number in range(n):
        random = np.random.default_rng(number)
        yield Image.fromarray(kinds[number % len(kinds)](random, side).clip(0, 255).astype(np.uint8))


def _two_colors(random: np.random.Generator, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    colors = random.integers(0, 256, (2, 3)).astype(np.float64)
    return np.asarray(np.where(inside[..., None], colors[0], colors[1]))


def _stripes(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side]
    angle, period = random.uniform(0, np.pi), random.uniform(6, 40)
    return _two_colors(random, np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period) > 0)


def _checkers(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] // int(random.integers(4, 40))
    return _two_colors(random, (x + y) % 2 == 0)


def _dots(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] % int(random.integers(12, 40)) - 6
    return _two_colors(random, x**2 + y**2 < random.uniform(8, 30))


def _rings(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] - random.uniform(0, side, 2)[:, None, None]
    return _two_colors(random, np.sin(np.hypot(x, y) / random.uniform(1, 6)) > 0)


def _gradient(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    ends, x = random.integers(0, 256, (2, 3)), np.linspace(0, 1, side)[:, None]
    image = np.tile((ends[0] * (1 - x) + ends[1] * x)[None], (side, 1, 1))
    return np.rot90(image, int(random.integers(4)))


def _noise(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    return random.integers(0, 256, (side, side, 3)).astype(np.float64)


def _clouds(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    coarse = random.integers(0, 256, (*random.integers(2, 20, 2), 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), np.float64)


def _polygons(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    image = Image.new("RGB", (side, side), tuple(random.integers(0, 256, 3).tolist()))
    for _ in range(int(random.integers(2, 8))):
        points = [tuple(point) for point in random.uniform(0, side, (int(random.integers(3, 7)), 2)).tolist()]
        ImageDraw.Draw(image).polygon(points, tuple(random.integers(0, 256, 3).tolist()))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(0, 2))), np.float64)


def _bars(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    image = np.full((side, side, 3), 250.0)
    for top in range(8, side - 8, 12):
        for left in np.cumsum(random.integers(6, 22, 20)):
            image[top : top + 6, left : left + int(random.integers(2, 6))] = random.uniform(0, 60)
    return image


def _plain(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    return np.tile(random.uniform(0, 256, 3), (side, side, 1)) + random.normal(0, random.uniform(0, 8), (side, side, 1))


def read_fashion_mnist(n: int) -> Iterator[Image.Image]:
    """Yield test images of Fashion-MNIST."""
    for pixels in parse_idx(gzip.decompress(FASHION_MNIST.read_bytes()))[:n]:
        yield Image.fromarray(pixels)


def packaged_photos(folder: Path | None) -> Iterator[ImageSource]:
    """Yield the photographs of scikit-learn, and those of packages that are unpacked in a folder."""
    import sklearn.datasets

    names = PHOTOGRAPHS.read_text(encoding="utf-8").splitlines() if folder else []
    yield from sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))
    yield from (path for name in names if folder and (path := folder / name).is_file())


# Scores: higher for images that are less like the training images


def unit(features: Vectors) -> Vectors:
    """Return features of length 1."""
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def neighbors(train: Seen, k: int) -> Score:
    """Return the cosine distance to the k-th nearest training image, as a function."""
    columns = unit(train.features).T

    def score(one: Seen) -> NDArray[np.float64]:
        return np.asarray(1.0 - np.partition(unit(one.features) @ columns, -k, axis=1)[:, -k].astype(np.float64))

    return score


def mahalanobis(train: Seen, labels: NDArray[np.int64], shrinkage: float) -> Score:
    """Return the squared Mahalanobis distance of features of length 1 to the nearest class mean, as a function."""
    vectors = unit(train.features)
    means = np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    residuals = (vectors - means[labels]).astype(np.float64)
    values, directions = np.linalg.eigh(residuals.T @ residuals / len(residuals))
    scale = ((1 - shrinkage) * values + shrinkage * values.mean()) ** -0.5
    whiten = (directions * scale).astype(np.float32)

    def score(one: Seen) -> NDArray[np.float64]:
        distances = [np.square((unit(one.features) - mean) @ whiten).sum(axis=1) for mean in means]
        return np.asarray(np.min(distances, axis=0), np.float64)

    return score


def residual(train: Seen, rank: int) -> Score:
    """Return the length of the part of a feature outside of the first principal components, as a function."""
    vectors = unit(train.features)
    mean = vectors.mean(axis=0)
    values = (vectors - mean).astype(np.float64)
    directions = np.linalg.eigh(values.T @ values)[1][:, -rank:].astype(np.float32)

    def score(one: Seen) -> NDArray[np.float64]:
        moved = unit(one.features) - mean
        return np.asarray(np.linalg.norm(moved - moved @ directions @ directions.T, axis=1), np.float64)

    return score


def uncertainty(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the difference of the two highest logits, negative: the order of the confidences without saturation."""
    z = np.hstack([-logits / 2, logits / 2]) if logits.shape[1] == 1 else logits
    top = np.sort(z.astype(np.float64), axis=1)
    return np.asarray(top[:, -2] - top[:, -1])


def score_functions(train: Seen, labels: NDArray[np.int64]) -> dict[str, Score]:
    """Return the candidates by name."""
    return {
        CONFIDENCE: lambda one: uncertainty(one.logits),
        **{f"kNN, k = {k}": neighbors(train, k) for k in (1, 5, 10, 50)},
        "Mahalanobis": mahalanobis(train, labels, shrinkage=0.1),
        "PCA residual": residual(train, rank=256),
    }


def combine(scores: Mapping[str, Scores], reference: str) -> dict[str, Scores]:
    """Add the sum and the maximum of confidence and each distance, both in standard deviations of a reference."""

    def standardized(one: Scores) -> Scores:
        center, scale = np.mean(one[reference]), np.std(one[reference])
        return {source: (values - center) / scale for source, values in one.items()}

    confidence, more = standardized(scores[CONFIDENCE]), dict(scores)
    for name in [name for name in scores if name != CONFIDENCE]:
        distance = standardized(scores[name])
        more[f"{name} + {CONFIDENCE}"] = {source: distance[source] + confidence[source] for source in distance}
        more[f"larger of {name} and {CONFIDENCE}"] = {
            source: np.maximum(distance[source], confidence[source]) for source in distance
        }
    return more


def auroc(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of a score that should be higher for unknown images."""
    positive = np.concatenate([np.zeros(len(known), bool), np.ones(len(unknown), bool)])
    return Ranking.of(np.concatenate([known, unknown]), positive).roc_auc or 0.0


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("run")
@click.option("--photos", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Unpacked packages.")
@click.option("--count", default=1000, show_default=True, help="Number of drawn patterns, and of Fashion-MNIST.")
@click.option("--coverage", default=0.95, show_default=True, help="Fraction of the test images that must pass.")
@click.option("--runs-dir", type=click.Path(path_type=Path))
def main(run: str, photos: Path | None, count: int, coverage: float, runs_dir: Path | None) -> None:
    """Print the tables."""
    folder = open_run(run, runs_dir_from(runs_dir))
    predictor, manifest = load_predictor(folder.engine, folder.model), Manifest.from_csv(folder.manifest)
    splits = {split: manifest.split(split) for split in ("train", "validation", "test")}
    sources: dict[str, list[ImageSource]] = {split: [row.path for row in rows] for split, rows in splits.items()}
    sources["patterns"] = list(draw_patterns(count))
    if FASHION_MNIST.is_file():
        sources["Fashion-MNIST"] = list(read_fashion_mnist(count))
    sources["photographs"] = list(packaged_photos(photos))
    seen = {name: see(predictor, images) for name, images in sources.items() if images}
    print(*(f"{name}: {len(one.logits):,}" for name, one in seen.items()), sep=", ")
    functions = score_functions(seen["train"], manifest.labels(splits["train"]))
    alone: dict[str, Scores] = {
        name: {source: function(one) for source, one in seen.items() if source != "train"}
        for name, function in functions.items()
    }
    scores = combine(alone, "validation")
    unknown = [name for name in seen if name not in splits]
    for title, measure in (("AUROC", auroc), (f"refused at {coverage:.0%}", partial(refused, coverage=coverage))):
        rows: list[tuple[str, ...]] = []
        for name, of_source in scores.items():
            everything = np.concatenate([of_source[source] for source in unknown])
            values = [measure(of_source["test"], everything)]
            values += [measure(of_source["test"], of_source[source]) for source in unknown]
            rows.append((name, *(f"{value:.4f}" for value in values)))
        print(f"\n{title}")
        print(plain_table([list(column) for column in zip((title, "all", *unknown), *rows, strict=True)]))


def refused(known: NDArray[np.float64], unknown: NDArray[np.float64], coverage: float) -> float:
    """Return the fraction of unknown images above the threshold that a fraction of the known ones passes."""
    return float(np.mean(unknown > np.quantile(known, coverage)))


if __name__ == "__main__":
    main()
