"""Views of an image: their pixels, their number, the view used in each epoch, and the order of the images in an epoch.

A view is a random variant of an image; view 0 is the image itself. View k depends only on the augmentation seed, the
image's digest and k, so runs with different seeds, stages or epochs share it. Every function here is pure: threads,
interruptions and the order in which images are listed do not matter.
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
    """Return the number of views of each training image, or `fresh` for a new view in every epoch.

    The default is `fresh` if nothing is frozen, because caching views would then save nothing.
    """
    if not settings.is_active:
        return 1
    return settings.views or ("fresh" if trunk_is_empty else DEFAULT_VIEWS)


def render_view(pixels: Pixels, settings: AugmentationConfig, digest: str, k: int) -> Pixels:
    """Return view k of an image.

    Args:
        pixels: The decoded image; the result has the same shape.
        settings: The operations and their ranges.
        digest: Digest of the image's bytes, hexadecimal.
        k: Number of the view; 0 is the image itself.
    """
    return pixels if k == 0 else render(pixels, settings, "view", settings.seed, digest, k)


def render_fresh(
    pixels: Pixels, settings: AugmentationConfig, digest: str, seed: int, stage: str, epoch: int
) -> Pixels:
    """Return a view of an image for a single epoch of a run; see `render_view`."""
    return render(pixels, settings, "fresh", seed, stage, epoch, digest)


def render(pixels: Pixels, settings: AugmentationConfig, *key: str | int) -> Pixels:
    """Return the random view of an image for a key: one warp for all affine steps, then the other steps in order.

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
    """Return the steps of a view, in the order of the operations."""
    random = ViewRandom(key)
    return [step for operation in active_operations(settings) for step in operation.draw(random)]


def view_key(settings: AugmentationConfig, k: int) -> dict[str, Any]:
    """Return the part of the feature key that describes view k: all that determines its pixels but the image.

    View 0 has an empty key, so that runs with and without augmentation share it. The number of views is not part of the
    key, so runs with 4 and 8 views share the first four.
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
    """Return the settings that change no pixels: number of views, mixing, unused fill, unused later settings."""
    unused_fill = set() if settings.fill_mode == "constant" else {"cval"}
    fields = type(settings).model_fields
    unused = {name for name in set(fields) - _ALWAYS_IN_KEY if getattr(settings, name) == fields[name].default}
    return {"views", "mixup", "cutmix"} | unused_fill | unused


def choose_views(digests: Sequence[str], seed: int, stage: str, epoch: int, views: int) -> NDArray[np.int64]:
    """Choose the view of each image for an epoch.

    Epochs, counted from 0 within a stage, form blocks of `views`. Within a block, each image uses each of its views
    once, in a random order per image and block, so that all views are used about equally often.

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

    The order of the same digests does not depend on the order in which they are listed.
    """
    words = uniform_words(digest_words(list(digests)), "order of pictures", seed, stage, epoch)
    return np.asarray(np.argsort(words, kind="stable"), dtype=np.int64)
