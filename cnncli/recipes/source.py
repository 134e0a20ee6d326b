"""What `cnncli train` trains from, read and checked before anything that takes long to import."""

from __future__ import annotations

import shlex
from pathlib import Path

from cnncli.config.overrides import Overrides, assignments_of
from cnncli.config.problems import raise_all
from cnncli.config.reader import load_config_or_folder
from cnncli.config.schema import Config
from cnncli.errors import ConfigError, printable
from cnncli.runs.folder import RunFolder

EPOCHS = "training.epochs"
"""The one setting of which a run that has begun can be given more."""


def run_to_resume(source: Path) -> RunFolder | None:
    """The run that is meant, where a run directory is named and not a config or images."""
    run = RunFolder(source.absolute())
    return run if run.facts.is_file() else None


def epochs_asked_for(source: Path, overrides: Overrides) -> int | None:
    """The epochs that the last stage of a run is to have; None: as many as it has.

    Raises:
        ConfigError: other settings were given beside the run, or something that is no number of epochs.
    """
    assignments, problems = assignments_of(overrides)
    raise_all(problems)
    if others := [one.key for one in assignments if one.key != EPOCHS]:
        raise ConfigError(
            f"{printable(source)}: is a run, which goes on with the settings it began with; leave out "
            f"{', '.join(others)}, or train from its config.yaml in a new run. More {EPOCHS} can be asked for."
        )
    values = [one.node.plain() for one in assignments]
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in values):
        raise ConfigError(f"{EPOCHS}: received {values[-1]!r}, expected a whole number of at least 1.")
    return values[-1] if values else None


def read_config(source: Path, overrides: Overrides = ()) -> Config:
    """The config to train from: a file's, or the defaults for a folder of images.

    Raises:
        ConfigError: all that is wrong with it; or it is the config of a run that began with another run's weights,
            which no config holds.
    """
    run = RunFolder(source.parent)
    if source.name == run.config.name and run.facts.is_file() and (parent := run.read_facts().get("parent")):
        raise ConfigError(
            f"{printable(source)}: was made by `cnncli finetune {printable(shlex.quote(parent))}`, and training from "
            "it would start from other weights; repeat that command, or train from the parent's config."
        )
    return load_config_or_folder(source, overrides)
