"""Views: which renderings of an image exist, which one an epoch takes, and in which order the images come.

View 0 is the image itself. View k is keyed by the augmentation's own seed, the image's digest and k alone, so that
runs with other seeds, stages or epochs share it. All of this is a pure function of its arguments: threads,
interruptions and the order in which images are listed change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.pipeline import render
from cnncli.augmentation.settings import AugmentationConfig
from cnncli.runtime.random_keys import digest_words, uniform_words

DEFAULT_VIEWS = 2
RENDERING = 1
"""Counts changes of what a given key renders; part of the key of stored views."""

_ALWAYS_IN_RECIPE = {
    "rotation_range",
    "width_shift_range",
    "height_shift_range",
    "shear_range",
    "zoom_range",
    "horizontal_flip",
    "vertical_flip",
    "brightness_range",
    "contrast_range",
    "fill_mode",
    "cval",
    "seed",
}
"""The operations of the first version. A later one is in a recipe only where it is used: views that were stored before
it existed stay valid."""


def number_of_views(settings: AugmentationConfig, trunk_is_empty: bool) -> int | Literal["fresh"]:
    """How many views of each training image there are, or `fresh` for a new rendering every epoch.

    Args:
        settings: without an operation there is one view, the image itself.
        trunk_is_empty: whether nothing is frozen; then stored views would save nothing and the default is `fresh`.
    """
    if not settings.is_active:
        return 1
    return settings.views or ("fresh" if trunk_is_empty else DEFAULT_VIEWS)


def render_view(pixels: NDArray[np.uint8], settings: AugmentationConfig, digest: str, k: int) -> NDArray[np.uint8]:
    """View k of an image.

    Args:
        pixels: uint8 (height, width, channels), the decoded image.
        settings: the operations and their ranges.
        digest: of the image's bytes, hexadecimal.
        k: 0 for the image itself.
    Returns: uint8, same shape.
    """
    return pixels if k == 0 else render(pixels, settings, "view", settings.seed, digest, k)


def render_fresh(
    pixels: NDArray[np.uint8], settings: AugmentationConfig, digest: str, seed: int, stage: str, epoch: int
) -> NDArray[np.uint8]:
    """A rendering that one epoch alone sees; arguments as in `render_view` and `order_of_epoch`."""
    return render(pixels, settings, "fresh", seed, stage, epoch, digest)


def view_recipe(settings: AugmentationConfig, k: int) -> dict[str, Any]:
    """All that decides the pixels of view k beside the image itself, for the key under which its features are stored.

    View 0 has no recipe, so that runs with and without augmentation share it. Nor does the number of views count: the
    views of a run with 4 are the first four of a run with 8.
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
    """Settings that do not count: the number of views, mixing, what is not filled in, what came later and is unused."""
    unfilled = set() if settings.fill_mode == "constant" else {"cval"}
    fields = type(settings).model_fields
    unused = {name for name in set(fields) - _ALWAYS_IN_RECIPE if getattr(settings, name) == fields[name].default}
    return {"views", "mixup", "cutmix"} | unfilled | unused


def choose_views(digests: Sequence[str], seed: int, stage: str, epoch: int, views: int) -> NDArray[np.int64]:
    """Which view of each image an epoch trains on, shape (n,), each in 0 … views - 1.

    Epochs come in blocks of `views`. Within a block an image shows each of its views once, in an order drawn anew for
    every image and block. In any one epoch the choice is uniform, and over the epochs no view is seen much more often
    than another, as independent draws would have it.

    Args:
        digests: of the images' bytes, hexadecimal.
        seed: the run's.
        stage: its name.
        epoch: counted from 0 within the stage.
        views: how many there are.
    """
    block, position = divmod(epoch, views)
    words = digest_words(list(digests))
    draws = [uniform_words(words, "choice of views", seed, stage, block, k) for k in range(views)]
    permutations = np.argsort(np.stack(draws), axis=0, kind="stable")  # one per image, down the columns
    return np.asarray(permutations[position], dtype=np.int64)


def order_of_epoch(digests: Sequence[str], seed: int, stage: str, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch takes the images: indexes into `digests`, shape (n,).

    However the images are listed, the same digests come in the same order. Only images with equal bytes keep the
    order of the list among themselves.

    Args:
        digests: of the images' bytes, hexadecimal.
        seed: the run's.
        stage: its name.
        epoch: counted from 0 within the stage.
    """
    words = uniform_words(digest_words(list(digests)), "order of pictures", seed, stage, epoch)
    return np.asarray(np.argsort(words, kind="stable"), dtype=np.int64)
