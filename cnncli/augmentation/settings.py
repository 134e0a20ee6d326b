"""The settings of `augmentation`: what is done at random to training images, one by one and mixed in a batch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnncli.catalogue.settings import AreaRange, Fraction, Range, Seed, Settings, ZoomRange


class RandomResizedCropConfig(Settings):
    """A random part of the image, enlarged to the whole size (torchvision's RandomResizedCrop)."""

    scale: AreaRange = (0.08, 1.0)
    """[lowest, highest] share of the image's area: uniform."""
    ratio: ZoomRange = (0.75, 1.3333)
    """[lowest, highest] width to height of the part, relative to the image's: uniform in the logarithm; 1 distorts
    nothing."""


class RandomErasingConfig(Settings):
    """A random rectangle painted over, after everything else (Zhong et al. 2017, torchvision's RandomErasing)."""

    probability: Fraction = 0.5
    """Share of the renderings that have one."""
    scale: AreaRange = (0.02, 0.33)
    """[lowest, highest] share of the image's area: uniform."""
    ratio: ZoomRange = (0.3, 3.3)
    """[lowest, highest] width to height of the rectangle, relative to the image's: uniform in the logarithm."""
    value: Annotated[int, Field(ge=0, le=255)] | Literal["random"] = "random"
    """Gray value of the rectangle, or a random one for every value of every pixel."""


class RandAugmentConfig(Settings):
    """A few of RandAugment's 14 operations, drawn with replacement, all of one strength (Cubuk et al. 2019)."""

    num_ops: int = Field(default=2, ge=1)
    """How many operations each rendering draws, the identity among them."""
    magnitude: float = Field(default=9.0, ge=0.0, le=10.0)
    """Strength on the paper's scale: 10 is ±30°, shear ±0.3, shift ±45 %, factors 1 ± 0.9, posterize to 4 bits.
    (torchvision counts to 30: its 9 is 3 here.)"""


class AugmentationConfig(Settings):
    """Random renderings of training images, with names and units of Keras's ImageDataGenerator; mixed batches."""

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
    random_resized_crop: RandomResizedCropConfig | None = None
    """A random part of the image, enlarged to the whole size; {}: torchvision's ranges."""
    brightness_range: Range | None = None
    """[lowest, highest] factor of the brightness; 1 changes nothing."""
    contrast_range: Range | None = None
    """[lowest, highest] factor of the contrast about the image's mean; 1 changes nothing."""
    saturation_range: Range | None = None
    """[lowest, highest] factor of the saturation; 0 is gray, 1 changes nothing."""
    hue_range: float = Field(default=0.0, ge=0.0, le=0.5)
    """Fraction of the color circle: uniform in ± this; 0.5 reaches every hue."""
    channel_shift_range: float = Field(default=0.0, ge=0.0, le=255.0)
    """Gray levels added to each channel, one number a channel: uniform in ± this."""
    noise_stddev: float = Field(default=0.0, ge=0.0, le=255.0)
    """Gray levels: standard deviation of Gaussian noise on every value of every pixel."""
    random_erasing: RandomErasingConfig | None = None
    """A random rectangle painted over; {}: every second time, with noise."""
    rand_augment: RandAugmentConfig | None = None
    """RandAugment, after the operations above and before noise and erasing; {}: two operations of magnitude 9."""
    fill_mode: Literal["nearest", "reflect", "wrap", "constant"] = "nearest"
    """What is seen beyond the image's edge."""
    cval: int = Field(default=0, ge=0, le=255)
    """Gray value of fill_mode: constant."""
    views: Annotated[int, Field(ge=1)] | Literal["fresh"] | None = None
    """K stored renderings of each training image (the image itself is the first), or fresh ones every epoch;
    default: 2, or fresh where no layer is frozen."""
    seed: Seed = 0
    """Of the stored renderings; runs with the same seed share them."""
    mixup: float = Field(default=0.0, ge=0.0)
    """MixUp: alpha of Beta(alpha, alpha), which shares are drawn from; 0: off. On a frozen trunk it mixes features."""
    cutmix: float = Field(default=0.0, ge=0.0)
    """CutMix: alpha, as above; only where no layer is frozen. With mixup too, each batch takes one of the two."""

    @property
    def is_active(self) -> bool:
        """Whether any operation on single images is switched on, so that a rendering differs from its image."""
        plain = AugmentationConfig()
        return any(
            getattr(self, name) != getattr(plain, name) for name in type(self).model_fields if name not in NO_OPERATIONS
        )

    @property
    def mixes(self) -> bool:
        """Whether images are mixed in training: no part of a rendering."""
        return self.mixup > 0 or self.cutmix > 0


NO_OPERATIONS = frozenset({"fill_mode", "cval", "views", "seed", "mixup", "cutmix"})
"""Settings that change no image by themselves."""
