"""Rendering of a view: the steps of all active operations, drawn by key and applied in order."""

from __future__ import annotations

from cnncli.augmentation.geometry import warp
from cnncli.augmentation.intensity import apply_tables
from cnncli.augmentation.operation import AffineStep, Pixels, PixelStep, Step, TableStep, ViewRandom
from cnncli.augmentation.settings import AugmentationConfig, active_operations


def render(pixels: Pixels, settings: AugmentationConfig, *key: str | int) -> Pixels:
    """Return a random view of an image, the same for the same key.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        settings: The operations with their ranges; if none is active, `pixels` itself is returned.
        key: Words that identify the view, such as "view", 0, digest, 2.

    Returns:
        The view, uint8 of the same shape.
    """
    return apply(pixels, draw(settings, *key), settings)


def draw(settings: AugmentationConfig, *key: str | int) -> list[Step]:
    """Return the steps of one view, in the order of the operations."""
    random = ViewRandom(key)
    return [step for operation in active_operations(settings) for step in operation.draw(random)]


def apply(pixels: Pixels, steps: list[Step], settings: AugmentationConfig) -> Pixels:
    """Return an image after the given steps: one warp for all affine steps, then the others in order.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        steps: The steps of the view.
        settings: Only `fill_mode` and `cval` are used.
    """
    moves: list[AffineStep] = []
    others: list[TableStep | PixelStep] = []
    for step in steps:
        if isinstance(step, AffineStep):
            moves.append(step)
        else:
            others.append(step)
    pixels = warp(pixels, moves, settings.fill_mode, settings.cval)
    tables: list[TableStep] = []
    for other in others:
        if isinstance(other, TableStep):
            tables.append(other)
        else:
            pixels, tables = other.apply(apply_tables(pixels, tables)), []
    return apply_tables(pixels, tables)
