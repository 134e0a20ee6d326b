"""Measure manifests of many images, and images in tar shards against the same images as files.

    python scripts/measure_scale.py manifest --images 1000000   processor time and memory of each step
    python scripts/measure_scale.py stream FOLDER --images 100000   index, read and decode; the two kinds take turns

The second command writes FOLDER/files and FOLDER/shards, 64 px JPEGs in 100 classes, unless they are there.
docs/explanation/scale.md reports both.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import build_manifest
from cnncli.dataset.labels.source import read_labels
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.split import draw_splits
from cnncli.dataset.stat_index import StatIndex
from cnncli.dataset.table import ImageTable
from cnncli.features.store import FeatureKey, FeatureStore
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.thumbnail import THUMBNAIL_BYTES
from cnncli.images.verify import ImageFacts
from cnncli.runtime.threads import batched, map_ordered
from cnncli.shards import shard as shards
from cnncli.shards.shard import place_key, read_image
from cnncli.storage.atomic import write_atomically

N_CLASSES = 1_000
PER_SHARD = 10_000
KEY = FeatureKey({"measured": True})


def records(n: int) -> Iterator[ImageRecord]:
    """Yield the records of n images of a thousand classes in shards, as in ImageNet, 80 % of them for training."""
    rng = np.random.default_rng(0)
    n_train, n_validation = n * 8 // 10, n // 10
    for k in range(n):
        split = "train" if k < n_train else "validation" if k < n_train + n_validation else "test"
        facts = ImageFacts(rng.bytes(32).hex(), 110_000 + k % 1_000, 500, 375)
        label = f"n{k * N_CLASSES // n:08}"
        yield ImageRecord(f"/data/imagenet/train-{k // PER_SHARD:06}.tar/{label}_{k:07}.JPEG", (label,), split, facts)


def make_table(n: int, _folder: Path) -> object:
    """Make the table of a manifest."""
    return ImageTable(records(n), most=n)


def write_csv(n: int, folder: Path) -> object:
    """Write the table of a manifest as CSV."""
    table = ImageTable(records(n), most=n)
    manifest = Manifest(table, ())
    write_atomically(folder / "manifest.csv", manifest.csv_parts())
    return table


def read_csv(_n: int, folder: Path) -> object:
    """Read the CSV."""
    return Manifest.from_csv(folder / "manifest.csv")


def read_and_select(_n: int, folder: Path) -> object:
    """Read the CSV, select the training images, and number their labels."""
    manifest = Manifest.from_csv(folder / "manifest.csv")
    train = manifest.split("train")
    return manifest, train, manifest.labels(train), manifest.counts()


def draw(n: int, _folder: Path) -> object:
    """Draw validation and test images by digest and label, from lists of both."""
    rng = np.random.default_rng(0)
    digests, labels = [rng.bytes(32).hex() for _ in range(n)], [(f"n{k % N_CLASSES:08}",) for k in range(n)]
    return draw_splits(digests, labels, {"validation": 0.1, "test": 0.1}, seed=0)


def fill_cache(n: int, folder: Path) -> object:
    """Write the features of all images but the last thousand to a feature cache: 8 values each, in segments."""
    with FeatureStore(folder / "features") as store:
        for rows in batched((one.digest for one in records(n)), 2_048):
            store.write(KEY, rows, [np.zeros((len(rows), 8), np.float32)])
    return None


def resume(_n: int, folder: Path) -> object:
    """Read the CSV, and find what is not in the feature cache."""
    manifest = Manifest.from_csv(folder / "manifest.csv")
    with FeatureStore(folder / "features") as store:
        missing = store.missing(KEY, [row.digest for row in manifest.rows])
    assert not missing  # noqa: S101
    return manifest


def write_shards(n: int, folder: Path) -> object:
    """Write n files in tar shards, and facts about them to the index of images, as after an earlier verification."""
    os.environ["CNNCLI_CACHE"] = str(folder / "cache")
    rng, index, n_classes = np.random.default_rng(0), StatIndex(), min(N_CLASSES, n // 10)
    (folder / "shards").mkdir()
    for number, batch in enumerate(batched(range(n), PER_SHARD)):
        path = folder / "shards" / f"photos-{number:06}.tar"
        names = [f"n{k % n_classes:08}/{k:07}.JPEG" for k in batch]
        with tarfile.open(path, "w") as shard:
            for name in names:
                shard.addfile(tarfile.TarInfo(name))
        time.sleep(0.1)  # files that changed a moment ago are not remembered
        key = place_key(path)
        index.remember((f"{path}/{name}", key, random_facts(rng)) for name in names)
    return None


def random_facts(rng: np.random.Generator) -> ImageFacts:
    """Return facts about an image that is unlike all others."""
    facts = ImageFacts(rng.bytes(32).hex(), 110_000, 500, 375, "JPEG", "RGB")
    return replace(facts, thumbnail=rng.bytes(THUMBNAIL_BYTES))


def build(_n: int, folder: Path) -> object:
    """Build the manifest of the shards, and draw validation and test images."""
    os.environ["CNNCLI_CACHE"] = str(folder / "cache")
    return build_manifest(DataConfig(path=folder / "shards"), seed=0)


STEPS: dict[str, Callable[[int, Path], object]] = {
    "make the table": make_table,
    "write it as CSV": write_csv,
    "read the CSV": read_csv,
    "read it, select training images, number labels": read_and_select,
    "draw splits": draw,
    "fill a feature cache": fill_cache,
    "read the CSV and find missing features": resume,
    "write shards and an index of their images": write_shards,
    "build the manifest of these shards": build,
}


def memory_mb(field: str) -> float:
    """Return the resident memory of this process (VmRSS) or its peak (VmHWM) in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def measure(name: str, n: int, folder: Path, results: Any) -> None:
    """Run a step in a process of its own; report processor seconds, and growth to the peak and at the end, in MB."""
    before, started = memory_mb("VmRSS"), time.process_time()
    kept = STEPS[name](n, folder)
    results.put((time.process_time() - started, memory_mb("VmHWM") - before, memory_mb("VmRSS") - before))
    del kept


