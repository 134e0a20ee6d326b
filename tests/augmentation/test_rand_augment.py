"""RandAugment: the operations drawn, their strength, and their results compared with Pillow."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from cnncli.augmentation.geometry import move, warp
from cnncli.augmentation.operation import AffineStep, ViewRandom
from cnncli.augmentation.rand_augment import CHANGES, CHOICES, MOVES, RandAugment, RandAugmentConfig, change


def noise_image(height: int = 40, width: int = 56, channels: int = 3) -> NDArray[np.uint8]:
    """Return a noise image, in which every misplaced pixel is noticeable."""
    return np.random.default_rng(5).integers(0, 256, (height, width, channels), dtype=np.uint8)


def draw(key: str | int, **settings: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the arguments of the geometric operations drawn for a key, and those of the other operations."""
    operation = RandAugment.model_construct(rand_augment=RandAugmentConfig.model_validate(settings))
    steps = operation.draw(ViewRandom(("test", key)))
    moves = [step.matrix for step in steps if isinstance(step, AffineStep)]
    return (
        [one.keywords for one in moves if isinstance(one, partial)],
        [one.keywords for one in steps if isinstance(one, partial)],
    )


def moved(kind: str, amount: float) -> AffineStep:
    """Return a geometric operation."""
    return AffineStep(partial(move, kind=kind, amount=amount), "corner")


def test_the_fourteen_operations_of_the_paper() -> None:
    """The operations are Table 6 of AutoAugment without sample pairing, cutout and invert, plus the identity."""
    assert set(CHOICES) == {
        *("identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize"),
        *("contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y"),
    }
    assert len(CHOICES) == 14


def test_operations_are_drawn_evenly_with_either_sign() -> None:
    """All fourteen operations are drawn equally often, with replacement, and half of the signs are positive."""
    seen, signs = Counter[str](), Counter[bool]()
    for key in range(4000):
        moves, changes = draw(key, num_ops=3)
        seen.update([*(move["kind"] for move in moves), *(one["kind"] for one in changes)])
        signs.update(move["amount"] > 0 for move in moves)
        assert len(moves) + len(changes) <= 3
    seen["identity"] = 12_000 - seen.total()
    for kind in CHOICES:
        assert abs(seen[kind] / 12_000 - 1 / 14) < 4.5 * np.sqrt(1 / 14 / 12_000), kind
    assert abs(signs[True] / signs.total() - 0.5) < 4.5 * 0.5 / np.sqrt(signs.total())


@pytest.mark.parametrize("magnitude", [0.0, 4.5, 9.0, 10.0])
def test_strength_is_proportional_to_magnitude(magnitude: float) -> None:
    """The strength of an operation is its maximum in the paper times a tenth of the magnitude."""
    moves, changes = draw("strength", num_ops=30, magnitude=magnitude)
    assert all(abs(move["amount"]) == pytest.approx(MOVES[move["kind"]] * magnitude / 10) for move in moves)
    assert all(abs(one["strength"]) == magnitude / 10 for one in changes)
    assert bool(moves) == bool(magnitude)


@pytest.mark.parametrize("kind", sorted(set(CHANGES) - {"autocontrast", "equalize"}))
@pytest.mark.parametrize("channels", [1, 3])
def test_magnitude_0_changes_nothing(kind: str, channels: int) -> None:
    """At magnitude 0, every operation except autocontrast and equalize, which have no strength, keeps the image."""
    pixels = noise_image(channels=channels)
    np.testing.assert_array_equal(change(pixels, kind, 0.0), pixels)


@pytest.mark.parametrize("strength", [-0.9, -0.3, 0.3, 0.9, 1.0])
def test_changes_match_pillow(strength: float) -> None:
    """At every strength, lookup-table operations match Pillow exactly, and blending operations up to rounding."""
    pixels, factor = noise_image(), 1.0 + 0.9 * strength
    image = Image.fromarray(pixels)
    expected = {
        "autocontrast": (ImageOps.autocontrast(image), 0),
        "equalize": (ImageOps.equalize(image), 0),
        "solarize": (ImageOps.solarize(image, 256 * (1 - abs(strength))), 0),
        "posterize": (ImageOps.posterize(image, 8 - round(4 * abs(strength))), 0),
        "color": (ImageEnhance.Color(image).enhance(factor), 2),
        "contrast": (ImageEnhance.Contrast(image).enhance(factor), 0),
        "brightness": (ImageEnhance.Brightness(image).enhance(factor), 0),
        "sharpness": (ImageEnhance.Sharpness(image).enhance(factor), 1),
    }
    for kind, (theirs, tolerance) in expected.items():
        ours = change(pixels, kind, strength)
        assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= tolerance, kind


@pytest.mark.parametrize("fraction", [-1.0, -0.37, 0.5, 1.0])
@pytest.mark.parametrize("kind", MOVES)
def test_moves_match_pillow(kind: str, fraction: float) -> None:
    """Inside the image, rotations, shears and translations match Pillow's bilinear transformations up to rounding."""
    pixels, amount = noise_image(), MOVES[kind] * fraction
    height, width, _ = pixels.shape
    matrices = {
        "shear_x": (1, amount, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, amount, 1, 0),
        "translate_x": (1, 0, amount * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, amount * height),
    }

    def with_pillow(array: NDArray[np.uint8]) -> NDArray[np.int64]:
        image, bilinear = Image.fromarray(array), Image.Resampling.BILINEAR
        if kind == "rotate":
            return np.asarray(image.rotate(amount, bilinear), dtype=np.int64)
        moved = image.transform(image.size, Image.Transform.AFFINE, matrices[kind], bilinear)
        return np.asarray(moved, dtype=np.int64)

    ours = warp(pixels, [moved(kind, amount)], "constant", 0)
    white = np.full_like(pixels, 255)
    shown = warp(white, [moved(kind, amount)], "constant", 0) == 255
    shown &= with_pillow(white) == 255
    assert shown.mean() > 0.4
    assert np.abs(ours - with_pillow(pixels))[shown].max() <= 1


@pytest.mark.parametrize(("rotated_first", "place"), [(False, [4, 3]), (True, [4, 7])])
def test_moves_are_applied_in_the_order_drawn(rotated_first: bool, place: list[int]) -> None:
    """Translating and then rotating by 180° puts a pixel in a different place than rotating first."""
    pixels = np.zeros((8, 8, 1), np.uint8)
    pixels[3, 1 if rotated_first else 3] = 255
    moves = [moved("translate_x", -0.125), moved("rotate", 180.0)]
    warped = warp(pixels, moves[::-1] if rotated_first else moves, "constant", 0)
    assert np.argwhere(warped[..., 0] > 128).tolist() == [place]
