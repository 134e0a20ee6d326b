"""Settings of `augmentation`: those of all operations in `OPERATIONS`, and those that concern all of them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, create_model

from cnncli.augmentation.color import Brightness, ChannelShift, Contrast, Hue, PcaJitter, Saturation
from cnncli.augmentation.geometry import FillMode, Flip, Rotation, Shear, Shift, Zoom
from cnncli.augmentation.noise import Noise
from cnncli.augmentation.operation import Operation
from cnncli.augmentation.rand_augment import RandAugment
from cnncli.augmentation.random_rect import RandomErasing, RandomResizedCrop
from cnncli.augmentation.warps import ElasticWarp, LensDistortion
from cnncli.catalogue.settings import Seed, Settings
from cnncli.errors import Message

OPERATIONS: tuple[type[Operation], ...] = (
    RandomResizedCrop,
    Rotation,
    Shift,
    Shear,
    Zoom,
    Flip,
    LensDistortion,
    ElasticWarp,
    Contrast,
    ChannelShift,
    Brightness,
    Saturation,
    Hue,
    PcaJitter,
    RandAugment,
    Noise,
    RandomErasing,
)
"""All operations, in the order in which they are applied; affine steps are applied first, as one warp."""


def _with_operations(group: type[AugmentationConfig]) -> type[AugmentationConfig]:
    """Insert the settings of all operations before a group's own."""
    fields = {name: field for operation in OPERATIONS for name, field in operation.model_fields.items()}
    first = create_model("Operations", __base__=Settings, **{n: (f.annotation, f) for n, f in fields.items()})  # type: ignore[call-overload] # pydantic's stubs know no computed fields
    return create_model(group.__name__, __base__=(group, first), __module__=__name__, __doc__=group.__doc__)


@_with_operations
class AugmentationConfig(Settings):
    """Random changes to training images, with the names and units of Keras's ImageDataGenerator."""

    fill_mode: FillMode = "nearest"
    """Filling of pixels outside of the image."""
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

    if TYPE_CHECKING:  # the settings of operations are added by the decorator, which type checkers do not see

        def __init__(self, **settings: object) -> None: ...

    @classmethod
    def docs(cls) -> dict[str, str]:
        """Return the docstrings below the fields, also of the operations, by name."""
        return {name: doc for group in OPERATIONS for name, doc in group.docs().items()} | super().docs()

    @property
    def is_active(self) -> bool:
        """Whether any operation is active, so that views differ from the image."""
        return bool(active_operations(self))

    @property
    def mixes(self) -> bool:
        """Whether training mixes images; mixing is not part of a view."""
        return self.mixup > 0 or self.cutmix > 0


@lru_cache(maxsize=64)
def active_operations(settings: AugmentationConfig) -> tuple[Operation, ...]:
    """Return the enabled operations in the order of `OPERATIONS`."""
    operations = (
        operation.model_construct(**{name: getattr(settings, name) for name in operation.model_fields})
        for operation in OPERATIONS
    )
    return tuple(operation for operation in operations if operation.is_active)


def describe(settings: AugmentationConfig) -> tuple[str, ...]:
    """Describe the active operations and the fill, each in a few words.

    >>> " · ".join(describe(AugmentationConfig(rotation_range=40.0, zoom_range=0.2, horizontal_flip=True)))
    'rotation ±40° · zoom 0.8–1.2 · horizontal flip · fill nearest'
    """
    fill = f"fill {settings.fill_mode}" + (f" {settings.cval}" if settings.fill_mode == "constant" else "")
    return (*filter(None, (operation.describe() for operation in active_operations(settings))), fill)


def augmentation_notes(settings: AugmentationConfig) -> tuple[Message, ...]:
    """Return warnings about settings that are probably unintended."""
    operations = active_operations(settings)
    notes = [note for operation in operations for note in operation.notes()]
    if {RandomResizedCrop, Zoom} <= {type(operation) for operation in operations if operation.describe()}:
        text = "augmentation: random_resized_crop and zoom_range both scale the image; their factors are multiplied."
        notes.append(Message("augmentation-scales-twice", text))
    if operations and settings.views == 1:
        text = "augmentation.views: 1 is the image itself, so no operation has an effect; use 2 or more, or fresh."
        notes.append(Message("augmentation-without-views", text, key="augmentation.views", received=1))
    return tuple(notes)
