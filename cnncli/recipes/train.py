"""`cnncli train`: from a config to a finished run."""

from __future__ import annotations

import time
from pathlib import Path

from cnncli.augmentation.describe import augmentation_notes
from cnncli.config.modes import stages_of
from cnncli.config.overrides import variable_notes
from cnncli.config.rules import notes_of
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.dataset.manifest import Manifest
from cnncli.networks.backend import import_keras_meanwhile
from cnncli.networks.classifier import build_classifier
from cnncli.recipes.fit import Fit, fit
from cnncli.recipes.images import checking_images, comparing_images, say_notes
from cnncli.recipes.result import Run
from cnncli.runs.log import remembering
from cnncli.storage.cache_dir import make_cache_dir
from cnncli.terminal.console import Console
from cnncli.training.batch_size import find_batch_size


@remembering()
def train(config: Config, runs_dir: Path, console: Console) -> Run:
    """Train a config's stages and score the result.

    Args:
        config: resolved, see `config.reader`.
        runs_dir: where the run appears.
        console: shows what happens.

    Raises:
        CacheError: there can be no cache folder.
        DataError: all that is wrong with the images, before anything is written.
        WeightsError: the backbone's weights cannot be fetched, read or matched, likewise before.
        TrainingError: a loss that is no number; the run says `failed`.
    """
    started = time.monotonic()
    make_cache_dir()
    for note in (*variable_notes(), *notes_of(config), *augmentation_notes(config.augmentation)):
        console.warn(note)
    import_keras_meanwhile()
    manifest = index_images(config, console)
    if config.training.batch_size == "auto":
        config = _with_batch_size(config, manifest, console)
    console.phase("network", f"{config.backbone.name}, weights {config.backbone.weights}")
    classifier = build_classifier(config, len(manifest.classes))
    return fit(Fit(config, manifest, classifier, stages_of(config), started), runs_dir, None, console)


def _with_batch_size(config: Config, manifest: Manifest, console: Console) -> Config:
    images = len(manifest.split("train"))
    size = find_batch_size(config, len(manifest.classes), images, console)
    return config.model_copy(update={"training": config.training.model_copy(update={"batch_size": size})})


def index_images(config: Config, console: Console) -> Manifest:
    """The manifest of a config's data, with what there is to know about it said aloud."""
    with checking_images(console) as checking, comparing_images(console) as comparing:
        manifest = build_manifest(config.data, config.seed, progress=checking, comparing=comparing)
    counts = {split: sum(labels.values()) for split, labels in manifest.counts().items()}
    sizes = ", ".join(f"{split} {n:,}" for split, n in counts.items())
    console.phase("images", f"{len(manifest.classes)} classes · {sizes}")
    say_notes(manifest, console)
    return manifest
