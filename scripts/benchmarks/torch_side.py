"""cnncli compared with torch: frozen networks of timm, and a training with `yolo classify`.

Both are installed in an environment of their own: pip install timm ultralytics
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from cnncli.engines.openvino import has_bfloat16
from cnncli.runtime.threads import workers
from scripts.benchmarks import frozen
from scripts.benchmarks.commands import DEFAULT_PX
from scripts.benchmarks.rows import OURS, ROOT, Row, in_turns, rates_in_turns
from scripts.benchmarks.setting import Setting


def measure_timm(setting: Setting, name: str) -> Iterator[Row]:
    """Yield images per second of a frozen network from JPEG files to features, compared with timm."""
    ours, n_images, folder = frozen.prepare_files(setting, name)
    precision = "bfloat16" if has_bfloat16() else "float32"
    words = [name, str(folder / "train"), str(frozen.SIDE_PX), precision, str(workers())]
    module = "scripts.benchmarks.plain.timm_features"
    with timm_process(setting.torch, module, *words) as (theirs, versions):
        sides: dict[str, Callable[[], object]] = {OURS: ours, f"timm, eager, {precision}, {workers()} workers": theirs}
        rates = rates_in_turns(sides, n_images, setting.rounds)
    title = f"Frozen networks, {frozen.SIDE_PX} px, from JPEG files to features"
    yield Row(title, "images/s", rates, name, note=ours.precision, packages=versions)


def measure_yolo(setting: Setting, name: str) -> Iterator[Row]:
    """Yield the seconds of a whole training with an empty cache, and of one epoch of `yolo classify`."""
    data, caches, versions = setting.splits(), (f"cold-{number}" for number in itertools.count()), {}
    n_train = sum(path.is_file() for path in (data / "train").rglob("*"))
    size = f"data.image_size={DEFAULT_PX}"

    def theirs() -> float:
        words = data, DEFAULT_PX, workers(), setting.work / "yolo"
        done = setting.plain("yolo_train", *words, python=setting.torch)
        versions.update(done.document)
        return done.seconds

    sides: dict[str, Callable[[], float]] = {
        OURS: lambda: setting.train(data, *setting.backbone(name), size, cache=next(caches)).seconds,
        "one epoch of yolo11n-cls with `yolo classify`": theirs,
    }
    title = f"Whole command on {n_train:,} training images, {DEFAULT_PX} px, empty cache"
    seconds = in_turns(sides, setting.rounds)
    yield Row(title, "s", seconds, name, packages=versions)


@contextmanager
def timm_process(python: Path, module: str, *words: str) -> Iterator[tuple[Callable[[], None], dict[str, str]]]:
    """Start a module that answers lines; yield a call that sends one and waits, and the versions of its packages.

    The call raises RuntimeError if the process has ended.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", module, *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        answers, to_process = iter(process.stdout or ()), cast("TextIO", process.stdin).fileno()

        def receive() -> str:
            answer = next(answers, "")
            if not answer:
                raise RuntimeError(f"{module} exited with {process.wait()}")
            return answer

        def call() -> None:
            # Not through a buffer, whose bytes would be written once more when the pipe is closed.
            with suppress(BrokenPipeError):
                os.write(to_process, b"\n")
            receive()

        yield call, json.loads(receive())
