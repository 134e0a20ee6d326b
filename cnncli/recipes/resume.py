"""`cnncli train RUN`: resume an interrupted run, with the result of an uninterrupted one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnncli.config.modes import run_name, stages_of, with_epochs
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.writer import differences, dump_config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.verification import require_unchanged
from cnncli.engines.build import graphs_in_use
from cnncli.engines.engine import EngineChoice
from cnncli.errors import CnncliError, Message, RunError, printable
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.fingerprint import hash_weights
from cnncli.recipes.finetune import IMAGES_REMEDY, starting_point
from cnncli.recipes.train import Run, conclude, solve_run, train_run
from cnncli.recipes.update import network_of_parent
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder, locked, require_own_files, run_folders, update_facts
from cnncli.runs.log import remembering
from cnncli.runs.records import read_history
from cnncli.runtime.environment import PACKAGES, VARIABLES, environment
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.exact_head import FrozenNetwork
from cnncli.training.machines import HERE, Machines

log = logging.getLogger(__name__)


@remembering()
@standard_settings()
def resume(
    run: RunFolder,
    console: Console,
    epochs: int | None = None,
    show: Callable[[Run], None] | None = None,
    machines: Machines = HERE,
) -> Run:
    """Resume a run from its newest valid checkpoint; return a finished run unchanged.

    On the same machine, weights, history and metrics equal those of an uninterrupted run. A finished run that was
    killed while it was verified is verified, and its figures are drawn again.

    Args:
        run: A run.
        console: Console for progress.
        epochs: New number of epochs of the last stage, at least as many as are trained; None: as configured. The run
            ends like one configured with this number from the start, unless a schedule depends on it.
        show: Function that is called with the finished run before its figures are drawn and it is verified.
        machines: Machines that compute features and train; see `train`.

    Raises:
        RunError: Another process trains the run, its config was edited, or its initial weights have changed.
        DataError: All images that are missing or have changed.
        ParityError: The saved classifier does not give the results that were reported; the run is `failed`.
    """
    started = time.monotonic()
    require_own_files(run)
    with locked(run):
        facts, config = run.read_facts(), _load_config(run)
        is_complete = facts["state"] == "finished" and epochs is None
        if epochs is not None:
            config = _change_epochs(config, epochs, run)
            if facts["state"] == "finished":
                _require_checkpoints(run)
        if is_complete:
            log.info(Message("run-finished", f"{printable(run.path.name)} is finished.", path=run.path))
        else:
            import_keras_meanwhile()
        is_concluded = is_complete and facts.get("concluded") is not False
        if not is_concluded:
            manifest = Manifest.from_csv(run.manifest)
            require_unchanged(_needed_images(manifest, facts), config.data, IMAGES_REMEDY, console)
        if is_complete:
            finished = Run.load(run)
        else:
            context = TrainingContext.for_this_machine(config, manifest, console, machines)
            with graphs_in_use(context.graphs):
                finished = _resume(run, context, facts, started)
    if not is_concluded:
        return conclude(finished, show)
    if show:
        show(finished)
    return finished


def _resume(run: RunFolder, context: TrainingContext, facts: Mapping[str, Any], started: float) -> Run:
    if context.config.training.solver == "exact":
        parent = RunFolder(Path(facts["parent"])) if facts.get("parent") else None
        frozen = network_of_parent(context, parent) if parent else FrozenNetwork.of(context)
        _require_same_start(frozen.template.frozen_sha256, facts, run)
        _begin_again(run, context, facts)
        return solve_run(run, frozen, started)
    classifier, parent_metrics = starting_point(facts, context)
    _require_same_start(hash_weights(classifier.model.layers), facts, run)
    _begin_again(run, context, facts)
    return train_run(run, classifier, context, started, parent_metrics)


def _needed_images(manifest: Manifest, facts: Mapping[str, Any]) -> Sequence[ImageRecord]:
    """Return the images that must be there: of a run that updates its parent, those that were added."""
    if not facts.get("added"):
        return manifest.rows
    known = {row.digest for row in Manifest.from_csv(RunFolder(Path(facts["parent"])).manifest).rows}
    return [row for row in manifest.rows if row.digest not in known]


def _begin_again(run: RunFolder, context: TrainingContext, facts: Mapping[str, Any]) -> None:
    """Warn about what differs from the start of a run, and record that it is running with a config."""
    _warn_about_differences(run, facts, context.choice)
    update_facts(run, {"state": "running", "finished": None, "reason": None})
    for file in (run.initial_config, run.config):  # in this order: see _load_config
        write_atomically(file, dump_config(context.config))


def _load_config(run: RunFolder) -> Config:
    """Load a run's config. Raises RunError if it was edited after the run started, except for more epochs.

    More epochs in one of its two copies are an extension, requested in config.yaml or interrupted while writing it.
    """
    config = load_resolved(run.config)
    if not run.initial_config.is_file():
        return config
    original = load_resolved(run.initial_config)
    epochs = max(_epochs(config), _epochs(original))
    extended = with_epochs(config, epochs)
    if changes := differences(with_epochs(original, epochs), extended):
        text = f"{printable(run.config)}: was edited after the run started: {'; '.join(changes)}. Undo this to resume."
        raise RunError(Message("run-config-edited", text, path=run.config, changes=changes))
    return config if epochs == _epochs(config) else extended


def _epochs(config: Config) -> int:
    return stages_of(config)[-1].epochs


def _change_epochs(config: Config, epochs: int, run: RunFolder) -> Config:
    """Change the number of epochs of the last stage, which must not be below the number already trained."""
    if config.training.solver == "exact":
        text = f"{printable(run.path)}: its head was solved exactly, so there are no epochs to add. Start a new run."
        raise RunError(Message("run-has-no-epochs", text, path=run.path, key="training.epochs", received=epochs))
    last = stages_of(config)[-1]
    trained = sum(row.stage == last.name for row in read_history(run.history)) if run.history.is_file() else 0
    if epochs < max(trained, 1):
        text = f"{printable(run.path)}: training.epochs: received {epochs}, but {trained} are trained already."
        facts = {"path": run.path, "key": "training.epochs", "received": epochs, "expected": trained}
        raise RunError(Message("run-epochs-already-trained", text, **facts))
    if epochs != last.epochs and last.schedule.name != "constant":
        name = last.schedule.name
        text = f"The schedule {name} is stretched from {last.epochs} to {epochs} epochs, so the learning rate jumps."
        log.warning(Message("training-schedule-stretched", text, received=epochs, expected=last.epochs))
    return with_epochs(config, epochs) if epochs != last.epochs else config


def _require_checkpoints(run: RunFolder) -> None:
    """Raise RunError if the checkpoints of a finished run were deleted, so that it cannot be extended."""
    if not Checkpoints(run.state).folders():
        text = f"{printable(run.path)}: its checkpoints were deleted, so it cannot be extended by more epochs."
        remedy = f"Use `cnncli finetune {printable(run.path)}`, or train its config in a new run."
        raise RunError(Message("run-pruned", f"{text} {remedy}", path=run.path))


def newest_unfinished(config: Config, runs_dir: Path) -> RunFolder | None:
    """Return the newest unfinished run with a resolved config, or None.

    If there is none, differences from the newest unfinished run with the same name are logged.
    """
    changed: tuple[RunFolder, list[str]] | None = None
    for run in reversed(list(run_folders(runs_dir))):
        try:
            facts, other = run.read_facts(), load_resolved(run.config)
        except CnncliError:
            continue
        if facts["state"] == "finished" or facts.get("parent"):
            continue
        if not (changes := differences(other, with_batch_size_of(other, config))):
            log.info(Message("run-found", f"Resuming {printable(run.path.name)}.", path=run.path))
            return run
        if facts.get("name") == run_name(config):
            changed = changed or (run, changes)
    if changed:
        run, changes = changed
        text = f"{printable(run.path.name)} has different settings: {'; '.join(changes)}"
        log.info(Message("run-settings-differ", text, path=run.path, changes=changes))
    log.info(Message("run-none-unfinished", "No unfinished run has the settings of this config; starting a new one."))
    return None


def with_batch_size_of(other: Config, config: Config) -> Config:
    """Return a config with the batch size that `auto` was resolved to in another config."""
    if config.training.batch_size != "auto":
        return config
    batch_size = {"batch_size": other.training.batch_size}
    return config.model_copy(update={"training": config.training.model_copy(update=batch_size)})


def _require_same_start(weights_sha256: str, facts: Mapping[str, Any], run: RunFolder) -> None:
    """Raise RunError if the initial weights, given by their hash, are not those of the start of the run."""
    if weights_sha256 == facts.get("initial_weights_sha256"):
        return
    if parent := facts.get("parent"):
        reason = f"its parent {printable(str(parent))} was trained further"
    else:
        reason = "backbone.weights names a different file, or another version of Keras initializes differently"
    text = f"{printable(run.path)}: the initial weights have changed: {reason}. Start a new run."
    raise RunError(Message("run-initial-weights-changed", text, path=run.path, parent=parent))


_RELEVANT = {"cpu": ("model", "flags", "threads"), "packages": PACKAGES, "variables": VARIABLES}
"""Facts that determine the last bits of sums, by their group in environment.json."""


def _warn_about_differences(run: RunFolder, facts: Mapping[str, Any], choice: EngineChoice) -> None:
    """Warn if engine, processor, number of threads or library versions differ from those at the start of the run."""
    values = [("engine", facts.get("began_on", choice.in_words), choice.in_words)]
    now = environment()
    with suppress(OSError, ValueError, TypeError, AttributeError):  # the file may be damaged
        then = read_json(run.environment)
        for group, names in _RELEVANT.items():
            values += [(name, then.get(group, {}).get(name), now[group].get(name)) for name in names]
    changes = [f"{name} was {_value_text(old)}, is {_value_text(new)}" for name, old, new in values if old != new]
    if changes:
        text = f"The run started with another engine, hardware or library versions: {'; '.join(changes)}."
        log.warning(Message("run-machine-differs", f"{text} Results will not be bit-identical.", changes=changes))


def _value_text(value: Any) -> str:
    return printable(" ".join(map(str, value)) if isinstance(value, list) else str(value))
