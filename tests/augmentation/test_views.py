"""The choice of views, the order of images in an epoch, and the cache keys of views."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.augmentation.rand_augment import RandAugmentConfig
from cnncli.augmentation.random_rect import RandomErasingConfig, RandomResizedCropConfig
from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import (
    choose_views,
    number_of_views,
    order_of_epoch,
    render_fresh,
    render_view,
    view_key,
)
from cnncli.augmentation.warps import ElasticWarpConfig

SETTINGS = AugmentationConfig(rotation_range=30.0, horizontal_flip=True, seed=2)
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
DIGESTS = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(3000)]


@pytest.mark.parametrize(
    ("settings", "trunk_is_empty", "views"),
    [
        ({}, False, 1),
        ({"views": 6}, True, 1),
        ({"views": "fresh"}, True, 1),
        ({"horizontal_flip": True}, False, 2),
        ({"horizontal_flip": True}, True, "fresh"),
        ({"horizontal_flip": True, "views": 6}, True, 6),
        ({"horizontal_flip": True, "views": "fresh"}, False, "fresh"),
        ({"horizontal_flip": True, "views": 1}, False, 1),
    ],
)
def test_the_number_of_views_follows_the_settings(
    settings: dict[str, Any], trunk_is_empty: bool, views: int | Literal["fresh"]
) -> None:
    """There is one view without operations; otherwise the default is 2, or `fresh` if nothing is frozen."""
    assert number_of_views(AugmentationConfig(**settings), trunk_is_empty) == views


def test_view_0_is_the_image_itself() -> None:
    """View 0 is the input array itself, not a copy."""
    assert render_view(IMAGE, SETTINGS, DIGESTS[0], 0) is IMAGE


def test_views_of_an_image_differ_and_are_reproducible() -> None:
    """A view depends on the augmentation seed, the image digest and its index, but not on the number of views."""
    view = render_view(IMAGE, SETTINGS, DIGESTS[0], 1)
    more = SETTINGS.model_copy(update={"views": 9})
    np.testing.assert_array_equal(view, render_view(IMAGE, more, DIGESTS[0], 1))
    other_seed = SETTINGS.model_copy(update={"seed": 3})
    for other in [
        render_view(IMAGE, SETTINGS, DIGESTS[0], 2),
        render_view(IMAGE, SETTINGS, DIGESTS[1], 1),
        render_view(IMAGE, other_seed, DIGESTS[0], 1),
    ]:
        assert not np.array_equal(view, other)


def test_fresh_views_differ_between_epochs() -> None:
    """Fresh views depend on epoch, stage, training seed and image, but not on the augmentation seed."""
    fresh = render_fresh(IMAGE, SETTINGS, DIGESTS[0], 0, "head", 0)
    other_seed = SETTINGS.model_copy(update={"seed": 3})
    np.testing.assert_array_equal(fresh, render_fresh(IMAGE, other_seed, DIGESTS[0], 0, "head", 0))
    for other in [
        render_fresh(IMAGE, SETTINGS, DIGESTS[0], 0, "head", 1),
        render_fresh(IMAGE, SETTINGS, DIGESTS[0], 0, "top", 0),
        render_fresh(IMAGE, SETTINGS, DIGESTS[0], 1, "head", 0),
        render_fresh(IMAGE, SETTINGS, DIGESTS[1], 0, "head", 0),
    ]:
        assert not np.array_equal(fresh, other)


def test_the_key_of_view_0_is_empty() -> None:
    """The key of view 0 is empty, so that runs with and without augmentation share the features of images."""
    assert view_key(SETTINGS, 0) == view_key(AugmentationConfig(), 0) == {}


def test_settings_that_change_no_pixel_are_not_in_the_key() -> None:
    """The key excludes the number of views, MixUp and CutMix; it includes `cval` only for constant fill."""
    others = {"views": 9, "cval": 5, "mixup": 0.2, "cutmix": 1.0}
    assert view_key(SETTINGS, 1) == view_key(SETTINGS.model_copy(update=others), 1)
    constant = SETTINGS.model_copy(update={"fill_mode": "constant"})
    assert view_key(constant, 1) != view_key(constant.model_copy(update={"cval": 5}), 1)
    assert view_key(SETTINGS, 1) != view_key(SETTINGS, 2)


def test_newer_operations_do_not_change_older_keys() -> None:
    """Newer operations are in the key only if active, so that views cached by earlier versions are still found."""
    key = view_key(SETTINGS, 1)
    assert key == {
        "view": 1,
        "rendering": 1,
        "opencv": key["opencv"],
        "rotation_range": 30.0,
        "width_shift_range": 0.0,
        "height_shift_range": 0.0,
        "shear_range": 0.0,
        "zoom_range": 0.0,
        "horizontal_flip": True,
        "vertical_flip": False,
        "brightness_range": None,
        "contrast_range": None,
        "fill_mode": "nearest",
        "seed": 2,
    }


def test_the_hash_of_a_key_never_changes() -> None:
    """A key has the same hash as in the first version, given the same version of OpenCV."""
    key = {**view_key(SETTINGS, 3), "opencv": "5.0.0"}
    text = json.dumps(key, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "02eae0a9aebfae86"


OTHER_VALUES: dict[str, Any] = {
    "rotation_range": 7.0,
    "horizontal_flip": False,
    "vertical_flip": True,
    "fill_mode": "wrap",
    "zoom_range": (0.5, 1.0),
    "contrast_range": (0.5, 1.0),
    "brightness_range": (0.5, 1.0),
    "saturation_range": (0.5, 1.0),
    "random_resized_crop": RandomResizedCropConfig(),
    "random_erasing": RandomErasingConfig(),
    "rand_augment": RandAugmentConfig(),
    "elastic_warp": ElasticWarpConfig(),
    "seed": 9,
}


@pytest.mark.parametrize("name", sorted(set(AugmentationConfig.model_fields) - {"views", "cval", "mixup", "cutmix"}))
def test_every_other_setting_is_in_the_key(name: str) -> None:
    """Every setting that can change pixels changes the key of cached views."""
    other = OTHER_VALUES.get(name, 0.125)
    assert view_key(SETTINGS, 1) != view_key(SETTINGS.model_copy(update={name: other}), 1)


def test_the_settings_of_a_group_are_in_the_key() -> None:
    """Changing a nested setting, such as `rand_augment.magnitude`, changes the key."""
    first, second = (SETTINGS.model_copy(update={"rand_augment": RandAugmentConfig(magnitude=m)}) for m in (5.0, 6.0))
    assert view_key(first, 1) != view_key(second, 1)


@given(
    views=st.integers(1, 9),
    block=st.integers(0, 50),
    seed=st.integers(0, 2**31),
    stage=st.sampled_from(["head", "fine-tune"]),
)
def test_a_block_of_epochs_shows_every_view_once(views: int, block: int, seed: int, stage: str) -> None:
    """In each block of K epochs, every image is shown once in each of its K views."""
    epochs = range(block * views, (block + 1) * views)
    chosen = np.stack([choose_views(DIGESTS[:40], seed, stage, epoch, views) for epoch in epochs])
    assert chosen.dtype == np.int64
    np.testing.assert_array_equal(np.sort(chosen, axis=0), np.tile(np.arange(views)[:, None], 40))


@pytest.mark.parametrize("views", [2, 4, 7])
def test_the_choice_of_views_is_uniform(views: int) -> None:
    """In every epoch, each view is chosen for the same fraction of images, and blocks are independent."""
    chosen = np.stack([choose_views(DIGESTS, 0, "head", epoch, views) for epoch in range(3 * views)])
    fraction, spread = 1 / views, np.sqrt((1 / views) * (1 - 1 / views) / len(DIGESTS))
    for view in range(views):
        assert np.abs((chosen == view).mean(axis=1) - fraction).max() < 4.5 * spread
    again = (chosen[views - 1] == chosen[views]).mean()
    assert abs(again - fraction) < 4.5 * spread


def test_the_choice_depends_on_seed_stage_and_epoch() -> None:
    """The choice of views is reproducible and changes with seed, stage, epoch and block."""
    chosen = choose_views(DIGESTS, 0, "head", 0, 4)
    np.testing.assert_array_equal(chosen, choose_views(DIGESTS, 0, "head", 0, 4))
    for other in [(1, "head", 0), (0, "top", 0), (0, "head", 1), (0, "head", 4)]:
        assert not np.array_equal(chosen, choose_views(DIGESTS, *other, 4))


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), shuffle=st.randoms(use_true_random=False))
def test_order_and_views_follow_the_digests_not_the_list(seed: int, epoch: int, shuffle: Any) -> None:
    """The order and the views of an epoch do not depend on the order in which the images are listed."""
    listed = DIGESTS[:60]
    relisted = list(listed)
    shuffle.shuffle(relisted)
    order, reorder = order_of_epoch(listed, seed, "head", epoch), order_of_epoch(relisted, seed, "head", epoch)
    assert [listed[n] for n in order] == [relisted[n] for n in reorder]
    views, review = choose_views(listed, seed, "head", epoch, 4), choose_views(relisted, seed, "head", epoch, 4)
    assert dict(zip(listed, views, strict=True)) == dict(zip(relisted, review, strict=True))


def test_an_order_contains_every_image_once() -> None:
    """The order is a permutation that differs between epochs and keeps the order of images with equal digests."""
    order = order_of_epoch(DIGESTS, 0, "head", 0)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(len(DIGESTS)))
    assert not np.array_equal(order, order_of_epoch(DIGESTS, 0, "head", 1))
    np.testing.assert_array_equal(order_of_epoch([DIGESTS[0]] * 5, 0, "head", 0), np.arange(5))


def test_an_empty_list_of_images_is_accepted() -> None:
    """An empty list of images has an empty order and no views."""
    assert order_of_epoch([], 0, "head", 0).shape == (0,)
    assert choose_views([], 0, "head", 0, 4).shape == (0,)


def test_orders_of_epochs_are_even() -> None:
    """Every image is equally likely at any position, and the orders of two epochs are independent."""
    ranks = np.stack([np.argsort(order_of_epoch(DIGESTS[:200], 0, "head", epoch)) for epoch in range(300)])
    assert np.abs(ranks.mean(axis=0) - 99.5).max() < 4.5 * 57.7 / np.sqrt(300)
    assert abs(np.corrcoef(ranks[:-1].ravel(), ranks[1:].ravel())[0, 1]) < 4.5 / np.sqrt(299 * 200)
