"""Draw tiny images, and folders of them, for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth colors with asymmetric brightness, so that tests detect any rotation or swap of channels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    bands = [Image.fromarray(coarse[..., k]).resize((width, height), Image.Resampling.BICUBIC) for k in range(channels)]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


def drawn_image(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    """Return an RGB image."""
    return Image.fromarray(pixels(height, width, 3, seed))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image encoded as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    """Return an image encoded as HEIC."""
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **options)
    return file.getvalue()


def dicom(values: NDArray[Any], syntax: str = "1.2.840.10008.1.2.1", **elements: Any) -> bytes:
    """Return values (height, width), (frames, height, width) or (height, width, 3) as DICOM.

    Args:
        values: Unsigned or signed integers of 8 or 16 bits.
        syntax: Transfer syntax; another than the default compresses the values.
        elements: Elements of the dataset by keyword, which replace those that follow from the values.
    """
    import pydicom

    is_color = values.ndim == 3 and values.shape[-1] == 3
    bits = values.dtype.itemsize * 8
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[:2] if is_color else values.shape[-2:]
    dataset.SamplesPerPixel = 3 if is_color else 1
    dataset.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
    if is_color:
        dataset.PlanarConfiguration = 0
    elif values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    if syntax not in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        if syntax == "1.2.840.10008.1.2.5":
            dataset.compress(syntax)
        else:  # the frames are compressed already
            dataset.PixelData = pydicom.encaps.encapsulate([elements["PixelData"]])
            dataset["PixelData"].VR = "OB"
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def jpeg(seed: int = 0, height: int = 24, width: int = 32) -> bytes:
    """Return a JPEG that differs for every seed."""
    return encoded(drawn_image(height, width, seed), "JPEG", quality=90)


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files to their paths below a folder, and return the folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_classes(root: Path, counts: Mapping[str, int], first_seed: int = 0) -> Path:
    """Write class folders with the given numbers of distinct JPEGs, and return the root."""
    seed = first_seed
    for label, n in counts.items():
        for k in range(n):
            write_tree(root, {f"{label}/{label.replace('/', '-')}.{k}.jpg": jpeg(seed, 12, 16)})
            seed += 1
    return root
