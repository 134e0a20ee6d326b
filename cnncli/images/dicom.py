"""DICOM images: values become gray by the window of the file or of the settings, as in PS3.3 C.11.2 of the standard.

Stored values are rescaled (for CT to Hounsfield units), windowed to 0–255, and inverted if their photometric
interpretation is MONOCHROME1. Of several frames, the first is used. Nothing is decoded before its size is known.
"""

from __future__ import annotations

import io
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from cnncli.errors import ImageError, Message
from cnncli.images.limits import BinaryFile, too_costly, too_large, unpacked_bytes

if TYPE_CHECKING:
    from pydicom import Dataset

Window = tuple[float, float]
"""Center and width, in units after rescaling."""

WHITE = 255
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_RLE = "1.2.840.10008.1.2.5"
_BY_PILLOW = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.90": "JPEG2000",
    "1.2.840.10008.1.2.4.91": "JPEG2000",
}
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_GRAY_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
_META_BYTES = 100_000
"""Maximum size of the preamble and the file meta information, in bytes."""
_MAX_TAG_BYTES = 65_536
"""Size of a value above which it is read only when it is needed; none of those below is."""


class DicomImageFile(ImageFile.ImageFile):
    """Reader of DICOM in the form of Pillow's: the header when it is opened, the pixels when they are loaded.

    Attributes:
        window: Window to use in place of that in the file, which can be set before the pixels are loaded.
    """

    format = "DICOM"
    format_description = "DICOM image"
    window: Window | None = None

    def _open(self) -> None:
        from pydicom import dcmread

        file: BinaryFile = self.fp  # type: ignore[assignment] # Pillow's name for any file
        _require_readable_syntax(file)
        self._dataset = dcmread(file, defer_size=_MAX_TAG_BYTES, stop_before_pixels=True)
        _lift_functional_groups(self._dataset)
        self._pixels_at = file.tell()
        if "Rows" not in self._dataset or "Columns" not in self._dataset:
            raise ImageError("", Message("image-without-pixels", "is a DICOM file without an image, or truncated"))
        self._size = (int(self._dataset.Columns), int(self._dataset.Rows))
        self._mode = _mode_of(self._dataset)
        self._is_decoded = False

    def load(self) -> Any:
        """Decode the first frame."""
        if not self._is_decoded:
            values = _first_frame(self.fp, self._dataset, self._pixels_at)  # type: ignore[arg-type] # see above
            pixels = values if self.mode == "RGB" else to_gray(values, self._dataset, self.window)
            self.im, self._is_decoded = Image.fromarray(pixels).im, True
        return Image.Image.load(self)


def to_gray(values: NDArray[Any], dataset: Dataset, window: Window | None = None) -> NDArray[np.uint8]:
    """Return stored values as gray, 0-255: rescaled, then windowed by PS3.3 C.11.2.1.2 or .3, then perhaps inverted.

    Without a window, neither given nor in the file, all values that the file could store are shown.
    """
    from pydicom.pixels import apply_modality_lut

    rescaled = np.asarray(apply_modality_lut(values, dataset), np.float64)
    function = str(dataset.get("VOILUTFunction", None) or "LINEAR").upper()
    if window is None:
        window = _stated_window(dataset)
    if window is None:
        ends = np.asarray(apply_modality_lut(_extreme_values(dataset), dataset), np.float64)
        window, function = (float(ends.mean()), float(np.ptp(ends)) or 1.0), "LINEAR_EXACT"
    center, width = window
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            gray = WHITE / (1 + np.exp(-4 * (rescaled - center) / width))
    elif function == "LINEAR_EXACT" or width <= 1:
        gray = ((rescaled - center) / width + 0.5) * WHITE
    else:
        gray = ((rescaled - (center - 0.5)) / (width - 1) + 0.5) * WHITE
    levels: NDArray[np.uint8] = np.rint(np.nan_to_num(gray, nan=0.0).clip(0, WHITE)).astype(np.uint8)
    return WHITE - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def _lift_functional_groups(dataset: Dataset) -> None:
    """Copy how the values of an enhanced image become gray to where other images say it.

    Enhanced CT, MR and others have it in functional groups, of all frames or of each (PS3.3 C.7.6.16.2.9 and .10).
    """
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for first_frame in (dataset.get(groups) or [])[:1]:
            for macro, names in _GRAY_GROUPS.items():
                for item in (first_frame.get(macro) or [])[:1]:
                    for name in filter(item.__contains__, names):
                        setattr(dataset, name, item.get(name))


