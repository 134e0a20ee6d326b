"""Settings of `augmentation`: random changes to single training images, and mixing of images in a batch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnncli.catalogue.settings import AreaRange, Fraction, Range, Seed, Settings, ZoomRange


class RandomResizedCropConfig(Settings):
    """Random crop of the image, resized to the image size (RandomResizedCrop of torchvision)."""

    scale: AreaRange = (0.08, 1.0)
    """[lowest, highest] fraction of the image area, drawn uniformly."""
    ratio: ZoomRange = (0.75, 1.3333)
    """[lowest, highest] aspect ratio of the crop relative to the image, drawn log-uniformly; 1 is undistorted."""


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


class RandAugmentConfig(Settings):
    """RandAugment: a few of 14 operations, drawn with replacement, with the same strength (Cubuk et al. 2019)."""

    num_ops: int = Field(default=2, ge=1)
    """Number of operations per view; one of the 14 is the identity."""
    magnitude: float = Field(default=9.0, ge=0.0, le=10.0)
    """Strength on the scale of the paper: 10 is ±30°, shear ±0.3, shift ±45 %, factors 1 ± 0.9, posterize to 4 bits.
    (torchvision counts to 30: its 9 is 3 here.)"""


class AugmentationConfig(Settings):
    """Random changes to training images, with the names and units of the ImageDataGenerator of Keras."""

    rotation_range: float = Field(default=0.0, ge=0.0, le=180.0)
    """Maximum rotation in degrees, in both directions."""
    width_shift_range: Fraction = 0.0
    """Maximum horizontal shift as a fraction of the width, in both directions."""
    height_shift_range: Fraction = 0.0
    """Maximum vertical shift as a fraction of the height, in both directions."""
    shear_range: float = Field(default=0.0, ge=0.0, lt=90.0)
    """Maximum shear in degrees, in both directions, as in Keras (0.2 is almost nothing)."""
    zoom_range: Annotated[float, Field(ge=0.0, lt=1.0)] | ZoomRange = 0.0
    """Zoom of each axis: a fraction z for factors in [1 − z, 1 + z], or [lowest, highest] factor."""
    horizontal_flip: bool = False
    """Flip left and right with a probability of 0.5."""
    vertical_flip: bool = False
    """Flip top and bottom with a probability of 0.5."""
    random_resized_crop: RandomResizedCropConfig | None = None
    """Random crop, resized to the image size; {}: the ranges of torchvision."""
    brightness_range: Range | None = None
    """[lowest, highest] brightness factor; 1 is unchanged."""
    contrast_range: Range | None = None
    """[lowest, highest] contrast factor about the mean of the image; 1 is unchanged."""
    saturation_range: Range | None = None
    """[lowest, highest] saturation factor; 0 is gray, 1 is unchanged."""
    hue_range: float = Field(default=0.0, ge=0.0, le=0.5)
    """Maximum hue shift as a fraction of the color circle, in both directions; 0.5 reaches every hue."""
    channel_shift_range: float = Field(default=0.0, ge=0.0, le=255.0)
    """Maximum value added to each channel, in both directions, drawn per channel."""
    noise_stddev: float = Field(default=0.0, ge=0.0, le=255.0)
    """Standard deviation of Gaussian noise on every channel of every pixel, in intensity levels (0–255)."""
    random_erasing: RandomErasingConfig | None = None
    """Erase a random rectangle; {}: with a probability of 0.5, filled with noise."""
    rand_augment: RandAugmentConfig | None = None
    """RandAugment, after the operations above and before noise and erasing; {}: 2 operations of magnitude 9."""
    fill_mode: Literal["nearest", "reflect", "wrap", "constant"] = "nearest"
    """How pixels outside of the image are filled."""
    cval: int = Field(default=0, ge=0, le=255)
    """Intensity of the fill with fill_mode: constant."""
    views: Annotated[int, Field(ge=1)] | Literal["fresh"] | None = None
    """Number of cached views of each training image (the first is the image itself), or fresh: new views every epoch;
    default: 2, or fresh if no layer is frozen."""
    seed: Seed = 0
    """Random seed of the cached views; runs with the same seed share them."""
    mixup: float = Field(default=0.0, ge=0.0)
    """MixUp: alpha of the Beta(alpha, alpha) distribution of proportions; 0: off. A frozen trunk mixes features."""
    cutmix: float = Field(default=0.0, ge=0.0)
    """CutMix: alpha, as for mixup; only if no layer is frozen. With both, each batch uses one of the two."""

    @property
    def is_active(self) -> bool:
        """Whether any operation on single images is switched on, so that a view differs from its image."""
        plain = AugmentationConfig()
        return any(
            getattr(self, name) != getattr(plain, name) for name in type(self).model_fields if name not in NO_OPERATIONS
        )

    @property
    def mixes(self) -> bool:
        """Whether images are mixed in training; mixing is not part of a view."""
        return self.mixup > 0 or self.cutmix > 0


NO_OPERATIONS = frozenset({"fill_mode", "cval", "views", "seed", "mixup", "cutmix"})
"""Settings that do not change an image on their own."""
