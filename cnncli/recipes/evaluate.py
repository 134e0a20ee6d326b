"""`cnncli evaluate`: the figures of a run on a split, or on another folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.config.overrides import variable_notes
from cnncli.config.reader import load_resolved
from cnncli.dataset.build import manifest_of_folder
from cnncli.dataset.manifest import Manifest
from cnncli.errors import ConfigError, MinimumMissedError, RunError, printable
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import score_rows
from cnncli.inference.predictor import ScoringRecipe, load_scorer
from cnncli.metrics.classification import Metrics
from cnncli.recipes.cache import cache_settings
from cnncli.recipes.images import checking_images, require_unchanged, say_notes
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runs.run_json import time_text, utc_now
from cnncli.storage.cache_dir import FEATURES, make_cache_dir
from cnncli.terminal.console import Console

REMEDY = "`cnncli evaluate --data DIR` takes the images that a folder holds now"
"""Where those of the run have gone."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        run: the run directory.
        split: train, validation, test; test for another folder.
        data: the other folder, absolute, or None.
        metrics: the figures.
    """

    run: Path
    split: str
    data: Path | None
    metrics: Metrics

    def to_dict(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        where = {} if self.data is None else {"data": str(self.data)}
        return {"run": str(self.run), "split": self.split, **where, **self.metrics.to_dict()}

    def require(self, minimum: float) -> None:
        """Be a gate: raise `MinimumMissedError` where the accuracy is below `minimum` (0-1)."""
        if self.metrics.top1 < minimum:
            raise MinimumMissedError(
                f"top-1 accuracy on {self.split} is {self.metrics.top1:.4f}, and at least {minimum:.4f} was required."
            )


def evaluate(
    run: RunFolder,
    console: Console,
    split: str | None = None,
    data: Path | None = None,
    allow_missing: bool = False,
) -> Evaluation:
    """Score a run through its own engine and precision.

    Args:
        run: a finished run.
        console: shows what happens.
        split: of the data recorded in the run; default: test, else validation.
        data: another folder instead: its test split, or all of it when it holds class folders. Unreadable images
            in it are met as in the run's config.
        allow_missing: accept a folder that lacks classes of the run.

    Raises:
        CacheError: there can be no cache folder.
        ConfigError: a split was named beside another folder.
        DataError: classes that do not match, images that cannot be read, images of the run that have gone or
            have changed; all of them.
        RunError: the run has no such split.
    """
    if data is not None and split is not None:
        raise ConfigError("split: another folder has its test split scored, or all of it; name no split beside data.")
    require_finished(run)
    store_folder = make_cache_dir() / FEATURES
    for note in variable_notes():
        console.warn(note)
    scorer = load_scorer(run.engine, run.model)
    if scorer.note:
        console.warn(scorer.note)
    if data is not None:
        data, split = data.absolute(), "test"
        manifest = _manifest_of(data, run, scorer.recipe, allow_missing, console)
        _warn_of_known_images(manifest, run, console)
    else:
        manifest = Manifest.from_csv(run.manifest)
        if manifest.classes != scorer.recipe.classes:
            raise RunError(f"{printable(run.manifest)}: has other classes than the run's engine. Copy the run again.")
        split = split or ("test" if manifest.split("test") else "validation")
    rows = manifest.split(split)
    if not rows:
        there = ", ".join(manifest.counts())
        raise RunError(f"{printable(run.path)}: its data has no {split} split; there are {there}.")
    config = load_resolved(run.config)
    if data is None:
        require_unchanged(rows, config.data, REMEDY, console)
    console.phase("evaluate", f"{split} {len(rows):,} · {scorer.recipe.in_words}")
    max_bytes = cache_settings(config.cache).max_bytes
    with FeatureStore(store_folder, max_bytes) as store:
        metrics, _ = score_rows(scorer, manifest, rows, store, console, config.backbone.name)
    found = Evaluation(run.path, split, data, metrics)
    _record(run, found)
    return found


def _manifest_of(
    folder: Path, run: RunFolder, recipe: ScoringRecipe, allow_missing: bool, console: Console
) -> Manifest:
    """Another folder's images, looked at as the run looked at its own."""
    on_bad_image = load_resolved(run.config).data.on_bad_image
    with checking_images(console) as progress:
        manifest = manifest_of_folder(
            folder,
            recipe.classes,
            allow_missing,
            max_pixels=recipe.max_pixels,
            on_bad_image=on_bad_image,
            progress=progress,
        )
    say_notes(manifest, console)
    return manifest


def _warn_of_known_images(manifest: Manifest, run: RunFolder, console: Console) -> None:
    """Figures on images that a run was trained on, or whose epoch was chosen by them, flatter it."""
    digests = {row.digest for row in manifest.rows}
    known = Manifest.from_csv(run.manifest)
    for split, did in (("train", "was trained on"), ("validation", "chose its best epoch by")):
        count = len(digests & {row.digest for row in known.split(split)})
        if count:
            console.warn(f"the run {did} {count:,} of these {len(digests):,} images: the figures flatter it")


def _record(run: RunFolder, found: Evaluation) -> None:
    """Count the look: whoever chooses between runs by their test figures should know how often that was done."""
    line = {"time": time_text(utc_now()), "split": found.split, "data": found.data and str(found.data)}
    figures = {"n": found.metrics.n, "loss": found.metrics.loss, "top1": found.metrics.top1}
    try:
        with run.evaluations.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(json.dumps({**line, **figures}) + "\n")
    except OSError:  # a run on a read-only disk can be evaluated all the same
        return
