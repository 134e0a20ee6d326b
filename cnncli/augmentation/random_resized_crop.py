"""Random crop, resized to the image size (Szegedy et al. 2015; RandomResizedCrop of torchvision).

Pixels that later steps bring in from outside of the crop are those of the image; only outside of the image they are
filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnncli.augmentation.geometry import affine
from cnncli.augmentation.operation import AffineStep, Matrix, Operation, ViewRandom, area_span, span
from cnncli.augmentation.random_rect import WHOLE, Rect, draw_rect, largest_rect
from cnncli.catalogue.settings import AreaRange, Settings, ZoomRange


class RandomResizedCropConfig(Settings):
    """Random crop of the image, resized to the image size (RandomResizedCrop of torchvision)."""

    scale: AreaRange = (0.08, 1.0)
    """[lowest, highest] fraction of the image area, drawn uniformly."""
    ratio: ZoomRange = (0.75, 1.3333)
    """[lowest, highest] aspect ratio of the crop relative to the image, drawn log-uniformly; 1 is undistorted."""


class RandomResizedCrop(Operation):
    """Random crop."""

    random_resized_crop: RandomResizedCropConfig | None = None
    """Random crop, resized to the image size; {}: the ranges of torchvision."""

    def draw(self, random: ViewRandom) -> Sequence[Crop]:
        """Draw the rectangle."""
        if (crop := self.random_resized_crop) is None:
            return ()
        stream = random.stream("random_resized_crop")
        rect = draw_rect(stream, crop.scale, crop.ratio) or largest_rect(crop.ratio)
        return (Crop(rect),) if rect != WHOLE else ()

    def describe(self) -> str:
        """Describe area and aspect ratio."""
        crop = self.random_resized_crop
        return f"crop {area_span(crop.scale)} of the area, shape {span(crop.ratio)}" if crop else ""


@dataclass(frozen=True)
class Crop(AffineStep):
    """Crop that is enlarged to the size of the image.

    Attributes:
        rect: The part of the image that is kept.
    """

    rect: Rect

    def matrix(self, height: int, width: int) -> Matrix:
        """Return the matrix that maps edges to edges, which are half a pixel off the centers."""
        rect = self.rect
        return affine(
            (rect.width, 0.0, rect.left * width + (rect.width - 1.0) / 2),
            (0.0, rect.height, rect.top * height + (rect.height - 1.0) / 2),
        )