def _stated_window(dataset: Dataset) -> Window | None:
    """Return the first window of a file whose width is above 0."""
    center, width = (np.ravel(dataset.get(name, None) or []) for name in ("WindowCenter", "WindowWidth"))
    if not (len(center) and len(width) and float(width[0]) > 0):
        return None
    return float(center[0]), float(width[0])


def _extreme_values(dataset: Dataset) -> NDArray[Any]:
    bits = int(dataset.BitsStored)
    if dataset.get("PixelRepresentation", 0):
        return np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1])
    return np.array([0, 2**bits - 1])


def _mode_of(dataset: Dataset) -> str:
    """Return L or RGB, or raise ImageError for values without a defined meaning here."""
    photometric = str(dataset.get("PhotometricInterpretation", None))
    bits = (int(dataset.BitsAllocated), int(dataset.BitsStored))
    if photometric in _GRAY and int(dataset.SamplesPerPixel) == 1 and bits[0] in (1, 8, 16, 32) and bits[1] <= bits[0]:
        return "L"
    if photometric in _COLORS and int(dataset.SamplesPerPixel) == 3 and bits == (8, 8):
        return "RGB"
    text = f"is a DICOM image of {photometric} with {bits[1]} bits; save it as MONOCHROME2, or as RGB with 8 bits"
    raise ImageError("", Message("image-mode", text, received=photometric))


def _require_readable_syntax(file: BinaryFile) -> None:
    """Raise ImageError unless the transfer syntax is one that is read here, and rewind the file.

    This comes before `dcmread`, which inflates a deflated file to any size. The file meta information is read by
    pydicom too, so that both find the same transfer syntax, wherever it is.
    """
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import UID

    def is_after_meta(tag: int, _: str | None, length: int) -> bool:
        if tag >> 16 != 2:
            return True
        if file.tell() + length > _META_BYTES:  # a length of 2³² - 1 is one that is not stated
            raise ValueError(f"file meta information of more than {_META_BYTES:,} bytes")
        return False

    file.seek(0)
    read_preamble(file, force=False)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_after_meta)
    if (syntax := meta.get("TransferSyntaxUID")) is None:
        raise ValueError("its transfer syntax is missing")
    if syntax not in (*_NATIVE, _RLE, *_BY_PILLOW):
        raise ImageError("", _compression(UID(str(syntax)).name))
    file.seek(0)


def _compression(name: str) -> Message:
    text = f"is compressed with {name}; save it uncompressed, or as JPEG 2000 or RLE"
    return Message("image-compression", text, received=name)


def _first_frame(file: BinaryFile, dataset: Dataset, start: int) -> NDArray[Any]:
    """Return the values of the first frame, whose element starts at a place of the file; colors are RGB."""
    from pydicom.pixels import pixel_array

    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in _NATIVE:
        _require_bounded(file, dataset, syntax)
    elif file.seek(0, os.SEEK_END) - start < _frame_bytes(dataset):
        raise EOFError
    file.seek(0)
    plugin = "" if syntax in _NATIVE else "pydicom" if syntax == _RLE else "pillow"
    return np.asarray(pixel_array(file, index=0, decoding_plugin=plugin))


def _frame_bytes(dataset: Dataset) -> int:
    # Two pixels share their colors in YBR_FULL_422 (PS3.3 C.7.6.3.1.2).
    per_pixel = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
    values = int(dataset.Rows) * int(dataset.Columns) * per_pixel
    return -(-values * int(dataset.BitsAllocated) // 8)


def _require_bounded(file: BinaryFile, dataset: Dataset, syntax: str) -> None:
    """Raise ImageError if the compressed frame is larger than the header says, or costs far more to decode."""
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    from cnncli.images.readers import read_header

    file.seek(0)
    frame = get_frame(dcmread(file).PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames", None) or 1))
    pixels = int(dataset.Rows) * int(dataset.Columns)
    if syntax == _RLE:
        if _largest_segment(frame, pixels) > pixels:
            raise ValueError("a segment expands to more than the image")
        return
    image = read_header(io.BytesIO(frame), _BY_PILLOW[syntax])
    if image.size != (int(dataset.Columns), int(dataset.Rows)):
        raise ValueError(f"{image.width} × {image.height} compressed pixels, its header describes another number")
    if refusal := too_large(pixels, size=image.size) or too_costly(image, io.BytesIO(frame)):
        raise ImageError("", refusal)


def _largest_segment(frame: bytes, limit: int) -> int:
    """Return the size of the largest segment of a run-length encoded frame, counted to a little above the limit."""
    header = np.frombuffer(frame[:64], "<u4")
    offsets = [*header[1 : 1 + min(int(header[0]), 15)].tolist(), len(frame)]
    return max((unpacked_bytes(frame[start:end], limit) for start, end in pairwise(offsets)), default=0)
