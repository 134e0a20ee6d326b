"""Operations on a random rectangle: a crop that is resized to the image, and an area that is erased.

Random crops follow Szegedy et al. 2015, random erasing Zhong et al. 2017 (arXiv 1708.04896), both as in torchvision.
Later steps can bring in pixels from outside the crop; only pixels from outside the image are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from cnncli.augmentation.geometry import affine
from cnncli.augmentation.operation import AffineStep, Key, Matrix, Operation, Pixels, PixelStep, ViewRandom, span
from cnncli.catalogue.settings import AreaRange, Fraction, Settings, ZoomRange

if TYPE_CHECKING:
    import numpy as np

ATTEMPTS = 10
"""As in torchvision: a long rectangle with a large area does not fit, and another one is drawn."""


@dataclass(frozen=True)
class Rect:
    """Rectangle in fractions of the width and height of the image; the default is the whole image."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


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

    def draw(self, random: ViewRandom) -> Sequence[AffineStep]:
        """Draw the rectangle."""
        if (ranges := self.random_resized_crop) is None:
            return ()
        stream = random.stream("random_resized_crop")
        rect = draw_rect(stream, ranges.scale, ranges.ratio) or largest_rect(ranges.ratio)
        return (AffineStep(partial(crop, rect=rect)),) if rect != Rect() else ()

    def describe(self) -> str:
        """Describe area and aspect ratio."""
        ranges = self.random_resized_crop
        return f"crop {_area(ranges.scale)}, shape {span(ranges.ratio)}" if ranges else ""


class RandomErasingConfig(Settings):
    """Erase a random rectangle, after all other operations (Zhong et al. 2017; RandomErasing of torchvision)."""

    probability: Fraction = 0.5
    """Probability that a view has an erased rectangle."""
    scale: AreaRange = (0.02, 0.33)
    """[lowest, highest] fraction of the image area, drawn uniformly."""
    ratio: ZoomRange = (0.3, 3.3)
    """[lowest, highest] aspect ratio of the rectangle relative to the image, drawn log-uniformly."""
    value: Annotated[int, Field(ge=0, le=255)] | Literal["random"] = "random"
    """Intensity of the rectangle, or random: noise in every channel of every pixel."""


class RandomErasing(Operation):
    """Random erasing."""

    random_erasing: RandomErasingConfig | None = None
    """Erase a random rectangle; {}: with a probability of 0.5, filled with noise."""

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Decide at random whether to erase, and draw the rectangle."""
        if (erasing := self.random_erasing) is None:
            return ()
        stream = random.stream("random_erasing")
        is_erased = stream.random() < erasing.probability
        rect = draw_rect(stream, erasing.scale, erasing.ratio)
        if not is_erased or rect is None:
            return ()
        return (partial(erase, rect=rect, value=erasing.value, key=("erased", *random.key)),)

    def describe(self) -> str:
        """Describe area and probability."""
        erasing = self.random_erasing
        return f"erasing {_area(erasing.scale)}, {100 * erasing.probability:g} % of the time" if erasing else ""


def crop(height: int, width: int, rect: Rect) -> Matrix:
    """Return the matrix that maps the edges of the image, half a pixel outside the centers, to those of a rectangle."""
    return affine(
        (rect.width, 0.0, rect.left * width + (rect.width - 1.0) / 2),
        (0.0, rect.height, rect.top * height + (rect.height - 1.0) / 2),
    )


def erase(pixels: Pixels, rect: Rect, value: int | Literal["random"], key: Key = ()) -> Pixels:
    """Return a copy with a rectangle filled with an intensity, or with random values of a key."""
    from cnncli.runtime.random_keys import generator

    erased = pixels.copy()
    rows, columns = _range(rect.top, rect.height, pixels.shape[0]), _range(rect.left, rect.width, pixels.shape[1])
    painted = erased[rows, columns]
    if value == "random":
        painted[...] = generator(*key).integers(0, 256, painted.shape, dtype=pixels.dtype)
    else:
        painted[...] = value
    return erased


def draw_rect(random: np.random.Generator, scale: AreaRange, ratio: ZoomRange) -> Rect | None:
    """Draw a rectangle anywhere in the image; return None if no attempt fits.

    Its fraction of the area is uniform, and its aspect ratio relative to the image log-uniform. The number of random
    numbers drawn does not depend on the number of attempts.
    """
    import numpy as np

    numbers = random.random((ATTEMPTS + 1, 2))
    areas = scale[0] + (scale[1] - scale[0]) * numbers[1:, 0]
    ratios = ratio[0] * (ratio[1] / ratio[0]) ** numbers[1:, 1]
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    (fitting,) = np.nonzero((widths <= 1.0) & (heights <= 1.0))
    if not len(fitting):
        return None
    width, height = float(widths[fitting[0]]), float(heights[fitting[0]])
    return Rect(float(numbers[0, 0]) * (1.0 - width), float(numbers[0, 1]) * (1.0 - height), width, height)


def largest_rect(ratio: ZoomRange) -> Rect:
    """Return the largest centered rectangle with an allowed aspect ratio."""
    shape = min(max(1.0, ratio[0]), ratio[1])
    width, height = min(1.0, shape), min(1.0, 1.0 / shape)
    return Rect((1.0 - width) / 2, (1.0 - height) / 2, width, height)


def _range(start: float, length: float, pixels: int) -> slice:
    """Convert fractions to a range of at least one pixel."""
    first = min(round(start * pixels), pixels - 1)
    return slice(first, max(first + 1, round((start + length) * pixels)))


def _area(scale: AreaRange) -> str:
    return f"{100 * scale[0]:.3g}–{100 * scale[1]:.3g} % of the area"
