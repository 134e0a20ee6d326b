"""Measure frozen networks on JPEG files: decoding alone, the forward pass alone, both together, and plain Keras."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.config.schema import DataConfig
from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.features.extract import Extraction, FeatureSet, extract, read_pixels
from cnncli.features.store import FeatureStore
from cnncli.runtime.threads import map_ordered, workers
from cnncli.terminal.console import Console
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.measurements import Finding, Samples, Target, seconds_in_turns
from scripts.benchmarks.networks import NETWORKS, SIDE_PX, FrozenNetwork, freeze
from scripts.benchmarks.plain.parts import steady
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = NETWORKS
IMAGES = {"MobileNet": 1024, "EfficientNetLite0": 1024, "VGG16": 128}
"""Number of images by network, so that a round of the slowest side takes about 15 s; `OTHERS` for other networks."""
OTHERS = 384


def measure(bench: Workbench) -> None:
    """Measure images per second: decoding, the engine, both together into an empty cache, and Keras."""
    network = freeze(bench, bench.benchmark)
    folder = bench.splits(train=IMAGES.get(bench.benchmark, OTHERS), validation=16, test=16)
    rows = build_manifest(DataConfig(path=folder), seed=0).split("train")
    decode = _decoding(network, rows)
    pixels = np.stack(decode())
    together = EmptyCacheExtraction(network.extraction, rows, bench.work)
    sides: dict[str, Callable[[], object]] = {
        "decode": decode,
        "forward": lambda: network.run_on_all_cores(pixels),
        "extract": together,
        "Keras": plain(_keras(network.model, folder / "train")),
    }
    seconds = seconds_in_turns(sides, bench.rounds)
    _record(bench, {name: samples.per_second(len(rows)) for name, samples in seconds.items()})
    busy = Samples(tuple(together.busy[1:]))  # the first call warmed up
    bench.record(Finding(f"{_title(bench)}: processors busy", f"% of {workers()} processors", busy))


def _decoding(network: FrozenNetwork, rows: Sequence[ImageRecord]) -> Callable[[], list[Any]]:
    return lambda: list(map_ordered(lambda row: read_pixels(row, network.extraction.pixels), rows))


def _keras(model: Any, folder: Path) -> Callable[[], object]:
    """Return a call of `predict` on a folder, which decodes the next batches concurrently."""
    import keras

    data = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(SIDE_PX, SIDE_PX), batch_size=32, shuffle=False, verbose=False
    )
    data = steady(data)
    return lambda: model.predict(data, verbose=0)


class EmptyCacheExtraction:
    """Extraction of all features into an empty cache. `busy` has the CPU utilization of each call in percent."""

    def __init__(self, extraction: Extraction, rows: Sequence[ImageRecord], work: Path) -> None:
        self.busy: list[float] = []
        self._extraction, self._rows = extraction, rows
        self._stores = (work / f"store-{number}" for number in itertools.count())

    def __call__(self) -> None:
        """Empty the cache, and compute all features."""
        started, used = time.perf_counter(), _processor_seconds()
        with FeatureStore(next(self._stores)) as store:
            extract(FeatureSet(self._extraction, self._rows), store, Console(quiet=True))
        fraction = (_processor_seconds() - used) / (time.perf_counter() - started) / workers()
        self.busy.append(100 * fraction)


def _processor_seconds() -> float:
    """Return the CPU time of this process and its children, summed over threads."""
    return sum(os.times()[:4])


def _record(bench: Workbench, rates: dict[str, Samples]) -> None:
    pairs = zip(rates["decode"].values, rates["forward"].values, strict=True)
    ideal = Samples(tuple(1 / (1 / decode + 1 / forward) for decode, forward in pairs))
    note = f"decoding {rates['decode'].median:,.0f} images/s, the engine {rates['forward'].median:,.0f} images/s"
    others = (
        ("1 / (1/decode + 1/forward), each each on all cores", ideal, 0.9, note),
        ("Keras `image_dataset_from_directory` + `predict`", rates["Keras"], 4.0, ""),
    )
    for other, theirs, least, remark in others:
        target = Target("comparison", least=least)
        bench.record(Finding(_title(bench), "images/s", rates["extract"], other, theirs, target=target, note=remark))


def _title(bench: Workbench) -> str:
    return f"{bench.benchmark}, {SIDE_PX} px, from JPEG files to cached features"
