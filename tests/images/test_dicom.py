"""DICOM: pixels follow the formulas of the standard, PS3.3 C.11, from files that pydicom wrote."""

from __future__ import annotations

import io
import math
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.config.reader import config_from_mapping
from cnncli.errors import ImageError
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify
from tests.images.making import dicom, drawn_image, encoded, pixels

HEIGHT, WIDTH = 24, 32
SPEC = PixelSpec(HEIGHT, WIDTH, "grayscale")
RLE, JPEG, JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"


def scan(dtype: str = "<i2", low: int = -1000, high: int = 3000, frames: int = 0) -> NDArray[Any]:
    """Return values such as those of a CT."""
    shape = (frames, HEIGHT, WIDTH) if frames else (HEIGHT, WIDTH)
    return np.random.default_rng(1).integers(low, high, shape).astype(dtype)


def gray_of(data: bytes, window: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Return the decoded pixels, (height, width)."""
    return decode(data, PixelSpec(HEIGHT, WIDTH, "grayscale", window=window))[..., 0]


def linear(x: float, center: float, width: float) -> float:
    """Return the gray of a value by C.11.2.1.2.1, as the standard writes it."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0
    if x > center - 0.5 + (width - 1) / 2:
        return 255
    return ((x - (center - 0.5)) / (width - 1) + 0.5) * 255


def linear_exact(x: float, center: float, width: float) -> float:
    """Return the gray of a value by C.11.2.1.3.2."""
    if x <= center - width / 2:
        return 0
    return 255 if x > center + width / 2 else ((x - center) / width + 0.5) * 255


def sigmoid(x: float, center: float, width: float) -> float:
    """Return the gray of a value by C.11.2.1.3.1."""
    return 255 / (1 + math.exp(-4 * (x - center) / width))


@pytest.mark.parametrize(
    ("name", "function"), [("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)]
)
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (0.5, 12.25)])
def test_gray_follows_the_formula_of_the_standard(name: str, function: Any, slope: float, intercept: float) -> None:
    """Stored values are rescaled, then windowed by the VOI LUT function of the file."""
    values = scan()
    data = dicom(
        values, WindowCenter=40, WindowWidth=400, VOILUTFunction=name, RescaleSlope=slope, RescaleIntercept=intercept
    )
    expected = [function(x, 40, 400) for x in (values.ravel() * slope + intercept).tolist()]

    assert gray_of(data).ravel().tolist() == np.rint(expected).tolist()


def test_the_default_function_agrees_with_pydicom() -> None:
    """Pydicom's own windowing gives the same gray values, up to its rounding."""
    data = dicom(scan(), WindowCenter=300, WindowWidth=1500, RescaleSlope=1, RescaleIntercept=-24)
    dataset = pydicom.dcmread(io.BytesIO(data))
    rescaled = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    windowed = pydicom.pixels.apply_windowing(rescaled, dataset)
    low, high = windowed.min(), windowed.max()

    assert np.abs(gray_of(data) - (windowed - low) / (high - low) * 255).max() <= 0.51


def test_a_window_of_the_settings_replaces_that_of_the_file() -> None:
    """`data.dicom.window` is used for every file, whatever its own window is."""
    values = scan()
    expected = np.rint([linear(x, 1000, 800) for x in values.ravel().tolist()])

    assert gray_of(dicom(values, WindowCenter=40, WindowWidth=400), (1000, 800)).ravel().tolist() == expected.tolist()
    assert gray_of(dicom(values), (1000, 800)).ravel().tolist() == expected.tolist()


def test_the_first_of_several_windows_is_used() -> None:
    """A file with several windows is shown in the first of them."""
    several = dicom(scan(), WindowCenter=[40, 500], WindowWidth=[400, 2000])

    assert np.array_equal(gray_of(several), gray_of(dicom(scan(), WindowCenter=40, WindowWidth=400)))


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"), [("u1", 8, 0, 255), ("<u2", 12, 0, 4095), ("<i2", 16, -32768, 32767)]
)
def test_without_a_window_all_values_that_the_file_can_store_are_shown(
    dtype: str, bits: int, low: int, high: int
) -> None:
    """The smallest value that the bits of the file can hold is black, the largest is white."""
    values = scan(dtype, low, high)
    expected = (values.astype(np.float64) - low) / (high - low) * 255

    assert np.abs(gray_of(dicom(values, BitsStored=bits, HighBit=bits - 1)) - expected).max() <= 0.5001


def test_monochrome1_is_inverted() -> None:
    """In MONOCHROME1 the smallest value is white."""
    plain, inverted = (
        gray_of(dicom(scan(), WindowCenter=40, WindowWidth=400, PhotometricInterpretation=name))
        for name in ("MONOCHROME2", "MONOCHROME1")
    )

    assert np.array_equal(inverted, 255 - plain)


