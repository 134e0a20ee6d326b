"""Digests of views and of their keys, which must not change, so that cached features stay valid."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render_fresh, render_view, view_key
from tests.augmentation.test_pipeline import EVERYTHING, NEUTRAL

GEOMETRIC = ("rotation_range", "width_shift_range", "height_shift_range", "shear_range", "zoom_range")
FLIPS = ("horizontal_flip", "vertical_flip")
COLORS = ("contrast_range", "brightness_range", "saturation_range", "hue_range", "channel_shift_range")
GROUPS: dict[str, dict[str, Any]] = {
    **{name: {name: value} for name, value in EVERYTHING.items()},
    "neutral": NEUTRAL,
    "geometric": {name: EVERYTHING[name] for name in (*GEOMETRIC, *FLIPS)},
    "crop and moves": {name: EVERYTHING[name] for name in ("random_resized_crop", "rand_augment", *GEOMETRIC, *FLIPS)},
    "colors": {name: EVERYTHING[name] for name in COLORS},
    "erased gray": {"random_erasing": {"probability": 1.0, "value": 77}},
    "strong policy": {"rand_augment": {"num_ops": 6, "magnitude": 10.0}, "brightness_range": (0.5, 1.5), "seed": 9},
    "reflect": {**EVERYTHING, "fill_mode": "reflect"},
    "wrap": {**EVERYTHING, "fill_mode": "wrap", "seed": 3},
    "constant": {**EVERYTHING, "fill_mode": "constant", "cval": 200, "zoom_range": (0.5, 2.0)},
}
GOLDEN: dict[str, tuple[str, str]] = {
    "rotation_range": ("f75cbcd7deabfd4c", "ab437fe210356ea7"),
    "width_shift_range": ("1a87a4a2cc81437e", "cb8c31649ee019fe"),
    "height_shift_range": ("910d1841d1fd4de6", "94ad1ae7f7263257"),
    "shear_range": ("2b830e0224c35011", "b81610494fbfeb65"),
    "zoom_range": ("a20a95b47b23d4fa", "80d2a9e0b6c7e95a"),
    "horizontal_flip": ("a3560326634d5a45", "1ff61c5ef8a7fb23"),
    "vertical_flip": ("aa412e3fa88bdedd", "5710acc51bb044ef"),
    "contrast_range": ("752a801e042d5254", "1f03ba53a25fa725"),
    "brightness_range": ("8bef459047c30c18", "83f4c56856dd0765"),
    "saturation_range": ("729bab78f3208b14", "0612534543fa5f0c"),
    "hue_range": ("3b0bc8acfc17fdf8", "0da45100288081f1"),
    "channel_shift_range": ("f23d93a9f50ba25f", "62a8fc9bafb228a8"),
    "noise_stddev": ("308d8513fe01fd19", "cab63c4c820c963e"),
    "random_resized_crop": ("bc9f7679494ff24c", "10eb733e253ac1b9"),
    "random_erasing": ("e28546b9b763fbfd", "c92ea7c48d61554f"),
    "rand_augment": ("241528754132b737", "ef56f14a72eb9bc3"),
    "neutral": ("8a07a16fb31e9d53", "08691a4a4876238a"),
    "geometric": ("3bac1cc28caf9531", "195dc3b97c8ae9f1"),
    "crop and moves": ("41a327e42535d574", "794e6ee27e2ed844"),
    "colors": ("bf9f58ede9f08f3b", "ee6b64d3a5e486e1"),
    "erased gray": ("1d8e3be472479a75", "30a28d5b5821c51f"),
    "strong policy": ("326a59b3744448b5", "a4d3201ff5736ebd"),
    "reflect": ("49e09aba0acbd653", "0c090d54ea361d2e"),
    "wrap": ("4e6e560dcfe28a81", "bba09bcbc1c17ddb"),
    "constant": ("e3da0628b19241e3", "42872b68542e562c"),
}
"""For each group of settings, the first 16 digits of the SHA-256 of its views' pixels and of their keys."""


def pixels_digest(settings: AugmentationConfig) -> str:
    """Return the digest of cached and fresh views of color and grayscale images."""
    digest = hashlib.sha256()
    for shape in [(40, 56, 3), (33, 21, 1), (1, 5, 3)]:
        image = np.random.default_rng(shape[0]).integers(0, 256, shape, dtype=np.uint8)
        for k in range(1, 7):
            digest.update(render_view(image, settings, f"{k:064x}", k).tobytes())
            digest.update(render_fresh(image, settings, f"{k:064x}", 5, "head", k).tobytes())
    return digest.hexdigest()[:16]


def key_digest(settings: AugmentationConfig) -> str:
    """Return the digest of the keys of three views, for a fixed version of OpenCV."""
    keys = [{**view_key(settings, k), **({"opencv": "5.0.0"} if k else {})} for k in range(3)]
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", GROUPS)
def test_views_and_their_keys_never_change(name: str) -> None:
    """Each group of operations renders the same pixels under the same key as in the first version."""
    settings = AugmentationConfig.model_validate(GROUPS[name])
    assert (pixels_digest(settings), key_digest(settings)) == GOLDEN[name]
