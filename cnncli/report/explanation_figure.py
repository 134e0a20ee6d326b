"""Draw explanations over an image: heat maps, signed maps, and guided gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.images.bands import preview
from cnncli.report.figures import quiet_matplotlib

Pixels = NDArray[np.uint8]

HEAT, SIGNED = "inferno", "RdBu_r"
STRENGTH = 0.6
"""Largest opacity of a heat map."""
BLUR = 1 / 80
"""Standard deviation of the blur of maps of single pixels, as a fraction of the image."""
PERCENTILE = 99.5
"""Percentile of the absolute values of a signed map or of gradients that gets the full color."""


def overlay_heat(pixels: Pixels, heat: NDArray[Any]) -> Pixels:
    """Return an image (height, width, channels) under a heat map (height, width) in 0-1, RGB."""
    with quiet_matplotlib():
        from matplotlib import colormaps
    color = colormaps[HEAT](heat)[..., :3] * 255
    opacity = (STRENGTH * heat.clip(0, 1))[..., None]
    return _rounded(preview(pixels) * (1 - opacity) + color * opacity)


def overlay_signed(pixels: Pixels, values: NDArray[Any]) -> Pixels:
    """Return an image in gray under a signed map: red speaks for the class, blue against it."""
    with quiet_matplotlib():
        from matplotlib import colormaps
    scaled = (values / _largest(values)).clip(-1, 1)
    color = colormaps[SIGNED](0.5 + scaled / 2)[..., :3] * 255
    opacity = (STRENGTH * np.sqrt(np.abs(scaled)))[..., None]
    gray = preview(pixels).mean(axis=2, keepdims=True) * 0.7 + 60
    return _rounded(gray * (1 - opacity) + color * opacity)


def smooth(values: NDArray[Any]) -> NDArray[Any]:
    """Return a map of single pixels (height, width), blurred so that it can be seen where they are."""
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), max(values.shape) * BLUR))


def show_gradients(gradients: NDArray[Any]) -> Pixels:
    """Return gradients (height, width, channels) around gray, RGB."""
    scaled = (gradients / _largest(gradients)).clip(-1, 1)
    return preview(_rounded(127.5 + 127.5 * scaled))


def _largest(values: NDArray[Any]) -> float:
    return max(float(np.percentile(np.abs(values), PERCENTILE)), 1e-12)


def _rounded(values: NDArray[Any]) -> Pixels:
    return np.asarray(values.round().clip(0, 255), np.uint8)