@click.group()
def main() -> None:
    """Measure manifests of many images, and images in shards."""


@main.command()
@click.option("--images", default=1_000_000, show_default=True)
@click.option("--only", default="", help="Measure only the steps that contain these words.")
def manifest(images: int, only: str) -> None:
    """Measure the steps of a manifest, each in a new process."""
    spawn = get_context("spawn")
    click.echo("step: processor seconds, growth of memory at its peak and at the end")
    with tempfile.TemporaryDirectory() as folder:
        for name in (name for name in STEPS if only in name):
            results = spawn.SimpleQueue()
            process = spawn.Process(target=measure, args=(name, images, Path(folder), results))
            process.start()
            process.join()
            if process.exitcode:
                raise click.ClickException(f"{name}: exit code {process.exitcode}")
            seconds, peak, kept = results.get()
            click.echo(f"{name}: {seconds:.1f} s, {peak:.0f} MB, {kept:.0f} MB")


def write_images(folder: Path, n: int) -> None:
    """Write n distinct JPEGs of 64 px as files in 100 class folders, and in tar shards."""
    rng = np.random.default_rng(0)
    (folder / "shards").mkdir(parents=True)
    for start in range(0, n, PER_SHARD):
        with tarfile.open(folder / "shards" / f"photos-{start // PER_SHARD:06}.tar", "w") as shard:
            for k in range(start, min(n, start + PER_SHARD)):
                coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
                content = io.BytesIO()
                Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
                name = f"class{k % 100:02}/{k:07}.jpg"
                path = folder / "files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.getvalue())
                info = tarfile.TarInfo(name)
                info.size = len(content.getvalue())
                shard.addfile(info, io.BytesIO(content.getvalue()))


def decode_all(paths: Sequence[Path]) -> tuple[float, float]:
    """Read and decode images in parallel; return the seconds of the clock and of the processors."""
    spec = PixelSpec(64, 64)

    def one(batch: list[Path]) -> int:
        return sum(decode(read_image(path, 10**9), spec).shape[0] for path in batch)

    started = time.perf_counter(), time.process_time()
    sum(map_ordered(one, batched(paths, 32)))
    return time.perf_counter() - started[0], time.process_time() - started[1]


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", default=100_000, show_default=True)
def stream(folder: Path, images: int) -> None:
    """Index, read and decode the same images as files and in shards, in turns of a tenth each."""
    if not (folder / "shards").is_dir():
        write_images(folder, images)
    seconds: dict[str, list[tuple[float, float]]] = {"files": [], "shards": []}
    paths: dict[str, list[Path]] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CNNCLI_CACHE"] = cache
        for kind in ("files", "shards"):
            for attempt in ("first", "again"):
                started = time.perf_counter()
                found = read_labels(DataConfig(path=folder / kind)).records
                click.echo(f"index of {len(found):,} {kind}, {attempt}: {time.perf_counter() - started:.2f} s")
            paths[kind] = sorted((one.path for one in found), key=lambda path: path.name)
        size = -(-images // 10)
        for turn in range(10):
            for kind in ("files", "shards") if turn % 2 else ("shards", "files"):
                part = paths[kind][turn * size : (turn + 1) * size]
                seconds[kind].append(decode_all(part))
    for number, clock in enumerate(("the clock", "the processors")):
        for kind, measured in seconds.items():
            rate = size / statistics.median(one[number] for one in measured)
            click.echo(f"{kind}: {rate:,.0f} images per second of {clock}")
        pairs = zip(seconds["files"], seconds["shards"], strict=True)
        ratios = [theirs[number] / ours[number] for theirs, ours in pairs]
        low, high = min(ratios), max(ratios)
        click.echo(f"rate of shards / rate of files: {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})")
    places = sum(one._hashes.nbytes + one._offsets.nbytes + one._sizes.nbytes for one in shards._opened.values())
    click.echo(f"places of the images in shards, in memory: {places / images:.0f} bytes per image")


if __name__ == "__main__":
    main()
