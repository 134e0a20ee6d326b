"""Kinds of hostile files, and the user actions that read them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.errors import CnncliError, ImageError, Message
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run
from cnncli.terminal.console import Console

Action = Callable[[Path], object]


NO_CHECKPOINT = Message("run-without-checkpoint", "no valid checkpoint")


@dataclass(frozen=True)
class Refusal:
    """Expected error for a hostile file.

    Attributes:
        code: Code of the first problem, or empty if any code is accepted.
        mentions: Regular expression for a fact of the first problem, such as a name in the file.
    """

    code: str
    mentions: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of hostile file.

    Attributes:
        make: Function that writes the file into a folder with a run, its images and weights (see `base_run`).
        action: User action that reads the file.
        refusal: Expected error, or None if the file is harmless.
    """

    make: Callable[[Path], None]
    action: Action
    refusal: Refusal | None


def quiet() -> Console:
    """Return a console without a terminal."""
    return Console(stream=io.StringIO(), live=False, color=False)


def read_config(here: Path) -> None:
    """Run `cnncli config validate`."""
    load_config(here / "config.yaml", environment={})


def load_weights(here: Path) -> None:
    """Load `backbone.weights: FILE`, the only file in the folder whose name starts with `weights`."""
    from cnncli.networks.backbone import build_backbone
    from cnncli.networks.weights.load import load_file

    (path,) = here.glob("weights*")
    options = {"filters": [4, 8], "batch_norm": True}
    config = {"data": {"path": str(here)}, "backbone": {"name": "ConvNet", "weights": "none", "options": options}}
    backbone = build_backbone(config_from_mapping(config, environment={}).backbone, (16, 16, 3), 0)
    load_file(backbone, path, NETWORKS["ConvNet"])


def load_model(here: Path) -> None:
    """Load the model of the run, the first step of `cnncli finetune`."""
    from cnncli.networks.classifier import load_classifier

    load_classifier(here / "run" / "model.keras", pretrained=True)


def predict(here: Path) -> None:
    """Run `cnncli predict`."""
    from cnncli.recipes.predict import predict as recipe

    images = sorted((here / "images" / "test").rglob("*.png"))
    results = list(recipe(open_run(here / "run", here), images))
    if refused := [result.problems[0] for result in results if isinstance(result, ImageError)]:
        raise CnncliError(refused)


def evaluate(here: Path) -> None:
    """Run `cnncli evaluate`."""
    from cnncli.recipes.evaluate import evaluate as recipe

    recipe(open_run(here / "run", here), quiet())


def resume(here: Path) -> None:
    """Run `cnncli train RUN` with a stopped run."""
    from cnncli.recipes.resume import resume as recipe

    recipe(RunFolder(here / "run"), quiet())


def newest_checkpoint(here: Path) -> None:
    """Load the checkpoint from which training resumes; damaged checkpoints are ignored."""
    if Checkpoints(here / "run" / "state").newest() is None:
        raise CnncliError(NO_CHECKPOINT)


def list_runs(here: Path) -> None:
    """Run `cnncli runs`."""
    from cnncli.runs.listing import list_runs as listing

    for run in listing(here):
        run.cells()


def prepare(here: Path) -> None:
    """Run `cnncli data prepare`."""
    from cnncli.recipes.data_prepare import prepare_dogs_vs_cats

    prepare_dogs_vs_cats(here / "archive.zip", here / "out", {"train": 4, "validation": 2, "test": 2}, 0, quiet())


def rewrite_checksums(folder: Path) -> None:
    """Write matching checksums for the current files of a folder, as an attacker could."""
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "sha256.json" and path.is_file()
    }
    (folder / "sha256.json").write_text(json.dumps(sums), encoding="utf-8")


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change the content of a JSON file in place."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
