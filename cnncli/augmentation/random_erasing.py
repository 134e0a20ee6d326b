"""Random erasing: a rectangle is painted over (Zhong et al. 2017, arXiv 1708.04896)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cnncli.augmentation.operation import Key, Operation, Pixels, PixelStep, ViewRandom, area_span
from cnncli.augmentation.random_rect import Rect, draw_rect
from cnncli.catalogue.settings import AreaRange, Fraction, Settings, ZoomRange


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

    def draw(self, random: ViewRandom) -> Sequence[Erase]:
        """Draw whether to erase, and the rectangle."""
        if (erasing := self.random_erasing) is None:
            return ()
        stream = random.stream("random_erasing")
        is_erased = stream.random() < erasing.probability
        rect = draw_rect(stream, erasing.scale, erasing.ratio)
        return (Erase(rect, erasing.value, ("erased", *random.key)),) if is_erased and rect else ()

    def describe(self) -> str:
        """Describe area and probability."""
        erasing = self.random_erasing
        if erasing is None:
            return ""
        return f"erasing {area_span(erasing.scale)} of the area, {100 * erasing.probability:g} % of the time"


@dataclass(frozen=True)
class Erase(PixelStep):
    """Rectangle that is painted over.

    Attributes:
        rect: The rectangle.
        value: Intensity, or a random one for every value of every pixel.
        key: Key of the random values.
    """

    rect: Rect
    value: int | Literal["random"]
    key: Key = ()

    def apply(self, pixels: Pixels) -> Pixels:
        """Return a copy with the rectangle painted over."""
        from cnncli.runtime.random_keys import generator

        erased, rect = pixels.copy(), self.rect
        rows, columns = _range(rect.top, rect.height, pixels.shape[0]), _range(rect.left, rect.width, pixels.shape[1])
        painted = erased[rows, columns]
        if self.value == "random":
            painted[...] = generator(*self.key).integers(0, 256, painted.shape, dtype=pixels.dtype)
        else:
            painted[...] = self.value
        return erased


def _range(start: float, length: float, pixels: int) -> slice:
    """Convert fractions to a range of at least one pixel."""
    first = min(round(start * pixels), pixels - 1)
    return slice(first, max(first + 1, round((start + length) * pixels)))
