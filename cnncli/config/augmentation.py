"""The settings of `augmentation`: what is done at random to training pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnncli.config.settings import Fraction, Range, Seed, Settings, ZoomRange


class AugmentationConfig(Settings):
    """Random renderings of training pictures; names and units of Keras's ImageDataGenerator."""

    rotation_range: float = Field(default=0.0, ge=0.0, le=180.0)
    """Degrees: uniform in ± this."""
    width_shift_range: Fraction = 0.0
    """Fraction of the width: uniform in ± this."""
    height_shift_range: Fraction = 0.0
    """Fraction of the height: uniform in ± this."""
    shear_range: float = Field(default=0.0, ge=0.0, lt=90.0)
    """Degrees, as in Keras: uniform in ± this (0.2 is almost nothing)."""
    zoom_range: Annotated[float, Field(ge=0.0, lt=1.0)] | ZoomRange = 0.0
    """Fraction z: each axis scaled by a factor in [1 − z, 1 + z]; or [lowest, highest]."""
    horizontal_flip: bool = False
    """Mirror left and right, every second time."""
    vertical_flip: bool = False
    """Mirror top and bottom, every second time."""
    brightness_range: Range | None = None
    """[lowest, highest] factor of the brightness; 1 changes nothing."""
    contrast_range: Range | None = None
    """[lowest, highest] factor of the contrast about the picture's mean; 1 changes nothing."""
    fill_mode: Literal["nearest", "reflect", "wrap", "constant"] = "nearest"
    """What is seen beyond the picture's edge."""
    cval: int = Field(default=0, ge=0, le=255)
    """Grey value of fill_mode: constant."""
    views: Annotated[int, Field(ge=1)] | Literal["fresh"] | None = None
    """K stored renderings of each training picture (the picture itself is the first), or fresh ones every epoch;
    default: 4, or fresh where no layer is frozen."""
    seed: Seed = 0
    """Of the stored renderings; runs with the same seed share them."""

    @property
    def is_active(self) -> bool:
        """Whether any operation is switched on."""
        plain = AugmentationConfig()
        ignored = {"fill_mode", "cval", "views", "seed"}
        return any(
            getattr(self, name) != getattr(plain, name) for name in type(self).model_fields if name not in ignored
        )
