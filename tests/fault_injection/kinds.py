"""What a kind of hostile file is, and what a user does with one."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.catalogue.networks import network
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.errors import CnncliError, ImageError
from cnncli.networks.weights.torch_file import read_tensors
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run
from cnncli.terminal.console import Console

Act = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """One way to do harm.

    Attributes:
        make: puts it into a folder with a run, `run`, and what that was made of.
        act: what a user then does.
        says: what cnncli's error says, a regular expression; None: nothing is wrong, and nothing happens.
    """

    make: Callable[[Path], None]
    act: Act
    says: str | None


def quiet() -> Console:
    """A console that nobody sees."""
    return Console(stream=io.StringIO(), live=False, color=False)


def read_config(here: Path) -> None:
    """`cnncli config validate`."""
    load_config(here / "config.yaml", environment={})


def load_weights(here: Path) -> None:
    """`backbone.weights: FILE`: the one file in the folder whose name begins with `weights`."""
    from cnncli.networks.backbone import build_backbone
    from cnncli.networks.weights.load import load_file

    (path,) = here.glob("weights*")
    options = {"filters": [4, 8], "batch_norm": True}
    config = {"data": {"path": str(here)}, "backbone": {"name": "ConvNet", "weights": "none", "options": options}}
    backbone = build_backbone(config_from_mapping(config, environment={}).backbone, (16, 16, 3), 0)
    load_file(backbone, path, network("ConvNet"))


def load_model(here: Path) -> None:
    """What `cnncli finetune` begins with."""
    from cnncli.networks.classifier import load_classifier

    load_classifier(here / "run" / "model.keras", pretrained=True)


def load_tensors(here: Path) -> None:
    """What the weights of EfficientNetLite0 are read with."""
    read_tensors((here / "weights.pth").read_bytes())


def predict(here: Path) -> None:
    """`cnncli predict`."""
    from cnncli.recipes.predict import predict as recipe

    images = sorted((here / "images" / "test").rglob("*.png"))
    results = list(recipe(open_run(here / "run", here), images))
    refused = [str(result) for result in results if isinstance(result, ImageError)]
    if refused:
        raise CnncliError(refused)


def evaluate(here: Path) -> None:
    """`cnncli evaluate`."""
    from cnncli.recipes.evaluate import evaluate as recipe

    recipe(open_run(here / "run", here), quiet())


def resume(here: Path) -> None:
    """`cnncli train RUN`, of a run that was stopped."""
    from cnncli.recipes.resume import resume as recipe

    recipe(RunFolder(here / "run"), quiet())


def newest_checkpoint(here: Path) -> None:
    """What a training goes on from; a damaged checkpoint counts as none."""
    if Checkpoints(here / "run" / "state").newest() is None:
        raise CnncliError("no checkpoint is whole")


def list_runs(here: Path) -> None:
    """`cnncli runs`: answers whatever lies there."""
    from cnncli.runs.listing import list_runs as listing

    for run in listing(here):
        run.cells()


def prepare(here: Path) -> None:
    """`cnncli data prepare`, and then that everything it made lies where it should."""
    from cnncli.recipes.prepare_data import prepare_dogs_vs_cats

    prepare_dogs_vs_cats(here / "archive.zip", here / "out", {"train": 4, "validation": 2, "test": 2}, 0, quiet())


def reseal(folder: Path) -> None:
    """Give a folder the checksums of what it holds now, as whoever changes it could."""
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "sha256.json" and path.is_file()
    }
    (folder / "sha256.json").write_text(json.dumps(sums), encoding="utf-8")


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds, in place."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
