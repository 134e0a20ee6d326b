"""Measure the peak anonymous memory and the time of `cnncli train` for a growing number of images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.commands import Watched, cnncli_command, limit_name, watch
from scripts.benchmarks.images import write_many
from scripts.benchmarks.measurements import Finding, Samples, Target, in_turns
from scripts.benchmarks.workbench import Workbench

BENCHMARKS = ("growth", "limit")
COUNTS = (2000, 8000, 32_000)
QUICK_COUNTS = (40, 80, 160)
LIMIT_BYTES = 3 * 10**9
NOTE = "copies that differ in a few pixels, JPEGs of 200 px; EfficientNetLite0, 224 px, 3 epochs, cold cache"


def measure(bench: Workbench) -> None:
    """Train on each number of images alternately, or on the largest number with limited memory."""
    {"growth": _measure_growth, "limit": _measure_limit}[bench.benchmark](bench)


def _measure_growth(bench: Workbench) -> None:
    counts = QUICK_COUNTS if bench.quick else COUNTS
    found = in_turns({str(count): _training(bench, count) for count in counts}, bench.rounds)
    seconds = {count: _values(found[str(count)], "seconds") for count in counts}
    peaks = {count: _values(found[str(count)], "peak_mb") for count in counts}
    for count in counts:
        bench.record(Finding(f"`cnncli train`, {count:,} images: peak anonymous memory", "MB", peaks[count]))
        bench.record(Finding(f"`cnncli train`, {count:,} images, command to metrics", "s", seconds[count]))
    small, middle, large = counts
    bench.record(
        Finding(
            f"peak anonymous memory, growth from {small:,} to {large:,} images",
            "MB",
            _difference(peaks[large], peaks[small]),
            target=Target("cnncli", most=50.0),
            note=NOTE,
        )
    )
    _record_linear(bench, seconds, (small, middle, large))


def _record_linear(bench: Workbench, seconds: dict[int, Samples], counts: tuple[int, int, int]) -> None:
    """Record the time per additional image, for many and for few images."""
    small, middle, large = counts
    bench.record(
        Finding(
            f"time per further image, from {middle:,} to {large:,}",
            "ms",
            _per_image(seconds[large], seconds[middle], large - middle),
            f"from {small:,} to {middle:,}",
            _per_image(seconds[middle], seconds[small], middle - small),
            comparison="time",
            target=Target("comparison", least=0.9),
            note="1 is linear growth; below 1, time grows faster than the number of images",
        )
    )


def _measure_limit(bench: Workbench) -> None:
    count = (QUICK_COUNTS if bench.quick else COUNTS)[-1]
    done = _training(bench, count, LIMIT_BYTES)()  # once, since it finishes or fails
    bench.record(
        Finding(
            f"`cnncli train`, {count:,} images under a limit of 3 GB ({limit_name()}): runs that finished",
            "%",
            Samples((0.0 if done.problem else 100.0,)),
            target=Target("cnncli", least=100.0, most=100.0),
            note=" ".join(done.problem.split())
            if done.problem
            else f"peak {done.peak_mb:,.0f} MB, {done.seconds:,.0f} s",
        )
    )


def _training(bench: Workbench, count: int, limit_bytes: int | None = None) -> Callable[[], Watched]:
    """Write `count` images, and return a function that trains on them with an empty cache."""
    data = write_many(bench.data, count, bench.work / f"images-{count}")
    caches = (bench.work / f"cache-{count}-{number}" for number in itertools.count())
    words = ["training.epochs=3", "--quiet", "--runs-dir", str(bench.work / "runs")]

    def train() -> Watched:
        done = watch(cnncli_command("train", data, *words), _empty(next(caches)), limit_bytes)
        if done.problem and limit_bytes is None:
            raise RuntimeError(done.problem)
        return done

    return train


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _values(runs: list[Watched], name: str) -> Samples:
    return Samples(tuple(float(getattr(one, name)) for one in runs))


def _difference(one: Samples, other: Samples) -> Samples:
    """Subtract two sides round by round."""
    return Samples(tuple(a - b for a, b in zip(one.values, other.values, strict=True)))


def _per_image(many: Samples, few: Samples, images: int) -> Samples:
    return Samples(tuple(1000 * value / images for value in _difference(many, few).values))
