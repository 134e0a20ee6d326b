"""What speed costs in accuracy: bfloat16 against float32, views against none and fresh, the engine against Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnncli.config.schema import DataConfig
from cnncli.dataset.build import build_manifest
from cnncli.images.decode import PixelSpec, decode
from cnncli.metrics.classification import wilson_interval
from scripts.benchmarks.commands import cnncli_command, run
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.networks import freeze
from scripts.benchmarks.results import Finding, Reach
from scripts.benchmarks.timing import Samples, in_turns
from scripts.benchmarks.workbench import Workbench

if TYPE_CHECKING:
    from scripts.benchmarks.networks import FrozenNetwork

FIGURES = ("engine", "precision", "views", "views-of-few")
SEEDS = (0, 1, 2)
SIZES_PX = {"ResNet50": 160, "MobileNetV2": 224, "EfficientNetLite0": 224}
VIEWED = ("EfficientNetLite0", "ResNet50")
MANY, FEW = 2000, 100
"""Training images."""
EPOCHS = "training.epochs=10"
AUGMENTATION = ("augmentation.rotation_range=15", "augmentation.zoom_range=0.1", "augmentation.horizontal_flip=true")


@dataclass(frozen=True)
class Scored:
    """A training: its test accuracy (0–1), the number of test images, and of features that it computed and stored."""

    accuracy: float
    n: int
    computed: int


def measure(bench: Workbench) -> None:
    """Everything on the images of all splits; the seeds are the rounds."""
    measures: dict[str, Callable[[Workbench], None]] = {
        "engine": _measure_engine,
        "precision": _measure_precision,
        "views": partial(_measure_views, images=MANY),
        "views-of-few": partial(_measure_views, images=FEW),
    }
    measures[bench.figure](bench)


def _measure_engine(bench: Workbench) -> None:
    """The largest relative difference between features of both sides, both in float32."""
    folder = bench.splits(train=16, validation=16, test=256)
    rows = build_manifest(DataConfig(path=folder), seed=0, index_path=bench.work / "index.sqlite").split("test")
    for name, side in SIZES_PX.items():
        network = freeze(bench, name, side, engine="openvino", precision="float32")
        recipe = PixelSpec(side, side)
        pixels = np.stack([decode(row.path, recipe) for row in rows])
        finding = Finding(
            f"{name}, {side} px: features of the engine in float32 against Keras's, {len(rows)} images",
            "largest difference / largest feature",
            Samples((_difference(network, pixels),)),
            reach=Reach("cnncli", most=1e-3),
        )
        bench.record(finding)


def _difference(network: FrozenNetwork, pixels: np.ndarray) -> float:
    found: list[np.ndarray] = []
    predict = plain(lambda: found.append(network.model.predict(pixels.astype(np.float32), batch_size=32, verbose=0)))
    predict()
    expected = found[0][0] if isinstance(found[0], list) else found[0]
    return float(np.abs(network.engine.run([pixels])[0] - expected).max() / np.abs(expected).max())


def _measure_precision(bench: Workbench) -> None:
    """The default recipe with the trunk in either precision."""
    folder = bench.splits()
    for name in SIZES_PX:
        sides = {
            precision: _trainings(bench, folder, name, [f"precision={precision}"])
            for precision in ("bfloat16", "float32")
        }
        found = in_turns(sides, _rounds(bench))
        short, full = found["bfloat16"], found["float32"]
        half = _half_interval(full)
        bench.record(
            Finding(
                f"{name}, {SIZES_PX[name]} px: test accuracy, stored bfloat16",
                "%",
                _accuracies(short),
                "stored float32",
                _accuracies(full),
                comparison="difference",
                reach=Reach("comparison", least=-half, most=half),
                note=f"seeds {_seeds(bench)}; float32 {_interval(full)}, bfloat16 {_interval(short)}",
            )
        )


def _measure_views(bench: Workbench, images: int) -> None:
    """Views of training images against no augmentation at all.

    Each kind begins with an empty cache. Views are the same for all seeds, so only the first seed computes them: what
    it computes is what they cost.
    """
    folder = bench.splits(train=images)
    for name in VIEWED:
        kinds: dict[str, Sequence[str]] = {
            "none": (),
            **{f"views: {k}": (*AUGMENTATION, f"augmentation.views={k}") for k in (2, 4, 8, "fresh")},
        }
        sides = {kind: _trainings(bench, folder, name, [EPOCHS, *more], kind) for kind, more in kinds.items()}
        found = in_turns(sides, _rounds(bench))
        for kind in kinds:
            _record_views(bench, f"{name}, {images:,} training images", kind, found[kind], found["none"])


def _record_views(bench: Workbench, title: str, kind: str, ours: list[Scored], none: list[Scored]) -> None:
    if kind == "none":
        note = f"{_interval(ours)}; {_cost(kind, ours)}"
        bench.record(Finding(f"{title}: test accuracy, no augmentation", "%", _accuracies(ours), note=note))
        return
    finding = Finding(
        f"{title}: test accuracy, {kind}",
        "%",
        _accuracies(ours),
        "no augmentation",
        _accuracies(none),
        comparison="difference",
        note=f"{_interval(ours)}; {_cost(kind, ours)}; rotation 15°, zoom 0.1, flip; seeds {_seeds(bench)}",
    )
    bench.record(finding)


def _cost(kind: str, ours: list[Scored]) -> str:
    """How often the frozen part ran: a figure that does not depend on what else the machine does."""
    if kind == "views: fresh":
        return "the frozen part ran on every training image in every epoch"
    return f"the frozen part ran on {ours[0].computed:,} images and views"


def _trainings(
    bench: Workbench, folder: Path, name: str, settings: Sequence[str], kind: str = ""
) -> Callable[[], Scored]:
    """Each call trains with the next seed; trainings of a network and kind share a cache."""
    seeds = iter(SEEDS)
    words = [
        f"backbone.name={name}",
        f"backbone.weights={bench.weights_of(name)}",
        f"data.image_size={SIZES_PX[name]}",
        *settings,
        *(["training.epochs=2"] if bench.quick else []),
    ]

    def train() -> Scored:
        seed = next(seeds)
        cache = bench.work / f"cache-{name}-{kind.replace(': ', '-')}"
        runs = ["--json", "--quiet", "--runs-dir", str(bench.work / "runs")]
        done = run(cnncli_command("train", folder, *words, f"seed={seed}", *runs), cache)
        test = done.document["metrics"]["test"]
        return Scored(test["top1"], test["n"], done.document["features"]["computed"])

    return train


def _rounds(bench: Workbench) -> int:
    return bench.count(min(bench.rounds, len(SEEDS)), 1)


def _seeds(bench: Workbench) -> str:
    return ", ".join(map(str, SEEDS[: _rounds(bench)]))


def _accuracies(runs: list[Scored]) -> Samples:
    return Samples(tuple(100 * one.accuracy for one in runs))


def _bounds(runs: list[Scored]) -> tuple[float, float]:
    """The 95 % Wilson interval of the median accuracy, percent."""
    n = runs[0].n
    low, high = wilson_interval(round(_accuracies(runs).median * n / 100), n)
    return 100 * low, 100 * high


def _interval(runs: list[Scored]) -> str:
    low, high = _bounds(runs)
    return f"95 % interval {low:.1f}–{high:.1f} %"


def _half_interval(runs: list[Scored]) -> float:
    low, high = _bounds(runs)
    return (high - low) / 2
