"""The config to train from: a file, or defaults for a folder of images or a table of labels.

It is read and checked before slow imports.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from cnncli.config.overrides import Overrides
from cnncli.config.reader import is_data, load_config_or_folder
from cnncli.config.schema import Config
from cnncli.config.small_images import adapt_to_images, largest_side_of_interest
from cnncli.errors import ConfigError, DataError, Message, printable
from cnncli.runs.folder import RunFolder


def read_config(source: Path, overrides: Overrides = ()) -> Config:
    """Return the config to train from; for a folder or table, it is adapted to the size of its images.

    Raises:
        ConfigError: All problems of the config; or it is the config of a fine-tuned run, which cannot express the run's
            initial weights.
    """
    run = RunFolder(source.parent)
    if source.name == run.config.name and run.facts.is_file() and (parent := (facts := run.read_facts()).get("parent")):
        command = f"cnncli finetune {printable(shlex.quote(parent))}"
        if added := facts.get("added"):
            command = f"cnncli update {printable(shlex.quote(parent))} --data {printable(shlex.quote(str(added)))}"
        text = (
            f"{printable(source)}: belongs to a run created by `{command}`; training from this config would start "
            "from different weights. Run that command again, or train from the parent's config."
        )
        raise ConfigError(Message("usage-config-of-finetuned-run", text, path=source, parent=parent))
    config = load_config_or_folder(source, overrides)
    if is_data(source):
        return adapt_to_images(config, _largest_side(config, largest_side_of_interest(config)))
    return config


def _largest_side(config: Config, limit: int) -> int:
    """Return the longest side of all images in pixels; stop at the first image of at least `limit`."""
    from cnncli.dataset.labels.source import read_labels
    from cnncli.images.formats import open_image, regular_file

    longest = 0
    for path in (one.path for one in read_labels(config.data).records):
        with suppress(DataError), regular_file(path) as file, open_image(file, path, config.data.max_pixels) as image:
            longest = max(longest, *image.size)
        if longest >= limit:
            break
    return longest
