"""What `cnncli train` trains from, read and checked before anything that takes long to import."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from cnncli.config.overrides import Overrides, parse_overrides
from cnncli.config.reader import load_config_or_folder
from cnncli.config.schema import Config
from cnncli.config.small_images import adapt_to_images, largest_side_of_interest
from cnncli.config.tree import raise_all
from cnncli.errors import ConfigError, DataError, RunError, printable
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run

EPOCHS = "training.epochs"
"""The one setting of which a run that has begun can be given more."""


def run_to_resume(source: Path, runs_dir: Path) -> RunFolder | None:
    """Return the run that `train` is to resume, or None if `source` is a config or a folder of images.

    Args:
        source: a path, or the name of a run. What exists under the path is taken first.
        runs_dir: folder of the runs.

    Raises:
        RunError: the run is damaged.
    """
    if os.path.lexists(source) and not RunFolder(source).facts.is_file():
        return None
    try:
        return open_run(source, runs_dir, prefer="unfinished")
    except RunError as error:
        if error.code == "run-not-found":
            return None
        raise


def epochs_asked_for(source: Path, overrides: Overrides) -> int | None:
    """The epochs that the last stage of a run is to have; None: as many as it has.

    Raises:
        ConfigError: other settings were given beside the run, or something that is no number of epochs.
    """
    assignments, problems = parse_overrides(overrides)
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
    config = load_config_or_folder(source, overrides)
    if source.is_dir():
        return adapt_to_images(config, _largest_side(config, largest_side_of_interest(config)))
    return config


def _largest_side(config: Config, limit: int) -> int:
    """Return the longest side of all images in pixels; the search ends at the first image of at least `limit`."""
    from cnncli.dataset.scan import images_below
    from cnncli.images.formats import open_image, regular_file

    longest = 0
    for path in images_below(config.data.path)[0]:
        with suppress(DataError), regular_file(path) as file, open_image(file, path, config.data.max_pixels) as image:
            longest = max(longest, *image.size)
        if longest >= limit:
            break
    return longest
