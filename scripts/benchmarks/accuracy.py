"""Compare accuracies: exact heads and Adam; bfloat16 and float32; kinds of views; the engine and Keras."""

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
from scripts.benchmarks.measurements import Finding, Samples, Target, in_turns
from scripts.benchmarks.networks import freeze
from scripts.benchmarks.workbench import Workbench

if TYPE_CHECKING:
    from scripts.benchmarks.networks import FrozenNetwork

BENCHMARKS = ("engine", "precision", "views", "views-of-few", "solver", "solver-of-few")
SEEDS = (0, 1, 2)
SIZES_PX = {"ResNet50": 160, "MobileNetV2": 224, "EfficientNetLite0": 224}
VIEWED = ("EfficientNetLite0", "ResNet50")
MANY, FEW = 2000, 100
"""Numbers of training images."""
SOLVED_PX = {"MobileNet": 160, "MobileNetV2": 160, "ResNet50": 160, "EfficientNetLite0": 160}
DRAWN = 1500
"""Number of training images that each seed draws from `MANY`, to compare solvers."""
MOST_LOST = 0.2
"""Percentage points that an exact head may be below Adam."""
EPOCHS = "training.epochs=10"
AUGMENTATION = ("augmentation.rotation_range=15", "augmentation.zoom_range=0.1", "augmentation.horizontal_flip=true")


@dataclass(frozen=True)
class Scored:
    """Result of a training.

    Attributes:
        accuracy: Test accuracy, 0–1.
        n: Number of test images.
        computed: Number of images and views whose features were computed.
    """

    accuracy: float
    n: int
    computed: int


def measure(bench: Workbench) -> None:
    """Measure accuracies, with a different seed in each round."""
    measures: dict[str, Callable[[Workbench], None]] = {
        "engine": _measure_engine,
        "precision": _measure_precision,
        "views": partial(_measure_views, images=MANY),
        "views-of-few": partial(_measure_views, images=FEW),
        "solver": partial(_measure_solvers, images=DRAWN),
        "solver-of-few": partial(_measure_solvers, images=FEW),
    }
    measures[bench.benchmark](bench)


def _measure_engine(bench: Workbench) -> None:
    """Measure the largest relative difference between the features of the engine and of Keras, both in float32."""
    folder = bench.splits(train=16, validation=16, test=256)
    rows = build_manifest(DataConfig(path=folder), seed=0).split("test")
    for name, side in SIZES_PX.items():
        network = freeze(bench, name, side, engine="openvino", precision="float32")
        recipe = PixelSpec(side, side)
        pixels = np.stack([decode(row.path, recipe) for row in rows])
        finding = Finding(
            f"{name}, {side} px: features of the engine in float32 against Keras's, {len(rows)} images",
            "largest difference / largest feature",
            Samples((_difference(network, pixels),)),
            target=Target("cnncli", most=1e-3),
        )
        bench.record(finding)


def _difference(network: FrozenNetwork, pixels: np.ndarray) -> float:
    found: list[np.ndarray] = []
    predict = plain(lambda: found.append(network.model.predict(pixels.astype(np.float32), batch_size=32, verbose=0)))
    predict()
    expected = found[0][0] if isinstance(found[0], list) else found[0]
    return float(np.abs(network.engine.run([pixels])[0] - expected).max() / np.abs(expected).max())


def _measure_precision(bench: Workbench) -> None:
    """Train the default recipe with the trunk in each precision."""
    folder = bench.splits()
    for name in SIZES_PX:
        sides = {
            precision: _trainings(bench, folder, name, [f"precision={precision}", f"data.image_size={SIZES_PX[name]}"])
            for precision in ("bfloat16", "float32")
        }
        found = in_turns(sides, _rounds(bench))
        short, full = found["bfloat16"], found["float32"]
        half = _half_interval(full)
        bench.record(
            Finding(
                f"{name}, {SIZES_PX[name]} px: test accuracy, bfloat16",
                "%",
                _accuracies(short),
                "float32",
                _accuracies(full),
                comparison="difference",
                target=Target("comparison", least=-half, most=half),
                note=f"seeds {_seeds(bench)}; float32 {_interval(full)}, bfloat16 {_interval(short)}",
            )
        )


def _measure_solvers(bench: Workbench, images: int) -> None:
    """Compare heads that are solved exactly with 20 epochs of Adam; each seed draws its training images."""
    folder, drawn = bench.splits(train=MANY), f"data.train_images={bench.count(images, 8)}"
    for name, side in SOLVED_PX.items():
        size = f"data.image_size={side}"
        settings = {"exact": [drawn, size], "adam": [drawn, size, "training.epochs=20"]}
        sides = {solver: _trainings(bench, folder, name, words, "solver") for solver, words in settings.items()}
        found = in_turns(sides, _rounds(bench))
        bench.record(
            Finding(
                f"{name}, {side} px, {images:,} training images: test accuracy, exact head",
                "%",
                _accuracies(found["exact"]),
                "Adam, 1e-3, 20 epochs",
                _accuracies(found["adam"]),
                comparison="difference",
                target=Target("comparison", least=-MOST_LOST),
                note=f"seeds {_seeds(bench)}; {_interval(found['exact'])}, Adam {_interval(found['adam'])}",
            )
        )


def _measure_views(bench: Workbench, images: int) -> None:
    """Compare the accuracy with several kinds of views to that without augmentation.

    Each kind starts with an empty cache. All seeds share the views, so only the first seed computes them.
    """
    folder = bench.splits(train=images)
    for name in VIEWED:
        kinds: dict[str, Sequence[str]] = {
            "none": (),
            **{f"views: {k}": (*AUGMENTATION, f"augmentation.views={k}") for k in (2, 4, 8, "fresh")},
        }
        sides = {
            kind: _trainings(bench, folder, name, [EPOCHS, f"data.image_size={SIZES_PX[name]}", *more], kind)
            for kind, more in kinds.items()
        }
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
    """Return how often the trunk ran: a cost that does not depend on the machine's load."""
    if kind == "views: fresh":
        return "the trunk ran on every training image in every epoch"
    return f"the trunk ran on {ours[0].computed:,} images and views"


def _trainings(
    bench: Workbench, folder: Path, name: str, settings: Sequence[str], kind: str = ""
) -> Callable[[], Scored]:
    """Return a function that trains with the next seed. Runs with the same network and kind of views share a cache."""
    seeds = iter(SEEDS)
    words = [
        f"backbone.name={name}",
        f"backbone.weights={bench.weights_of(name)}",
        *settings,
        *(["training.epochs=2"] if bench.quick and any("epochs" in one for one in settings) else []),
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
    """Return the 95 % Wilson interval of the median accuracy in percent."""
    n = runs[0].n
    low, high = wilson_interval(round(_accuracies(runs).median * n / 100), n)
    return 100 * low, 100 * high


def _interval(runs: list[Scored]) -> str:
    low, high = _bounds(runs)
    return f"95 % interval {low:.1f}–{high:.1f} %"


def _half_interval(runs: list[Scored]) -> float:
    low, high = _bounds(runs)
    return (high - low) / 2
