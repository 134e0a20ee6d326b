"""Trainings that are killed at random moments and resumed end as if nothing had happened."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import numpy as np

from scripts.torturing.drawings import write_drawings
from scripts.torturing.trainings import Ended, Trainer

CONFIG = """
name: tortured
mode: fine-tuning
data: {path: PICTURES, image_size: 32}
backbone: {name: ConvNet, weights: none, options: {filters: [8, 16], batch_norm: true}}
head: {layers: [{dense: 8}, {dropout: 0.4}]}
augmentation: {rotation_range: 20, horizontal_flip: true, views: fresh, mixup: 0.3}
precision: PRECISION
training:
  batch_size: 8
  optimizer: {name: adam, learning_rate: 0.01}
  reduce_on_plateau: {patience: 1, factor: 0.5}
  early_stopping: {patience: 8}
  stages:
    - {name: head, epochs: 6}
    - {name: all, unfreeze: all, epochs: 10}
"""


def once(work: Path, random: np.random.Generator) -> None:
    """One kill: half of them at any moment, half inside a save."""
    trainer, whole, seconds = _prepared(work, _precision(random))
    if random.random() < 0.5:
        trainer.kill_after(random.uniform(0, seconds))
    else:
        trainer.kill_inside_a_save(int(random.integers(1, 12)))
    assert trainer.finish() == whole


def ten_in_one_run(work: Path, random: np.random.Generator) -> None:
    """Killed ten times on its way."""
    trainer, whole, seconds = _prepared(work, _precision(random))
    for _ in range(10):
        trainer.kill_after(random.uniform(0, seconds))
    assert trainer.finish() == whole


def _precision(random: np.random.Generator) -> str:
    return "auto" if random.random() < 0.5 else "float32"


def _prepared(work: Path, precision: str) -> tuple[Trainer, Ended, float]:
    """What trains in an empty folder, what it should end with, and the seconds that takes."""
    pictures = work.parent / "pictures"
    whole, seconds = _reference(work.parent / f"reference-{precision}", pictures, precision)
    return Trainer(_write_config(work, pictures, precision), work), whole, seconds


@functools.cache
def _reference(folder: Path, pictures: Path, precision: str) -> tuple[Ended, float]:
    """The uninterrupted training."""
    if not pictures.is_dir():
        write_drawings(pictures, per_class={"train": 24, "validation": 12, "test": 12})
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    ended = Trainer(_write_config(folder, pictures, precision), folder).finish()
    return ended, time.monotonic() - started


def _write_config(folder: Path, pictures: Path, precision: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.yaml"
    file.write_text(CONFIG.replace("PICTURES", str(pictures)).replace("PRECISION", precision), encoding="utf-8")
    return file
