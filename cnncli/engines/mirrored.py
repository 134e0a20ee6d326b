"""Views at test time: the features of an image and of its mirror image, averaged.

Training images are averaged in the same way, so that a head is trained on the distribution that it later sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array

Tta = Literal["none", "flip"]
"""Views at test time: the image itself, or the image and its mirror image."""


def mirror_flags(tta: Tta) -> tuple[bool, ...]:
    """Return for each view at test time whether it is the mirror image."""
    return (False, True) if tta == "flip" else (False,)


def mirror(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror images horizontally, shape (..., height, width, channels)."""
    return np.ascontiguousarray(pixels[..., ::-1, :])


def run_averaged(run: Callable[[NDArray[np.uint8]], list[Array]], pixels: NDArray[np.uint8], tta: Tta) -> list[Array]:
    """Return the features of images (n, height, width, channels), averaged over their views at test time."""
    return average([run(mirror(pixels) if is_mirrored else pixels) for is_mirrored in mirror_flags(tta)])


def average(views: Sequence[list[Array]]) -> list[Array]:
    """Average each tensor over views, in float32; a single view is returned unchanged."""
    if len(views) == 1:
        return views[0]
    return [np.mean([view.astype(np.float32) for view in tensor], axis=0) for tensor in zip(*views, strict=True)]
