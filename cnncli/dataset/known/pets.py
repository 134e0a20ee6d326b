"""Oxford-IIIT Pets (https://www.robots.ox.ac.uk/~vgg/data/pets/): 37 breeds of cats and dogs.

The name of an image is its breed and a number; `annotations/trainval.txt` and `annotations/test.txt` list the splits.
"""

from __future__ import annotations

import logging
import re

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.images import KnownImage, damaged
from cnncli.dataset.known.sources import Files
from cnncli.errors import Message
from cnncli.storage.zips import ARCHIVE_ERRORS

log = logging.getLogger(__name__)

MOST_LIST_BYTES = 2**22

_IMAGE = re.compile(r"(?:.*/)?(([A-Za-z]+(?:_[A-Za-z]+)*)_\d+)\.jpg")
_LISTS = {"trainval.txt": "train", "test.txt": "test"}


def read(files: Files, _info: DatasetInfo) -> list[KnownImage]:
    """Return the images that a split lists, or all images without split if there are no lists.

    Raises:
        DataError: A list is damaged.
    """
    found = {match[1]: (name, match[2]) for name in sorted(files) if (match := _IMAGE.fullmatch(name))}
    lists = {split: path for path in sorted(files) if (split := _LISTS.get(path.rpartition("/")[2]))}
    splits = {stem: split for split, path in lists.items() for stem in _stems(files, path)}
    images = [
        KnownImage(name, breed, splits.get(stem), f"{stem}.jpg")
        for stem, (name, breed) in found.items()
        if stem in splits or not splits
    ]
    if n := len(found) - len(images):
        text = f"images that neither trainval.txt nor test.txt lists, left out: {n:,}"
        log.info(Message("data-prepare-unlisted", text, n=n))
    return images


def _stems(files: Files, path: str) -> list[str]:
    """Return the first word of each line, which is the name of an image without suffix."""
    try:
        text = files[path](MOST_LIST_BYTES).decode()
    except ARCHIVE_ERRORS as error:
        raise damaged(path, str(error)) from error
    return [line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#")]
