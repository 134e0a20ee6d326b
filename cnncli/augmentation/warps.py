"""Warps that are not affine: lens distortion and elastic deformation.

Each interpolates the pixels once more, after the affine warp. Pixels from outside the image are those at its border.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from cnncli.augmentation.operation import Key, Operation, Pixels, PixelStep, ViewRandom
from cnncli.catalogue.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Field2D = NDArray[np.float32]

_MOST_CHANNELS = 4  # of one call of OpenCV's remap


class LensDistortion(Operation):
    """Radial distortion of a lens."""

    lens_distortion: float = Field(default=0.0, ge=0.0, le=0.3)
    """Maximum radial distortion k, in both directions: r becomes r · (1 + k · r²), where r is 1 in the corners. Above 0
    is a barrel, below 0 a pincushion."""
    description = "lens distortion ±{lens_distortion:g}"

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw the distortion."""
        k = self.lens_distortion * (2.0 * random.stream("lens_distortion").random() - 1.0)
        return (partial(distort, k=k),)


class ElasticWarpConfig(Settings):
    """Elastic deformation by smoothed random shifts (Simard, Steinkraus and Platt 2003, for handwritten digits)."""

    alpha: float = Field(default=34.0, gt=0.0)
    """Size of the shifts in pixels before they are smoothed."""
    sigma: float = Field(default=4.0, gt=0.0, le=100.0)
    """Standard deviation in pixels of the Gaussian that smooths them."""


class ElasticWarp(Operation):
    """Elastic deformation."""

    elastic_warp: ElasticWarpConfig | None = None
    """Elastic deformation; {}: alpha 34 and sigma 4, which suit digits of 28 × 28 pixels."""

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw the field of shifts."""
        if (warp := self.elastic_warp) is None:
            return ()
        return (partial(deform, alpha=warp.alpha, sigma=warp.sigma, key=("elastic_warp", *random.key)),)

    def describe(self) -> str:
        """Describe alpha and sigma."""
        warp = self.elastic_warp
        return f"elastic warp {warp.alpha:g} px, smoothed by {warp.sigma:g} px" if warp else ""


def distort(pixels: Pixels, k: float) -> Pixels:
    """Distort an image radially about its center; k > 0 is a barrel, k < 0 a pincushion."""
    x, y = _grid(pixels)
    center_x, center_y = (pixels.shape[1] - 1) / 2, (pixels.shape[0] - 1) / 2
    squares = (x - center_x) ** 2 + (y - center_y) ** 2
    factors = 1.0 + k * squares / max(center_x**2 + center_y**2, 1.0)
    return _sample(pixels, center_x + factors * (x - center_x), center_y + factors * (y - center_y))


def deform(pixels: Pixels, alpha: float, sigma: float, key: Key) -> Pixels:
    """Shift every pixel by a smooth random field: uniform in ±alpha pixels, smoothed by a Gaussian of sigma pixels."""
    import cv2
    import numpy as np

    from cnncli.runtime.random_keys import generator

    x, y = _grid(pixels)
    noise = generator(*key).uniform(-alpha, alpha, (2, *x.shape)).astype(np.float32)
    shifts = [cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for part in noise]
    return _sample(pixels, x + shifts[0], y + shifts[1])


def _grid(pixels: Pixels) -> tuple[Field2D, Field2D]:
    """Return the column and the row of each pixel, float32 (height, width)."""
    import numpy as np

    places = np.indices(pixels.shape[:2], dtype=np.float32)
    return places[1], places[0]


def _sample(pixels: Pixels, x: Field2D, y: Field2D) -> Pixels:
    """Return the bilinearly interpolated pixels at positions of the image; outside, those at its border."""
    import cv2
    import numpy as np

    x, y = x.astype(np.float32), y.astype(np.float32)
    parts = [pixels[..., k : k + _MOST_CHANNELS] for k in range(0, pixels.shape[-1], _MOST_CHANNELS)]
    sampled = [
        cv2.remap(np.ascontiguousarray(part), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in parts
    ]
    return np.concatenate([one.reshape(part.shape) for one, part in zip(sampled, parts, strict=True)], axis=-1)
