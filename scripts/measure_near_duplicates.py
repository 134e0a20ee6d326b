"""Measure recall, precision and speed of the search for near-duplicates.

    python scripts/measure_near_duplicates.py FOLDER              1,000 copies of each kind, and all pairs of images
    python scripts/measure_near_duplicates.py --speed 100000      random thumbnails, 70 / 15 / 15 % in three splits

The thresholds in cnncli/dataset/perceptual_hash.py follow from the first command. It lists the pairs that pass, for
inspection.
"""

from __future__ import annotations

import dataclasses
import io
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cnncli.dataset.labels.folders import images_below
from cnncli.dataset.perceptual_hash import Looks, color_distances, correlations, similar_pairs
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.thumbnail import THUMBNAIL_BYTES
from cnncli.images.verify import verify
from cnncli.runtime.threads import map_ordered
from cnncli.terminal.formatting import plain_table

Change = Callable[[Image.Image], Image.Image]
BITS = (10, 12, 14, 16, 18)
CORRELATIONS = (0.85, 0.9, 0.92, 0.95)


def crop(fraction: float) -> Change:
    """Return a change that crops a fraction of width and height, 70 % of it at the left and the top."""
    return lambda one: one.crop((round(0.7 * fraction * one.width), round(0.7 * fraction * one.height),
                                 one.width - round(0.3 * fraction * one.width),
                                 one.height - round(0.3 * fraction * one.height)))  # fmt: skip


def scale(factor: float) -> Change:
    """Return a change that scales the image."""
    return lambda one: one.resize((max(1, round(one.width * factor)), max(1, round(one.height * factor))))


