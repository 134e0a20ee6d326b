"""What `cnncli train` trains from, read and checked before anything that takes long to import."""

from __future__ import annotations

import shlex
from pathlib import Path

from cnncli.config.overrides import Overrides
from cnncli.config.reader import load_config_or_folder
from cnncli.config.schema import Config
from cnncli.errors import ConfigError, printable
from cnncli.runs.folder import RunFolder


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