def test_the_first_frame_is_used() -> None:
    """Of several frames, the first is decoded."""
    frames = scan(frames=3)

    assert np.array_equal(gray_of(dicom(frames), (0, 2000)), gray_of(dicom(frames[0]), (0, 2000)))


@pytest.mark.parametrize("group", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_an_enhanced_image_has_the_gray_of_a_classic_one(group: str) -> None:
    """Slope, intercept and window in functional groups are those of the first frame."""
    frames = scan(frames=3)
    facts = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}, {"WindowCenter": "40", "WindowWidth": "400"}
    classic = dicom(frames[0], **facts[0], **facts[1])
    enhanced = dicom(frames, **{group: [functional_group(*facts), functional_group({"RescaleSlope": "9"}, {})]})

    assert np.array_equal(gray_of(enhanced), gray_of(classic))
    assert np.array_equal(gray_of(enhanced, (500, 900)), gray_of(classic, (500, 900)))


def test_colors_that_two_pixels_share_are_not_taken_for_a_truncated_file() -> None:
    """An uncompressed frame in YBR_FULL_422 has two bytes per pixel."""
    gray = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    data = dicom(
        gray, PhotometricInterpretation="YBR_FULL_422", PixelData=bytes([90, 90, 128, 128]) * (HEIGHT * WIDTH // 2)
    )

    assert np.array_equal(decode(data, PixelSpec(HEIGHT, WIDTH)), np.full((HEIGHT, WIDTH, 3), 90))


def functional_group(rescale: dict[str, str], window: dict[str, str]) -> pydicom.Dataset:
    """Return the functional group of a frame with facts about its gray."""
    group = pydicom.Dataset()
    for name, facts in (("PixelValueTransformationSequence", rescale), ("FrameVOILUTSequence", window)):
        item = pydicom.Dataset()
        for keyword, value in facts.items():
            setattr(item, keyword, value)
        setattr(group, name, [item])
    return group


def test_colors_are_rgb_also_from_ybr() -> None:
    """RGB is exact; YBR_FULL becomes RGB as Pillow converts YCbCr."""
    colors = pixels(HEIGHT, WIDTH)
    ybr = np.asarray(Image.fromarray(colors).convert("YCbCr"))
    spec = PixelSpec(HEIGHT, WIDTH)

    assert np.array_equal(decode(dicom(colors), spec), colors)
    found = decode(dicom(ybr, PhotometricInterpretation="YBR_FULL"), spec)
    assert np.abs(found.astype(int) - colors).max() <= 3  # both conversions round


def test_compressed_pixels_that_can_be_read_are_exact() -> None:
    """RLE and lossless JPEG 2000 give the pixels of the uncompressed file, JPEG those of Pillow."""
    values = scan("<u2", 0, 4096)
    plain = dicom(values, BitsStored=12, HighBit=11, WindowCenter=900, WindowWidth=1200)
    options: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 900, "WindowWidth": 1200}
    rle = dicom(values, RLE, **options)
    options |= {"BitsStored": 16, "HighBit": 15}
    wavelets = dicom(
        values, JPEG_2000_LOSSLESS, **options, PixelData=encoded(Image.fromarray(values), "JPEG2000", no_jp2=True)
    )
    eight = drawn_image(HEIGHT, WIDTH).convert("L")
    jpeg = encoded(eight, "JPEG")

    assert np.array_equal(gray_of(rle), gray_of(plain))
    assert np.array_equal(gray_of(wavelets), gray_of(plain))
    found = gray_of(dicom(np.asarray(eight), JPEG, PixelData=jpeg))
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(jpeg))))


def test_verification_and_decoder_see_the_same_image(tmp_path: Path) -> None:
    """The facts of a file are those of its image, whatever the name of the file."""
    path = tmp_path / "IM0001"
    path.write_bytes(dicom(scan(), WindowCenter=40, WindowWidth=400))
    facts = verify(path, MAX_PIXELS)

    assert (facts.problem, facts.format, facts.mode, facts.width, facts.height) == (None, "DICOM", "L", WIDTH, HEIGHT)
    assert np.array_equal(decode(path, SPEC)[..., 0], gray_of(path.read_bytes()))


def test_the_window_is_part_of_the_key_and_a_setting(tmp_path: Path) -> None:
    """Features with different windows are different, and keys without a window stay as they were."""
    config = config_from_mapping({"data": {"path": tmp_path, "dicom": {"window": [40, 400]}}}, environment={})
    spec = config.data.pixel_spec((8, 8))

    assert spec.window == (40.0, 400.0)
    assert "window" not in PixelSpec(8, 8).key()
    assert spec.key() != PixelSpec(8, 8).key() != PixelSpec(8, 8, window=(40.0, 401.0)).key()


