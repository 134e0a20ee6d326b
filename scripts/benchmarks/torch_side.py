"""cnncli beside torch: frozen networks of timm, and a training with `yolo classify`.

Both are installed in an environment of their own: pip install timm ultralytics
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cnncli.runtime.environment import cpu
from scripts.benchmarks import frozen
from scripts.benchmarks.rows import OURS, ROOT, Row, in_turns, rates_in_turns
from scripts.benchmarks.setting import Setting, run

YOLO = "yolo11n-cls.yaml"
"""The smallest network of `yolo classify`, with 1.6 million parameters."""


def measure_timm(setting: Setting, name: str) -> Iterator[Row]:
    """Yield images per second of a frozen network from JPEG files to features, beside timm."""
    ours, n_images, folder = frozen.prepare_files(setting, name)
    precision = "bfloat16" if "avx512_bf16" in (cpu()["flags"] or ()) else "float32"
    words = [name, str(folder / "train"), str(frozen.SIDE_PX), precision]
    with _answering(setting.python_with_torch, "scripts.benchmarks.plain.timm_features", *words) as theirs:
        sides: dict[str, Callable[[], object]] = {OURS: ours, f"timm, {precision}, two workers": theirs}
        rates = rates_in_turns(sides, n_images, setting.rounds)
    title = f"Frozen networks, {frozen.SIDE_PX} px, from JPEG files to features, beside timm"
    yield Row(title, "images/s", rates, name, note=ours.precision)


def measure_yolo(setting: Setting, name: str) -> Iterator[Row]:
    """Yield the seconds of a whole training with an empty cache, and of one epoch of `yolo classify train`."""
    data, caches = setting.splits(), (f"cold-{number}" for number in itertools.count())
    numbers = itertools.count()
    command = [setting.python_with_torch.with_name("yolo"), "classify", "train", f"data={data}", f"model={YOLO}"]
    settings = ["epochs=1", "imgsz=224", "device=cpu", "workers=2", "plots=False", "exist_ok=True", "verbose=False"]

    def theirs() -> float:
        words = [*map(str, command), *settings, f"project={setting.work}/yolo", f"name={next(numbers)}"]
        return run(words, setting.work / "cache").seconds

    sides: dict[str, Callable[[], float]] = {
        OURS: lambda: setting.train(data, *setting.backbone(name), cache=next(caches)).seconds,
        "`yolo classify train`, one epoch": theirs,
    }
    title = f"Whole command, {setting.count(2000):,} training images, 224 px, empty cache"
    yield Row(title, "s", in_turns(sides, setting.rounds), name)


@contextmanager
def _answering(python: Path, module: str, *words: str) -> Iterator[Callable[[], None]]:
    """Start a module that answers each line, and yield a call that sends one and waits for the answer."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [python, "-m", module, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def call() -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError(f"{module} has no pipes")
        process.stdin.write("\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise RuntimeError(f"{module} ended")

    with process:
        yield call
