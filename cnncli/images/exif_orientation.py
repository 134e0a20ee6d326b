"""EXIF orientation: how the pixels of a file are turned before anyone should see them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ExifTags, Image

Transpose = Image.Transpose

MOST_EXIF_BYTES = 2_000_000
"""A camera writes 65,000 at most. Pillow makes an object of every number in a value."""

_EXIF_NAMES = ("exif", "Raw profile type exif")


@dataclass(frozen=True)
class Orientation:
    """A turn of an image: first the axes change places, then each may be mirrored."""

    method: Transpose | None
    swaps_axes: bool
    mirrors_x: bool
    mirrors_y: bool

    def turned(self, image: Image.Image) -> Image.Image:
        """The image as it should be seen."""
        return image if self.method is None else image.transpose(self.method)

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the turn."""
        return size[::-1] if self.swaps_axes else size

    def box(self, width: float, height: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Where the corner [0, width] × [0, height] of an image of that size lies after the turn."""
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
    """The turn an image's EXIF or XMP data asks for; upright where they ask for none, are damaged or of
    more than `MOST_EXIF_BYTES`.

    Ask after `load` for all formats but JPEG: a PNG may say it behind its pixels, and Pillow turns a TIFF by itself
    while it loads, after which there is nothing left to do.
    """
    try:
        if any(len(image.info.get(name, "")) > MOST_EXIF_BYTES for name in _EXIF_NAMES):
            return UPRIGHT
        value = image.getexif().get(ExifTags.Base.Orientation)
        return _ORIENTATIONS.get(value, UPRIGHT)  # type: ignore[arg-type]
    except Exception:  # the pixels are fine whatever a camera or an editor wrote beside them
        return UPRIGHT