def claimed(data: bytes, rows: int, columns: int) -> bytes:
    """Return a file whose header claims other numbers of rows and columns."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.Rows, dataset.Columns = rows, columns
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def bomb(before_syntax: bytes = b"") -> bytes:
    """Return a deflated file that expands to 100 MB, with further elements before its transfer syntax."""
    whole = dicom(scan())
    at = whole.index(b"\x08\0\x16\0UI")  # the first element after the meta information
    meta = whole[:at].replace(b"\x02\0\x10\0UI", before_syntax + b"\x02\0\x10\0UI")
    meta = meta.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = struct.unpack("<H", meta[meta.index(b"\x02\0\x10\0UI") + 6 :][:2])[0]
    meta = meta.replace(b"\x02\0\x10\0UI" + struct.pack("<H", length), b"\x02\0\x10\0UI" + struct.pack("<H", 22))
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    return meta + squeezed.compress(bytes(100_000_000)) + squeezed.flush()


def private(length: int, n_bytes: int) -> bytes:
    """Return the private information of a file's meta information, with a stated length."""
    return struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, length) + bytes(n_bytes)


HOSTILE = {
    "more pixels than allowed": (claimed(dicom(scan()), 65_000, 65_000), "image-too-many-pixels"),
    "no pixels": (claimed(dicom(scan()), 0, 32), "image-damaged"),
    "missing values": (claimed(dicom(scan()), HEIGHT * 2, WIDTH), "image-truncated"),
    "truncated": (dicom(scan())[:-100], "image-truncated"),
    "deflated": (bomb(), "image-compression"),
    "deflated, with a private element before": (bomb(private(50_000, 50_000)), "image-compression"),
    "deflated, with a large private element before": (bomb(private(120_000, 120_000)), "image-damaged"),
    "deflated, with a private element without a length before": (
        bomb(private(0xFFFF_FFFF, 120_000) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)),
        "image-damaged",
    ),
    "no transfer syntax": (dicom(scan()).replace(b"\x02\0\x10\0UI", b"\x02\0\x11\0UI"), "image-damaged"),
    "a larger compressed frame": (
        dicom(scan("u1", 0, 255), JPEG, PixelData=encoded(Image.new("L", (5000, 5000)), "JPEG")),
        "image-damaged",
    ),
    "a run-length bomb": (
        dicom(scan("u1", 0, 255), JPEG, PixelData=struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 100_000).replace(
            b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.5\0\0\0"
        ),
        "image-damaged",
    ),
    "a film": (dicom(scan("u1", 0, 255), "1.2.840.10008.1.2.4.100", PixelData=b"x" * 100), "image-compression"),
    "a palette": (dicom(scan("u1", 0, 255), PhotometricInterpretation="PALETTE COLOR"), "image-mode"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_cannot_be_shown_are_refused_with_a_reason(name: str) -> None:
    """Sizes that lie, bombs, films and unknown colors are refused by the decoder and by verification alike."""
    data, code = HOSTILE[name]
    tracemalloc.start()
    with pytest.raises(ImageError) as error:
        decode(data, SPEC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    problem = verify(data, MAX_PIXELS).problem

    assert problem is not None
    assert error.value.code == problem.code == code
    assert peak < 20_000_000


def test_private_meta_information_does_not_hinder() -> None:
    """A file with elements of its own before the transfer syntax is read, as any file of few such bytes."""
    plain = dicom(scan())
    longer = plain.replace(b"\x02\0\x10\0UI", private(50_000, 50_000) + b"\x02\0\x10\0UI")

    assert np.array_equal(gray_of(longer, (0, 2000)), gray_of(plain, (0, 2000)))


def test_a_report_without_an_image_is_refused() -> None:
    """A DICOM file without an image, such as a structured report, is refused with that reason."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(scan())))
    for name in ("Rows", "Columns", "PixelData"):
        delattr(dataset, name)
    file = io.BytesIO()
    dataset.save_as(file)
    with pytest.raises(ImageError) as error:
        decode(file.getvalue(), SPEC)

    assert error.value.code == "image-without-pixels"


def test_many_elements_are_refused_before_they_fill_the_memory() -> None:
    """A header of a million elements is refused."""
    whole = dicom(scan())
    at = whole.index(b"(\0\x02\0US")  # samples per pixel
    many = b"".join(struct.pack("<HH2sHI", 0x0019, number, b"UL", 4, 0) for number in range(0x1000, 0xFFFF)) * 16
    with pytest.raises(ImageError) as error:
        decode(whole[:at] + many + whole[at:], SPEC)

    assert error.value.code == "image-damaged"


def test_without_pydicom_the_command_that_installs_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DICOM file is recognized without pydicom; the problem is not remembered, because it can be fixed."""
    monkeypatch.setitem(sys.modules, "pydicom", None)
    facts = verify(dicom_bytes := HOSTILE["truncated"][0], MAX_PIXELS)

    assert dicom_bytes[128:132] == b"DICM"
    assert facts.is_transient
    assert facts.problem is not None
    assert facts.problem.code == "image-reader-not-installed"
    assert "pip install 'cnncli[dicom]'" in facts.problem
