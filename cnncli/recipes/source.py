"""The source of `cnncli train`: a config, a folder of images, or a run to resume. Read before heavy imports."""

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
from cnncli.errors import ConfigError, DataError, Message, RunError, printable
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run

EPOCHS = "training.epochs"
"""The only setting that can be changed when resuming a run."""


def find_run(source: Path, runs_dir: Path) -> RunFolder | None:
    """Return the run that `train` is to resume, or None if `source` is a config or a folder of images.

    Args:
        source: A path, or the name of a run. What exists under the path is taken first.
        runs_dir: Directory of the runs.

    Raises:
        RunError: The run is damaged.
    """
    if os.path.lexists(source) and not RunFolder(source).facts.is_file():
        return None
    try:
        return open_run(source, runs_dir, prefer="unfinished")
    except RunError as error:
        if error.code == "run-not-found":
            return None
        raise


def read_epochs(source: Path, overrides: Overrides) -> int | None:
    """Return the number of epochs that the last stage of a run is to have; None: as many as it has.

    Raises:
        ConfigError: Other settings are given for the run, or the number of epochs is not an integer above 0.
    """
    assignments, problems = parse_overrides(overrides)
    raise_all(problems)
    if others := [one.key for one in assignments if one.key != EPOCHS]:
        raise ConfigError(
            Message(
                "usage-settings-of-run",
                f"{printable(source)}: is a run, and its settings cannot be changed when resuming it, except for "
                f"{EPOCHS}. Leave out {', '.join(others)}, or train a new run from its config.yaml.",
                path=source,
                keys=others,
            )
        )
    values = [one.node.plain() for one in assignments]
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in values):
        expected = "an integer of at least 1"
        text = f"{EPOCHS}: received {values[-1]!r}, expected {expected}."
        raise ConfigError(Message("config-out-of-range", text, key=EPOCHS, received=values[-1], expected=expected))
    return values[-1] if values else None


def read_config(source: Path, overrides: Overrides = ()) -> Config:
    """Return the config to train from: that of a file, or the defaults for a folder of images.

    Raises:
        ConfigError: All its problems; or it is the config of a run that started from another run's weights, which a
            config cannot express.
    """
    run = RunFolder(source.parent)
    if source.name == run.config.name and run.facts.is_file() and (parent := run.read_facts().get("parent")):
        raise ConfigError(
            Message(
                "usage-config-of-finetuned-run",
                f"{printable(source)}: belongs to a run of `cnncli finetune {printable(shlex.quote(parent))}`, and "
                "training from it would start from other weights. Repeat that command, or train from the parent's "
                "config.",
                path=source,
                parent=parent,
            )
        )
    config = load_config_or_folder(source, overrides)
    if source.is_dir():
        return adapt_to_images(config, _largest_side(config, largest_side_of_interest(config)))
    return config


def _largest_side(config: Config, limit: int) -> int:
    """Return the longest side of all images in pixels; the search ends at the first image of at least `limit`."""
    from cnncli.dataset.labels.folders import images_below
    from cnncli.images.formats import open_image, regular_file

    longest = 0
    for path in images_below(config.data.path)[0]:
        with suppress(DataError), regular_file(path) as file, open_image(file, path, config.data.max_pixels) as image:
            longest = max(longest, *image.size)
        if longest >= limit:
            break
    return longest
