"""Views of an image: their pixels and number, which one an epoch uses, and the order of the images in an epoch.

A view is one random variant of an image; view 0 is the image itself. View k depends only on the seed of the
augmentation, the digest of the image and k, so that runs with other seeds, stages or epochs share it. Everything here
is a pure function of its arguments: threads, interruptions and the order in which images are listed change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.geometry import warp
from cnncli.augmentation.operation import AffineStep, Pixels, Step, ViewRandom
from cnncli.augmentation.settings import AugmentationConfig, active_operations
from cnncli.runtime.random_keys import digest_words, uniform_words

DEFAULT_VIEWS = 2
RENDERING = 1
"""Version of the pixels of a view; part of its key."""

_ALWAYS_IN_KEY = {
    *("rotation_range", "width_shift_range", "height_shift_range", "shear_range", "zoom_range"),
    *("horizontal_flip", "vertical_flip", "brightness_range", "contrast_range", "fill_mode", "cval", "seed"),
}
"""Settings of the first version. A later one is in the key only if it is used: views that were cached before it existed
stay valid."""


def number_of_views(settings: AugmentationConfig, trunk_is_empty: bool) -> int | Literal["fresh"]:
    """Return the number of views of each training image, or `fresh` for a new one every epoch.

    The default is `fresh` if nothing is frozen, since cached views would save nothing.
    """
    if not settings.is_active:
        return 1
    return settings.views or ("fresh" if trunk_is_empty else DEFAULT_VIEWS)


def render_view(pixels: Pixels, settings: AugmentationConfig, digest: str, k: int) -> Pixels:
    """Return view k of an image.

    Args:
        pixels: The decoded image; the result has its shape.
        settings: The operations and their ranges.
        digest: Digest of the bytes of the image, hexadecimal.
        k: Number of the view; 0 is the image itself.
    """
    return pixels if k == 0 else render(pixels, settings, "view", settings.seed, digest, k)


def render_fresh(
    pixels: Pixels, settings: AugmentationConfig, digest: str, seed: int, stage: str, epoch: int
) -> Pixels:
    """Return the view of an image that only one epoch of a run uses; see `render_view`."""
    return render(pixels, settings, "fresh", seed, stage, epoch, digest)


def render(pixels: Pixels, settings: AugmentationConfig, *key: str | int) -> Pixels:
    """Return the random view of an image with a key: one warp for all affine steps, then the other steps in order.

    If no operation is active, `pixels` itself is returned.
    """
    steps = draw(settings, *key)
    affine = [step for step in steps if isinstance(step, AffineStep)]
    pixels = warp(pixels, affine, settings.fill_mode, settings.cval)
    for step in steps:
        if not isinstance(step, AffineStep):
            pixels = step(pixels)
    return pixels


def draw(settings: AugmentationConfig, *key: str | int) -> list[Step]:
    """Return the steps of one view, in the order of the operations."""
    random = ViewRandom(key)
    return [step for operation in active_operations(settings) for step in operation.draw(random)]


def view_key(settings: AugmentationConfig, k: int) -> dict[str, Any]:
    """Return everything that decides the pixels of view k in addition to the image, for the key of its features.

    View 0 has an empty key, so that runs with and without augmentation share it. The number of views is not in the key:
    runs with 4 and 8 views share the first four.
    """
    if k == 0 or not settings.is_active:
        return {}
    import cv2

    return {
        "view": k,
        "rendering": RENDERING,
        "opencv": cv2.__version__,
        **settings.model_dump(mode="json", exclude=_without_effect(settings)),
    }


def _without_effect(settings: AugmentationConfig) -> set[str]:
    """Return the settings that change no pixel: the number of views, mixing, an unused fill, unused later settings."""
    unused_fill = set() if settings.fill_mode == "constant" else {"cval"}
    fields = type(settings).model_fields
    unused = {name for name in set(fields) - _ALWAYS_IN_KEY if getattr(settings, name) == fields[name].default}
    return {"views", "mixup", "cutmix"} | unused_fill | unused


def choose_views(digests: Sequence[str], seed: int, stage: str, epoch: int, views: int) -> NDArray[np.int64]:
    """Choose the view of each image for an epoch.

    Epochs, counted from 0 within a stage, come in blocks of `views`. Within a block an image shows each of its views
    once, in a random order for every image and block, so that no view is used much more often than another.

    Returns:
        Number of a view for each image, shape (n,), each in 0 … views - 1.
    """
    block, position = divmod(epoch, views)
    words = digest_words(list(digests))
    draws = [uniform_words(words, "choice of views", seed, stage, block, k) for k in range(views)]
    permutations = np.argsort(np.stack(draws), axis=0, kind="stable")  # one per image, down the columns
    return np.asarray(permutations[position], dtype=np.int64)


def order_of_epoch(digests: Sequence[str], seed: int, stage: str, epoch: int) -> NDArray[np.int64]:
    """Return the order of the images in an epoch of a stage as indexes into their digests, shape (n,).

    However the images are listed, the same digests come in the same order.
    """
    words = uniform_words(digest_words(list(digests)), "order of pictures", seed, stage, epoch)
    return np.asarray(np.argsort(words, kind="stable"), dtype=np.int64)
