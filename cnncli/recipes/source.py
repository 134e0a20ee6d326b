"""What `cnncli train` trains from, read and checked before anything that takes long to import."""

from __future__ import annotations

import shlex
from pathlib import Path

from cnncli.config.overrides import Overrides
from cnncli.config.reader import load_config_or_folder
from cnncli.config.schema import Config
from cnncli.errors import ConfigError, printable
from cnncli.runs.folder import RunFolder


def run_to_resume(source: Path, overrides: Overrides = ()) -> RunFolder | None:
    """The run that is meant, where a run directory is named and not a config or pictures.

    Raises:
        ConfigError: settings were given beside it, which a run that has begun cannot take.
    """
    run = RunFolder(source.absolute())
    if not run.facts.is_file():
        return None
    if overrides:
        raise ConfigError(
            f"{printable(source)}: is a run, which goes on with the settings it began with; leave out the others, or "
            "train from its config.yaml in a new run."
        )
    return run


def read_config(source: Path, overrides: Overrides = ()) -> Config:
    """The config to train from: a file's, or the defaults for a folder of pictures.

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
