"""The classes of ImageNet, read from `imagenet_classes.txt`, which names its source."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the 1,000 classes, in the order of the outputs of published networks.

    >>> imagenet_classes()[0], imagenet_classes()[281], len(imagenet_classes())
    ('tench', 'tabby', 1000)
    """
    text = files("cnncli.catalogue").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(line.partition(" ")[2] for line in lines)
