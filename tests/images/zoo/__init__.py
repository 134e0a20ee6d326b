"""A zoo of files found in folders of images, each with the outcome expected of every command."""

from __future__ import annotations

import functools

from tests.images.making import pixels
from tests.images.zoo import common, damaged, entries, extreme, rarer
from tests.images.zoo.kinds import Kind, LeftOut, Outcome, Refused, Used

__all__ = ["Kind", "LeftOut", "Outcome", "Refused", "Used", "zoo"]


@functools.cache
def zoo() -> tuple[Kind, ...]:
    """Return every kind; no two images are similar."""
    shades = (pixels(seed=seed) for seed in range(1000, 2000))
    groups = (
        damaged.damaged_kinds,
        damaged.disguised_kinds,
        common.png_kinds,
        common.jpeg_kinds,
        common.turned_kinds,
        rarer.tiff_kinds,
        rarer.bitmap_kinds,
        rarer.gif_and_webp_kinds,
        extreme.sized_kinds,
        extreme.bomb_kinds,
        entries.named_kinds,
        entries.irregular_kinds,
    )
    return tuple(one for group in groups for one in group(shades))