CHANGES: dict[str, tuple[Change, int]] = {
    "recompressed, quality 50": (lambda one: one, 50),
    "recompressed, quality 20": (lambda one: one, 20),
    "half the size": (scale(0.5), 80),
    "a fifth of the size": (scale(0.2), 80),
    "twice the size": (scale(2.0), 80),
    "stretched to 224 × 224": (lambda one: one.resize((224, 224)), 80),
    "brightness × 1.3": (lambda one: ImageEnhance.Brightness(one).enhance(1.3), 80),
    "brightness × 0.6": (lambda one: ImageEnhance.Brightness(one).enhance(0.6), 80),
    "contrast × 1.4": (lambda one: ImageEnhance.Contrast(one).enhance(1.4), 80),
    "colors × 0.6": (lambda one: ImageEnhance.Color(one).enhance(0.6), 80),
    "without colors": (lambda one: one.convert("L"), 80),
    "blurred": (lambda one: one.filter(ImageFilter.GaussianBlur(3)), 80),
    "cropped by 2 %": (crop(0.02), 80),
    "cropped by 5 %": (crop(0.05), 80),
    "cropped by 10 %": (crop(0.1), 80),
    "rotated by 2 degrees": (lambda one: one.rotate(2, Image.Resampling.BILINEAR), 80),
    "mirrored": (lambda one: one.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 80),
}


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("folder", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--count", default=1000, show_default=True, help="Number of images to copy.")
@click.option("--speed", type=int, help="Number of random thumbnails to search.")
def main(folder: Path | None, count: int, speed: int | None) -> None:
    """Print tables of the similarity of modified copies and of the search speed."""
    if folder:
        paths, _ = images_below(folder)
        measure(paths, count)
    if speed:
        measure_speed(speed)


def measure(paths: list[Path], count: int) -> None:
    """Search for copies of some images, and for similar pairs among all images."""
    looks = looks_of([path.read_bytes() for path in paths])
    some = np.random.default_rng(0).permutation(len(paths))[:count]
    click.echo(f"{len(paths):,} images, without structure {np.count_nonzero(~looks.has_structure):,}\n")
    heading = ("copies", "bits, median", "95 %", "99 %", "correlation, 5 %", "1 %", "colors, 99 %", "found")
    rows = [row_of(name, looks, some, [paths[place] for place in some], *change) for name, change in CHANGES.items()]
    click.echo(plain_table([list(column) for column in zip(heading, *rows, strict=True)]))
    bits, correlation, near = all_pairs(looks)
    limits = [(most, least) for most in BITS for least in (-1.0, *CORRELATIONS)]
    counts = [f"{np.count_nonzero((bits <= most) & (correlation >= least)):,}" for most, least in limits]
    width = len(CORRELATIONS) + 1
    columns = [counts[number::width] for number in range(width)]
    headings = ("pairs", *(f"correlated by {least}" for least in CORRELATIONS))
    table = [["bits", *map(str, BITS)], *([name, *column] for name, column in zip(headings, columns, strict=True))]
    click.echo("\n" + plain_table(table))
    click.echo(f"\npairs that pass, of {len(paths) * (len(paths) - 1) // 2:,}: {len(near):,}")
    for one, other, value in sorted(near, key=lambda pair: -pair[2]):
        click.echo(f"{value:.3f} {paths[one]} {paths[other]}")


def row_of(
    name: str, looks: Looks, some: NDArray[np.int64], paths: list[Path], change: Change, quality: int
) -> tuple[str, ...]:
    """Return the table row of one kind of copies."""
    copies = looks_of(list(map_ordered(lambda path: encode_changed(path, change, quality), paths)))
    bits = np.bitwise_count(looks.hashes[some] ^ copies.hashes)
    correlation = correlations(looks.gray[some], copies.gray)
    color = color_distances(looks.color[some], copies.color)
    both = Looks(
        *(
            np.concatenate([getattr(looks, field.name)[some], getattr(copies, field.name)])
            for field in dataclasses.fields(Looks)
        )
    )
    n = len(some)
    pairs = similar_pairs(both, [np.arange(n), np.arange(n, 2 * n)]).pairs
    found = sum(other - one == n for one, other, _ in pairs) / n
    numbers = (*np.percentile(bits, (50, 95, 99)), *np.percentile(correlation, (5, 1)), np.percentile(color, 99))
    return (name, *(f"{value:.3g}" for value in numbers), f"{found:.1%}")


def all_pairs(
    looks: Looks, widest: int = BITS[-1]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], tuple[tuple[int, int, float], ...]]:
    """Return bits and correlation of all pairs with similar hashes, and the near-duplicates among them."""
    bits, correlation = [], []
    for place in range(len(looks.hashes) - 1):
        others = np.bitwise_count(looks.hashes[place] ^ looks.hashes[place + 1 :])
        near = np.flatnonzero(others <= widest)
        bits.append(others[near])
        correlation.append(correlations(looks.gray[place : place + 1], looks.gray[place + 1 + near]))
    found = similar_pairs(looks, [np.arange(len(looks.hashes))], within=[0])
    return np.concatenate(bits), np.concatenate(correlation), found.pairs


def looks_of(files: list[bytes]) -> Looks:
    """Compute the perceptual hashes and thumbnails of encoded images."""
    return Looks.of([facts.thumbnail for facts in map_ordered(lambda one: verify(one, MAX_PIXELS), files)])


def encode_changed(path: Path, change: Change, quality: int) -> bytes:
    """Encode the changed image as JPEG."""
    file = io.BytesIO()
    with Image.open(path) as image:
        change(image.convert("RGB")).save(file, "JPEG", quality=quality)
    return file.getvalue()


def measure_speed(n: int) -> None:
    """Search random thumbnails with a hundred planted copies."""
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (n, THUMBNAIL_BYTES), np.uint8)
    table[-100:] = table[:100]
    places = np.arange(n)
    parts = np.split(places, [round(0.7 * n), round(0.85 * n)])
    thumbnails = [row.tobytes() for row in table]
    for what, within in (("across splits", []), ("all pairs", [0, 1, 2])):
        started, used = time.monotonic(), time.process_time()
        found = similar_pairs(Looks.of(thumbnails), parts, within)
        seconds, used = time.monotonic() - started, time.process_time() - used
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        spent = f"{seconds:.1f} s, {used:.1f} s of CPU time"
        click.echo(f"{n:,} images, {what}: {spent}, {len(found.pairs)} pairs, memory at most {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
