"""`cnncli train RUN`: a training that was interrupted goes on, and ends as if it had not been."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cnncli.config.modes import run_name, stages_of, with_epochs
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.writer import differences, dump_config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.engine import EngineChoice
from cnncli.errors import CnncliError, Message, RunError, printable
from cnncli.networks.backend import import_keras_meanwhile
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.fingerprint import hash_weights
from cnncli.recipes.finetune import REMEDY, parent_classifier, validation_scores
from cnncli.recipes.fit import Fit, build_workshop, carry_on
from cnncli.recipes.images import require_unchanged
from cnncli.recipes.result import Run, finished_run
from cnncli.runs.access import locked, require_own_files
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder, restart_run, run_folders
from cnncli.runs.log import remembering
from cnncli.runs.records import read_history
from cnncli.runtime.environment import PACKAGES, VARIABLES, environment
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console


@remembering()
def resume(run: RunFolder, console: Console, epochs: int | None = None) -> Run:
    """Go on with a run from its newest whole checkpoint; of a finished one, give the figures.

    The weights, the history and the figures are those of a training that was never interrupted, on the same machine.

    Args:
        run: not trained by anyone now.
        console: shows what happens.
        epochs: of the last stage, no fewer than are trained; None: as many as it has. Where nothing in the stage
            depends on how many there are, such as a schedule, the run ends like one that was to have so many from its
            beginning.

    Raises:
        RunError: another process trains it; its config was changed; its weights to start from are others now.
        DataError: images that have gone or changed, all of them.
    """
    started = time.monotonic()
    require_own_files(run)
    with locked(run):
        facts, config = run.read_facts(), _config_of(run)
        if epochs is not None:
            if facts["state"] == "finished":
                _require_checkpoints(run)
            config = _with_epochs(config, epochs, run, console)
        elif facts["state"] == "finished":
            console.say(f"{printable(run.path.name)} is finished")
            return finished_run(run)
        _tell_of_another_machine(run, console)
        import_keras_meanwhile()
        manifest = Manifest.from_csv(run.manifest)
        require_unchanged(manifest.rows, config.data, REMEDY, console)
        parent = RunFolder(Path(facts["parent"])) if facts.get("parent") else None
        classifier = parent_classifier(parent) if parent else build_classifier(config, len(manifest.classes))
        _require_same_start(classifier, facts, run)
        shop = build_workshop(config, manifest, console)
        _tell_of_another_engine(facts, shop.choice, console)
        handed = validation_scores(parent) if parent else None
        restart_run(run)
        for file in (run.began_with, run.config):  # in this order: see _config_of
            write_atomically(file, dump_config(config))
        return carry_on(run, Fit(config, manifest, classifier, stages_of(config), started, handed), shop)


def _config_of(run: RunFolder) -> Config:
    """What a run trains with; RunError where its config.yaml was changed since it began, more epochs apart.

    More in one of the two is an extension: asked for in config.yaml, or killed before it got there.
    """
    config = load_resolved(run.config)
    if not run.began_with.is_file():
        return config
    began = load_resolved(run.began_with)
    epochs = max(_epochs(config), _epochs(began))
    extended = with_epochs(config, epochs)
    if changes := differences(with_epochs(began, epochs), extended):
        where = printable(run.config)
        raise RunError([f"{where}: {change}, and a run goes on with the settings it began with." for change in changes])
    return config if epochs == _epochs(config) else extended


def _epochs(config: Config) -> int:
    return stages_of(config)[-1].epochs


def _with_epochs(config: Config, epochs: int, run: RunFolder, console: Console) -> Config:
    """More epochs than there were to be, or fewer, but no fewer than are trained."""
    last = stages_of(config)[-1]
    trained = sum(row.stage == last.name for row in read_history(run.history)) if run.history.is_file() else 0
    if epochs < max(trained, 1):
        raise RunError(f"{printable(run.path)}: its stage {last.name} has trained {trained} epochs, not only {epochs}.")
    if epochs != last.epochs and last.schedule.name != "constant":
        console.warn(
            f"the schedule {last.schedule.name} is stretched from {last.epochs} to {epochs} epochs, so the learning "
            "rate jumps where the run goes on"
        )
    return with_epochs(config, epochs) if epochs != last.epochs else config


def _require_checkpoints(run: RunFolder) -> None:
    """Check that a finished run can be extended by more epochs.

    Raises:
        RunError: its checkpoints were deleted.
    """
    if not Checkpoints(run.state).folders():
        text = f"{printable(run.path)}: its checkpoints were deleted, so it cannot be extended by more epochs."
        remedy = f"Use `cnncli finetune {printable(run.path)}`, or train its config in a new run."
        raise RunError(Message("run-pruned", f"{text} {remedy}", path=run.path))


def newest_unfinished(config: Config, runs_dir: Path, console: Console) -> RunFolder | None:
    """The newest run that is not finished and has this resolved config; None where there is none, said aloud.

    Of an unfinished one of the same name that differs, the differences are told.
    """
    changed: tuple[RunFolder, list[str]] | None = None
    for run in reversed(list(run_folders(runs_dir))):
        try:
            facts, theirs = run.read_facts(), load_resolved(run.config)
        except CnncliError:
            continue
        if facts["state"] == "finished" or facts.get("parent"):
            continue
        if not (changes := differences(theirs, _with_their_batch_size(config, theirs))):
            console.say(f"resuming {printable(run.path.name)}")
            return run
        if facts.get("name") == run_name(config):
            changed = changed or (run, changes)
    if changed:
        run, changes = changed
        told = "; ".join(changes)
        console.say(f"{printable(run.path.name)} is unfinished, but was begun with other settings: {told}")
    console.say("no unfinished run of this config: a new one begins")
    return None


def _with_their_batch_size(config: Config, theirs: Config) -> Config:
    """What `auto` found for them, where it is `auto` that is asked for."""
    if config.training.batch_size != "auto":
        return config
    found = {"batch_size": theirs.training.batch_size}
    return config.model_copy(update={"training": config.training.model_copy(update=found)})


def _require_same_start(classifier: Classifier, facts: dict[str, Any], run: RunFolder) -> None:
    """What was frozen then has to be the same now."""
    if hash_weights(classifier.model.layers) != facts.get("initial_weights_sha256"):
        if parent := facts.get("parent"):
            reason = f"its parent {printable(str(parent))} was trained on"
        else:
            reason = "backbone.weights names another file now, or another version of Keras draws other numbers"
        raise RunError(f"{printable(run.path)}: the weights that it started from have changed: {reason}. Train anew.")


_DECIDING = {"cpu": ("model", "flags", "threads"), "packages": PACKAGES, "variables": VARIABLES}
"""What the bits of sums depend on, by its group in environment.json."""


def _tell_of_another_machine(run: RunFolder, console: Console) -> None:
    """Sums depend on the processor, the number of threads and the versions: elsewhere, bits will differ."""
    try:
        then = read_json(run.environment)
    except (OSError, ValueError):
        return
    now = environment()
    known = then if isinstance(then, dict) else {}
    then = {group: found if isinstance(found := known.get(group), dict) else {} for group in now}
    changes = [
        f"{name} {_shown(then[group].get(name))} then, {_shown(now[group].get(name))} now"
        for group, names in _DECIDING.items()
        for name in names
        if then[group].get(name) != now[group].get(name)
    ]
    if changes:
        console.warn(f"this is not what the run began on, so its last bits will differ: {'; '.join(changes)}")


def _tell_of_another_engine(facts: dict[str, Any], now: EngineChoice, console: Console) -> None:
    """One that was chosen by `auto` may be another here."""
    then = facts.get("began_on", now.in_words)
    if then != now.in_words:
        console.warn(f"this run began on {printable(str(then))}; here it is {now.in_words}, so its bits will differ")


def _shown(value: Any) -> str:
    return printable(" ".join(map(str, value)) if isinstance(value, list) else str(value))
