"""EXIF orientation: the rotation and mirroring of a file's pixels."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ExifTags, Image

Transpose = Image.Transpose

MOST_EXIF_BYTES = 2_000_000
"""Maximum size of EXIF data. Cameras write at most 65,000 bytes; Pillow allocates an object for every number."""

_EXIF_NAMES = ("exif", "Raw profile type exif")


@dataclass(frozen=True)
class Orientation:
    """Rotation or mirroring of an image: optionally swap the axes, then mirror either one."""

    method: Transpose | None
    swaps_axes: bool
    mirrors_x: bool
    mirrors_y: bool

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the upright image."""
        return image if self.method is None else image.transpose(self.method)

    def box(self, width: float, height: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the box of [0, width] × [0, height] of an image of `size` after applying the orientation."""
        spare_x, spare_y = size[0] - width, size[1] - height
        if self.swaps_axes:
            width, height, spare_x, spare_y = height, width, spare_y, spare_x
        left, top = spare_x if self.mirrors_x else 0.0, spare_y if self.mirrors_y else 0.0
        return (left, top, left + width, top + height)


UPRIGHT = Orientation(None, swaps_axes=False, mirrors_x=False, mirrors_y=False)
_ORIENTATIONS = {
    2: Orientation(Transpose.FLIP_LEFT_RIGHT, swaps_axes=False, mirrors_x=True, mirrors_y=False),
    3: Orientation(Transpose.ROTATE_180, swaps_axes=False, mirrors_x=True, mirrors_y=True),
    4: Orientation(Transpose.FLIP_TOP_BOTTOM, swaps_axes=False, mirrors_x=False, mirrors_y=True),
    5: Orientation(Transpose.TRANSPOSE, swaps_axes=True, mirrors_x=False, mirrors_y=False),
    6: Orientation(Transpose.ROTATE_270, swaps_axes=True, mirrors_x=True, mirrors_y=False),
    7: Orientation(Transpose.TRANSVERSE, swaps_axes=True, mirrors_x=True, mirrors_y=True),
    8: Orientation(Transpose.ROTATE_90, swaps_axes=True, mirrors_x=False, mirrors_y=True),
}


def orientation_of(image: Image.Image) -> Orientation:
    """Return the orientation in an image's EXIF or XMP data; upright if the data is missing, damaged or oversized.

    Call this after `load`, except for JPEG: a PNG can have the orientation after its pixels, and Pillow applies that of
    a TIFF while loading.
    """
    try:
        if any(len(image.info.get(name, "")) > MOST_EXIF_BYTES for name in _EXIF_NAMES):
            return UPRIGHT
        value = image.getexif().get(ExifTags.Base.Orientation)
        return _ORIENTATIONS.get(value, UPRIGHT)  # type: ignore[arg-type]
    except Exception:  # invalid metadata must not make an image unusable
        return UPRIGHT
