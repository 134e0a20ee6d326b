"""Names of image files, recognized by their suffix."""

from __future__ import annotations

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
"""Suffixes of image files. A file with such a suffix that is not an image is an error and not skipped."""

HEIC_SUFFIXES, DICOM_SUFFIXES = (".heic", ".heif", ".hif"), (".dcm", ".dicom")
"""Suffixes of formats whose readers are not installed with cnncli."""


def is_image_name(name: str) -> bool:
    """Return whether the suffix of a file name is that of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)
