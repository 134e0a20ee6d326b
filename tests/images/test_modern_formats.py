"""AVIF, HEIC and JPEG 2000: the pixels of their own readers, within the limits of all formats."""

from __future__ import annotations

import io
import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.cli import main
from cnncli.dataset.labels.folders import images_below, read_folders
from cnncli.errors import ImageError
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify
from tests.images.making import dicom, drawn_image, encoded, heic, pixels, write_tree

SIZE = (48, 64)
SPEC = PixelSpec(*SIZE)
IMAGE = drawn_image(*SIZE)
SAMPLES = {
    "AVIF": (encoded(IMAGE, "AVIF", quality=90), "a.avif"),
    "JPEG2000": (encoded(IMAGE, "JPEG2000"), "a.jp2"),
    "HEIF": (heic(IMAGE, quality=90), "a.heic"),
}


def read(data: bytes, kind: str) -> NDArray[np.uint8]:
    """Return the pixels that the format's own reader gives."""
    if kind == "HEIF":
        return np.asarray(pillow_heif.read_heif(data))
    return np.asarray(Image.open(io.BytesIO(data), formats=[kind]))


@pytest.mark.parametrize("kind", SAMPLES)
def test_pixels_are_those_of_the_formats_own_reader(tmp_path: Path, kind: str) -> None:
    """The decoder gives the pixels of Pillow or pillow-heif, from a file of any name, and verification agrees."""
    data, _ = SAMPLES[kind]
    path = tmp_path / "without-suffix"
    path.write_bytes(data)
    facts = verify(path, MAX_PIXELS)

    assert np.array_equal(decode(path, SPEC), read(data, kind))
    assert (facts.problem, facts.format, facts.height, facts.width) == (None, kind, *SIZE)
    assert np.abs(decode(path, SPEC).astype(int) - np.asarray(IMAGE)).mean() < 5


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_jp2_heic_or_avif_counts_as_an_image_in_folders(tmp_path: Path, kind: str) -> None:
    """Images of these formats are found in class folders; a damaged one is found too, and not skipped."""
    data, name = SAMPLES[kind]
    write_tree(tmp_path, {f"cats/{name}": data, "cats/unnamed": data, f"cats/damaged-{name}": b"damaged"})

    assert len(read_folders(tmp_path).records) == 3


def test_a_heic_is_turned_upright() -> None:
    """The rotation of a photograph that was taken upright is applied once."""
    exif = Image.Exif()
    exif[274] = 6
    turned = heic(IMAGE, quality=90, exif=exif.tobytes())
    found = decode(turned, PixelSpec(SIZE[1], SIZE[0]))
    expected = np.asarray(IMAGE.transpose(Image.Transpose.ROTATE_270))

    assert np.abs(found.astype(int) - expected).mean() < 5


def test_the_thumbnail_in_a_heic_is_not_used() -> None:
    """A small input is scaled from the image itself, and so is the image that verification reads."""
    large = drawn_image(512, 512)
    file = pillow_heif.from_pillow(large)
    file[0].info["thumbnails"] = [256]
    written = io.BytesIO()
    file.save(written, quality=90)
    whole = Image.fromarray(np.asarray(pillow_heif.read_heif(written.getvalue())))
    expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR))

    assert pillow_heif.open_heif(written.getvalue()).info["thumbnails"] == [256]
    assert np.array_equal(decode(written.getvalue(), PixelSpec(32, 32)), expected)


def test_transparency_is_blended_with_white_and_orientation_applied() -> None:
    """An AVIF with alpha looks as it does on white; one with an EXIF orientation is upright."""
    clear = np.dstack([np.asarray(IMAGE), np.full(SIZE, 0, np.uint8)])
    exif = Image.Exif()
    exif[274] = 3
    turned = decode(encoded(IMAGE, "AVIF", quality=90, exif=exif.tobytes()), SPEC)

    assert np.array_equal(decode(encoded(Image.fromarray(clear), "AVIF"), SPEC), np.full((*SIZE, 3), 255, np.uint8))
    assert np.abs(turned.astype(int) - np.asarray(IMAGE)[::-1, ::-1]).mean() < 5


def test_16_bits_of_a_jpeg_2000_follow_the_range() -> None:
    """16-bit values lose their low byte, or are scaled from `data.range`, as in PNG and TIFF."""
    values = np.random.default_rng(0).integers(0, 65_536, SIZE).astype(np.uint16)
    data = encoded(Image.fromarray(values), "JPEG2000")
    gray, ranged = PixelSpec(*SIZE, "grayscale"), PixelSpec(*SIZE, "grayscale", value_range=(1000, 30_000))

    for spec in (gray, ranged):
        assert np.array_equal(decode(data, spec), decode(encoded(Image.fromarray(values)), spec))


def test_12_bits_of_a_jpeg_2000_are_12_bits() -> None:
    """Pillow fills 16 bits with 12-bit values; `data.range` nevertheless counts in the values of the file."""
    values = np.random.default_rng(0).integers(0, 4096, SIZE).astype(np.uint16)
    # The values are stored around the middle of their type, 32,768 or 2,048.
    data = bytearray(encoded(Image.fromarray(values + 30_720), "JPEG2000", no_jp2=True))
    assert data[42] == 15
    data[42] = 11
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), values << 4)
    ranged = decode(bytes(data), PixelSpec(*SIZE, "grayscale", value_range=(0, 2000)))[..., 0]

    assert np.array_equal(decode(bytes(data), PixelSpec(*SIZE, "grayscale"))[..., 0], values >> 4)
    assert np.array_equal(ranged, np.rint((values / 2000 * 255).clip(0, 255)))
    assert verify(bytes(data), MAX_PIXELS).peak == values.max()


@pytest.mark.parametrize(("side", "code"), [(9_000, "image-too-costly"), (20_000, "image-too-many-pixels")])
def test_a_jpeg_2000_that_claims_many_pixels_is_refused(side: int, code: str) -> None:
    """The size in the header is checked before anything is decoded."""
    data = bytearray(encoded(IMAGE, "JPEG2000", no_jp2=True))
    data[8:16] = data[24:32] = struct.pack(">II", side, side)
    with pytest.raises(ImageError) as error:
        decode(bytes(data), SPEC)

    assert error.value.code == code


@pytest.mark.parametrize("kind", SAMPLES)
def test_damaged_bytes_never_raise_anything_else(kind: str) -> None:
    """An image with any one byte changed is decoded or refused."""
    data, random = SAMPLES[kind][0], np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        for at in random.integers(0, len(data), 3):
            changed[at] = random.integers(0, 256)
        with suppress(ImageError):
            assert decode(bytes(changed), SPEC).shape == (*SIZE, 3)


def test_a_folder_without_its_reader_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without pillow-heif, a folder of HEIC images is one issue, and each named image is refused."""
    write_tree(tmp_path, {f"{number}.heic": SAMPLES["HEIF"][0] for number in range(3)})
    write_tree(tmp_path, {"a.dcm": dicom(pixels()[..., 0])})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    found, issues = images_below(tmp_path)

    assert [path.name for path in found] == ["a.dcm"]
    assert [(issue.code, issue.facts["n"]) for issue in issues] == [("data-reader-not-installed", 3)]
    with pytest.raises(ImageError) as error:
        decode(tmp_path / "0.heic", SPEC)
    assert error.value.code == "image-reader-not-installed"
    images = [str(tmp_path / f"{number}.heic") for number in range(3)]
    assert main(["predict", *images, "--backbone", "EfficientNetLite0", "-q"]) == 2
    assert capsys.readouterr().err.count("pip install") == 1
