"""`cnncli train`: from a config to a finished run."""

from __future__ import annotations

import time
from pathlib import Path

from cnncli.config.modes import stages_of
from cnncli.config.schema import Config
from cnncli.console import Console
from cnncli.networks.classifier import build_classifier
from cnncli.pictures.index import build_manifest
from cnncli.recipes.fit import Fit, fit
from cnncli.recipes.result import Run


def train(config: Config, runs_dir: Path, console: Console) -> Run:
    """Train a config's stages and score the result.

    Args:
        config: resolved, see `config.reader`.
        runs_dir: where the run appears.
        console: shows what happens.

    Raises:
        DataError: all that is wrong with the pictures, before anything is written.
        WeightsError: the backbone's weights cannot be fetched, read or matched, likewise before.
        TrainingError: a loss that is no number; the run says `failed`.
    """
    started = time.monotonic()
    manifest = build_manifest(config.data, config.seed)
    for note in manifest.notes:
        console.say(note)
    classifier = build_classifier(config, len(manifest.classes))
    task = Fit(config, manifest, classifier, stages_of(config), runs_dir, parent=None, started=started)
    return fit(task, console)
