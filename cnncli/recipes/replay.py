"""`cnncli replay`: repeat the training step that became NaN or Inf, and name the layer that broke."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cnncli.config.reader import load_resolved
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.verification import require_unchanged
from cnncli.engines.build import graphs_in_use
from cnncli.errors import Message, NonFiniteError, RunError, printable
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.recipes.finetune import IMAGES_REMEDY, starting_point
from cnncli.runs.folder import RunFolder, locked
from cnncli.runs.records import RunWriter
from cnncli.storage.atomic import replacing, write_atomically
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.replay import Breakdown, StepRecorder, find_breakdown
from cnncli.training.trainer import Trainer

COPIED = ("state", "config.yaml", "history.csv", "stages.json", "inspect.csv", "run.json")
"""Files of a run that the repetition needs; it works on a copy."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replay:
    """A repeated step.

    Attributes:
        where: Stage, epoch and step, and what was found there.
        breakdown: What broke first.
        n_images: Number of images of the batch.
        step: The file with the batch, and the weights, optimizer slots and random states before the step.
    """

    where: str
    breakdown: Breakdown
    n_images: int
    step: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `replay --json`."""
        return {
            "where": self.where,
            **asdict(self.breakdown),
            "text": self.breakdown.text,
            "n_images": self.n_images,
            "step": self.step,
        }


@standard_settings()
def replay(run: RunFolder, console: Console) -> Replay:
    """Train a failed run again from its newest checkpoint up to the step that broke, and find the layer.

    The steps are those of the run in every bit. The run itself stays as it is, but gets the folder `nan`.

    Raises:
        RunError: The run did not fail, its head was solved exactly, or nothing breaks now.
        DataError: All images that are missing or have changed.
    """
    config = load_resolved(run.config)
    with locked(run):
        facts = run.read_facts()
        if facts["state"] != "failed" or config.training.solver == "exact":
            text = (
                f"{printable(run.path)}: is {facts['state']}; only a training that became NaN or Inf can be replayed."
            )
            raise RunError(Message("run-not-failed", text, path=run.path, received=facts["state"]))
        import_keras_meanwhile()
        manifest = Manifest.from_csv(run.manifest)
        require_unchanged(manifest.rows, config.data, IMAGES_REMEDY, console)
        context = TrainingContext.for_this_machine(_stopping(config), manifest, console)
        recorder = StepRecorder()
        with TemporaryDirectory(prefix="cnncli-replay-") as folder, graphs_in_use(context.graphs):
            where = _train_again(_copy(run, Path(folder)), context, facts, recorder)
        if recorder.step is None:
            breakdown = Breakdown("nothing")
        else:
            breakdown = find_breakdown(recorder.step, recorder.arrays, recorder.inputs, recorder.labels)
        found = Replay(where, breakdown, len(recorder.inputs[0]) if recorder.inputs else 0, run.nan / "step.npz")
        _save(run, found, recorder)
        return found


def _stopping(config: Any) -> Any:
    """Return a config that stops at the first value that is not finite."""
    return config.model_copy(update={"training": config.training.model_copy(update={"on_nan": "stop"})})


def _copy(run: RunFolder, folder: Path) -> RunFolder:
    """Copy what training reads and writes."""
    for name in COPIED:
        if (source := run.path / name).is_dir():
            shutil.copytree(source, folder / name)
        elif source.is_file():
            shutil.copyfile(source, folder / name)
    return RunFolder(folder)


def _train_again(run: RunFolder, context: TrainingContext, facts: Mapping[str, Any], recorder: StepRecorder) -> str:
    """Train from the newest checkpoint until something breaks; return where, with what was found there."""
    classifier, metrics = starting_point(facts, context)
    try:
        with context.store, RunWriter(run) as writer:
            Trainer(classifier, context, writer, metrics, recorder).train()
    except NonFiniteError as error:
        return str(error.problems[0])
    text = "The training finished: on this machine, every value is finite."
    raise RunError(Message("run-replay-finite", text, path=run.path))


def _save(run: RunFolder, found: Replay, recorder: StepRecorder) -> None:
    run.nan.mkdir(exist_ok=True)
    with replacing(found.step) as temporary:
        np.savez(temporary, allow_pickle=False, **recorder.saved())
    document = {**found.to_dict(), "step": str(found.step)}
    write_atomically(run.nan / "breakdown.json", json.dumps(document, indent=2) + "\n")
