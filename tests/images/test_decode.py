"""The decoder agrees with Pillow and with values computed by hand."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from cnncli.config.data_settings import DataConfig
from cnncli.errors import ImageError
from cnncli.images.decode import PixelSpec, decode, file_content
from tests.images.making import drawn_image, encoded, jpeg, pixels

BILINEAR = Image.Resampling.BILINEAR
LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("BMP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]
FITS = ("stretch", "crop", "pad")


def fitted(image: Image.Image, height: int, width: int, fit: str) -> NDArray[np.uint8]:
    """Return the result of Pillow for a fit."""
    size = (width, height)
    if fit == "stretch":
        return np.asarray(image.resize(size, BILINEAR))
    return np.asarray(ImageOps.fit(image, size, BILINEAR) if fit == "crop" else ImageOps.pad(image, size, BILINEAR))


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_image_of_the_target_size_is_decoded_exactly(kind: str, options: dict[str, Any]) -> None:
    """A lossless image of the target size is decoded exactly, without resampling."""
    data = encoded(drawn_image(), kind, **options)
    found = decode(data, PixelSpec(24, 32))
    np.testing.assert_array_equal(found, pixels())
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(10, 14), (48, 24), (7, 7), (24, 32), (100, 31)])
def test_each_fit_equals_pillows_own(fit: Any, size: tuple[int, int]) -> None:
    """Stretch, crop and pad equal `resize`, `ImageOps.fit` and `ImageOps.pad` with the antialiased bilinear filter."""
    found = decode(encoded(drawn_image()), PixelSpec(*size, fit=fit))
    np.testing.assert_array_equal(found, fitted(drawn_image(), *size, fit))


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([(224, 224), (64, 64), (160, 160), (96, 128)]))
@example(500, 374, (224, 224))
def test_crop_takes_an_image_of_any_size(width: int, height: int, size: tuple[int, int]) -> None:
    """For any image size, cropping gives the same pixels as `ImageOps.fit`; rounding never moves the box outside."""
    image = Image.effect_noise((width, height), 60).convert("RGB")
    found = decode(encoded(image), PixelSpec(*size, fit="crop"))
    expected = np.asarray(ImageOps.fit(image, size[::-1], BILINEAR))
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"), [*(one for one in LOSSLESS if one[0] != "BMP"), ("JPEG", {"quality": 95})]
)
def test_all_eight_orientations_are_turned_upright(
    kind: str, options: dict[str, Any], orientation: int, fit: Any
) -> None:
    """Every orientation is applied as by `ImageOps.exif_transpose`, in every format that can store one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(drawn_image(), kind, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as stored:
        upright = ImageOps.exif_transpose(stored)
    assert upright.size == ((24, 32) if orientation > 4 else (32, 24))
    np.testing.assert_array_equal(decode(data, PixelSpec(20, 18, fit=fit)), fitted(upright, 20, 18, fit))


def test_orientation_6_by_hand() -> None:
    """With orientation 6, the first row of the image is the first column of the file, read from the bottom up."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = pixels()
    found = decode(encoded(Image.fromarray(stored), exif=exif), PixelSpec(32, 24))
    np.testing.assert_array_equal(found[0], stored[::-1, 0])


def test_damaged_or_foreign_exif_leaves_the_image_as_it_is() -> None:
    """Invalid EXIF metadata does not change the pixels."""
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0"):
        np.testing.assert_array_equal(decode(encoded(drawn_image(), exif=exif), PixelSpec(24, 32)), pixels())
    nine = Image.Exif()
    nine[0x0112] = 9
    np.testing.assert_array_equal(decode(encoded(drawn_image(), exif=nine), PixelSpec(24, 32)), pixels())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_scaled_while_decoding_looks_the_same(fit: Any, orientation: int) -> None:
    """For odd sizes and every orientation and fit, pixels stay within 4 levels of the full decode: no row shifts."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(drawn_image(301, 403), "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        upright = ImageOps.exif_transpose(stored)
    found = decode(data, PixelSpec(30, 40, fit=fit)).astype(int)
    assert np.abs(found - fitted(upright, 30, 40, fit)).max() <= 4


@pytest.mark.parametrize(
    ("size", "target", "scale"),
    [
        ((160, 160), 40, 2),
        ((159, 160), 40, 1),
        ((160, 159), 40, 1),
        ((640, 320), 40, 4),
        ((640, 640), 40, 8),
        ((39, 39), 40, 1),
    ],
)
def test_jpeg_is_scaled_only_where_twice_the_target_remains(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], target: int, scale: int
) -> None:
    """A JPEG is scaled while decoding only if both sides keep at least twice the target size, for every fit."""
    data = encoded(drawn_image(size[1], size[0]), "JPEG")
    loaded: list[tuple[int, int]] = []
    load = JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda image: (loaded.append(image.size), load(image))[1])
    for fit in FITS:
        loaded.clear()
        decode(data, PixelSpec(target, target, fit=fit))
        assert loaded[0] == (-(-size[0] // scale), -(-size[1] // scale))


def test_alpha_is_laid_on_white() -> None:
    """RGBA pixels in PNG, WebP and TIFF become color · alpha + 255 · (1 − alpha), rounded."""
    four = pixels(channels=4)
    alpha = four[..., 3:].astype(float) / 255
    expected = np.floor(four[..., :3] * alpha + 255 * (1 - alpha) + 0.5)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        found = decode(encoded(Image.fromarray(four), kind, **options), PixelSpec(24, 32))
        assert np.abs(found - expected).max() <= (0 if kind != "WEBP" else 1)


def test_gray_with_alpha_is_laid_on_white() -> None:
    """Mode LA is composited onto white, both as RGB and as grayscale."""
    two = pixels(channels=2)
    alpha = two[..., 1].astype(float) / 255
    expected = np.floor(two[..., 0] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    data = encoded(Image.merge("LA", [Image.fromarray(two[..., k]) for k in (0, 1)]))
    np.testing.assert_array_equal(decode(data, PixelSpec(24, 32)), np.repeat(expected[..., None], 3, axis=-1))
    np.testing.assert_array_equal(decode(data, PixelSpec(24, 32, "grayscale")), expected[..., None])


def test_transparent_palette_entries_and_color_keys_are_white() -> None:
    """Transparent palette entries, per-entry alpha, and transparent colors of PNG and GIF become white."""
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    white, opaque = [255, 255, 255], [200, 100, 50]
    half = [round(value + (255 - value) * 127 / 255) for value in (10, 20, 30)]
    cases = [
        (encoded(palette), [[10, 20, 30], opaque]),
        (encoded(palette, transparency=0), [white, opaque]),
        (encoded(palette, transparency=bytes([128, 255])), [half, opaque]),
        (encoded(palette.convert("RGB"), transparency=(10, 20, 30)), [white, opaque]),
        (encoded(palette, "GIF", transparency=0), [white, opaque]),
    ]
    for data, expected in cases:
        found = decode(data, PixelSpec(1, 2))[0]
        assert np.abs(found.astype(int) - expected).max() <= 1, expected


@pytest.mark.parametrize(("kind", "factor"), [("PNG", 256), ("PNG", 257), ("TIFF", 256), ("TIFF", 257)])
def test_16_bit_gray_is_scaled_not_clipped(kind: str, factor: int) -> None:
    """An 8-bit image stored in 16 bits, multiplied by 256 or 257, is decoded to the original values."""
    gray = pixels(channels=1)[..., 0]
    data = encoded(Image.fromarray(gray.astype(np.uint16) * factor), kind)
    np.testing.assert_array_equal(decode(data, PixelSpec(24, 32))[..., 0], gray)
    np.testing.assert_array_equal(decode(data, PixelSpec(24, 32, "grayscale"))[..., 0], gray)


def test_big_endian_16_bit_and_12_bit_and_inverted_tiff_are_scaled() -> None:
    """Big-endian, inverted and 12-bit TIFFs of 2 × 1 pixels keep their brightness."""
    values = [0x1234, 0xFEDC]
    raw = b"".join(value.to_bytes(2, "big") for value in values)
    assert decode(tiny_tiff(16, raw), PixelSpec(1, 2, "grayscale"))[0, :, 0].tolist() == [0x12, 0xFE]
    little = b"".join(value.to_bytes(2, "little") for value in values)
    inverted = tiny_tiff(16, little, photometric=0, order="little")
    assert decode(inverted, PixelSpec(1, 2, "grayscale"))[0, :, 0].tolist() == [255 - 0x12, 255 - 0xFE]
    twelve = tiny_tiff(12, bytes([0x12, 0x3F, 0xED]), order="little")
    assert decode(twelve, PixelSpec(1, 2, "grayscale"))[0, :, 0].tolist() == [0x12, 0xFE]


def tiny_tiff(
    bits: int, raw: bytes, photometric: int = 1, order: Any = "big", more: Mapping[int, int] = MappingProxyType({})
) -> bytes:
    """Return a grayscale TIFF of 2 × 1 pixels with additional tags."""

    def number(value: int, length: int) -> bytes:
        return int(value).to_bytes(length, order)

    behind = 8 + 2 + (8 + len(more)) * 12 + 4
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 273: behind, 277: 1, 279: len(raw), **more}
    entries = b"".join(number(tag, 2) + number(4, 2) + number(1, 4) + number(tags[tag], 4) for tag in tags)
    head = (b"MM" if order == "big" else b"II") + number(42, 2) + number(8, 4)
    return head + number(len(tags), 2) + entries + number(0, 4) + raw


def test_the_range_of_12_bit_data_is_applied() -> None:
    """A TIFF's MaxSampleValue or `value_range` maps 12-bit values (0–4095, as from microscopes) to 0–255."""
    raw = b"".join(value.to_bytes(2, "little") for value in (0, 4095))
    spec = PixelSpec(1, 2, "grayscale")
    assert decode(tiny_tiff(16, raw, order="little"), spec)[0, :, 0].tolist() == [0, 15]
    stated = tiny_tiff(16, raw, order="little", more={281: 4095})
    assert decode(stated, spec)[0, :, 0].tolist() == [0, 255]
    given = PixelSpec(1, 2, "grayscale", value_range=(0, 4095))
    assert decode(tiny_tiff(16, raw, order="little"), given)[0, :, 0].tolist() == [0, 255]
    inner = PixelSpec(1, 2, "grayscale", value_range=(1000, 2000))
    middle = Image.fromarray(np.array([[1500, 3000]], dtype=np.uint16))
    assert decode(encoded(middle), inner)[0, :, 0].tolist() == [128, 255]


def test_transparent_color_of_16_bit_gray_is_white() -> None:
    """A 16-bit color key is compared with all 16 bits of a value, not only with its high byte."""
    gray = np.array([[1000, 1001, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(gray), transparency=1000)
    assert decode(data, PixelSpec(1, 3, "grayscale"))[0, :, 0].tolist() == [255, 3, 255]


def test_16_bit_color_has_the_scale_of_16_bit_gray() -> None:
    """The same 16-bit values give the same pixels whether they are stored as grayscale or as RGB."""
    import cv2

    gray = np.arange(0, 65536, 97, dtype=np.uint16)[:600].reshape(20, 30)
    color = cv2.imencode(".png", np.repeat(gray[..., None], 3, axis=-1))[1].tobytes()
    plain = encoded(Image.fromarray(gray))
    np.testing.assert_array_equal(decode(color, PixelSpec(20, 30)), decode(plain, PixelSpec(20, 30)))


def test_cmyk_ycbcr_palette_and_one_bit_are_converted() -> None:
    """These color modes are converted as by Pillow, and before resizing, which would use nearest neighbor for them."""
    base = drawn_image()
    for image, kind in [
        (base.convert("CMYK"), "TIFF"),
        (base.convert("CMYK"), "JPEG"),
        (base.convert("YCbCr"), "TIFF"),
        (base.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        (base.convert("P", palette=Image.Palette.ADAPTIVE), "BMP"),
        (base.convert("1"), "PNG"),
        (base.convert("1"), "TIFF"),
        (base.convert("L"), "JPEG"),
    ]:
        data = encoded(image, kind)
        with Image.open(io.BytesIO(data)) as stored:
            assert stored.mode == image.mode
            expected = stored.convert("RGB").resize((13, 11), BILINEAR)
            gray = stored.convert("RGB").convert("L").resize((13, 11), BILINEAR)
        np.testing.assert_array_equal(decode(data, PixelSpec(11, 13)), expected)
        np.testing.assert_array_equal(decode(data, PixelSpec(11, 13, "grayscale"))[..., 0], gray)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    """Of GIF, WebP, APNG and multi-page TIFF files, the first frame or page is decoded."""
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    options: dict[str, Any] = {} if kind == "TIFF" else {"duration": 100}
    if kind == "WEBP":
        options["lossless"] = True
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(data, PixelSpec(6, 8))[3, 4].tolist() == [255, 0, 0]


def test_phone_jpeg_with_a_second_image_is_a_jpeg() -> None:
    """Of a JPEG with several images (MPO), the first one is decoded."""
    data = encoded(drawn_image(seed=1), "MPO", save_all=True, append_images=[drawn_image(seed=2)], quality=95)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.format == "MPO"
        expected = np.asarray(stored)
    np.testing.assert_array_equal(decode(data, PixelSpec(24, 32)), expected)


def test_format_is_found_by_content(tmp_path: Path) -> None:
    """A PNG named .jpg, or without a suffix, is decoded as PNG."""
    for name in ("a.jpg", "b"):
        (tmp_path / name).write_bytes(encoded(drawn_image()))
        np.testing.assert_array_equal(decode(tmp_path / name, PixelSpec(24, 32)), pixels())


def test_path_and_bytes_give_the_same_pixels(tmp_path: Path) -> None:
    """In every format, a path and the file's bytes give the same pixels."""
    for kind, options in [*LOSSLESS, ("JPEG", {}), ("GIF", {}), ("TIFF", {"compression": "jpeg"})]:
        data = encoded(drawn_image(), kind, **options)
        (tmp_path / "x").write_bytes(data)
        recipe = PixelSpec(10, 10)
        np.testing.assert_array_equal(decode(tmp_path / "x", recipe), decode(data, recipe))


def test_many_threads_give_the_same_pixels_as_one(tmp_path: Path) -> None:
    """Eight threads that decode mixed formats return the same pixels as a single thread."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        encoded(drawn_image(seed=k), kind, exif=exif) for k in range(8) for kind in ("JPEG", "PNG", "WEBP", "TIFF")
    ]
    recipe = PixelSpec(16, 16)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, recipe), files * 4))
    for found, data in zip(together, files * 4, strict=True):
        np.testing.assert_array_equal(found, decode(data, recipe))


def test_key_depends_on_pixels_only() -> None:
    """Every setting that changes pixels changes the key; `max_pixels` does not."""
    base = PixelSpec(10, 20)
    others = [PixelSpec(20, 10), PixelSpec(10, 20, "grayscale"), PixelSpec(10, 20, fit="crop")]
    others.append(PixelSpec(10, 20, value_range=(0, 4095)))
    assert all(base.key() != other.key() for other in others)
    assert base.key() == PixelSpec(10, 20, max_pixels=5).key()
    assert base.key()["pillow"] == PIL.__version__
    assert (base.channels, others[1].channels) == (3, 1)


def test_image_size_of_a_config_is_resolved() -> None:
    """A number is a square size, a pair is height and width, and the default is the backbone's own size."""
    path = Path("x")
    assert DataConfig(path=path).pixel_spec((5, 6)) == PixelSpec(5, 6)
    assert DataConfig(path=path, image_size=7).pixel_spec((5, 6)) == PixelSpec(7, 7)
    whole = DataConfig(path=path, image_size=(7, 8), color="grayscale", fit="pad", max_pixels=9)
    assert whole.pixel_spec((5, 6)) == PixelSpec(7, 8, "grayscale", "pad", 9)


def test_extreme_proportions_survive_every_fit() -> None:
    """Images of one row, one column or one pixel are decoded with every fit."""
    for height, width in [(1, 500), (500, 1), (1, 1)]:
        for fit in FITS:
            for kind in ("PNG", "JPEG"):
                found = decode(encoded(drawn_image(height, width), kind), PixelSpec(8, 9, fit=fit))
                assert found.shape == (8, 9, 3)


def test_error_names_the_image_as_the_caller_does(tmp_path: Path) -> None:
    """Errors name the path or the given name, or `-` for bytes."""
    with pytest.raises(ImageError) as error:
        decode(b"", PixelSpec(8, 8))
    assert (error.value.code, error.value.path) == ("image-empty", "-")
    with pytest.raises(ImageError) as error:
        decode(jpeg()[:300], PixelSpec(8, 8), name="upload.jpg")
    assert (error.value.code, error.value.path) == ("image-truncated", "upload.jpg")
    with pytest.raises(ImageError) as error:
        decode(tmp_path / "no.jpg", PixelSpec(8, 8))
    assert (error.value.code, error.value.path) == ("image-not-found", tmp_path / "no.jpg")


SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6


@pytest.mark.parametrize(
    "file",
    [
        encoded(drawn_image(), "JPEG", exif=SIDEWAYS),
        *(encoded(drawn_image().convert(mode), "PNG") for mode in ("RGB", "L", "LA", "RGBA", "P")),
    ],
    ids=["sideways JPEG", "RGB", "L", "LA", "RGBA", "P"],
)
def test_a_pillow_image_gives_the_pixels_of_its_file(file: bytes) -> None:
    """An opened Pillow image is decoded exactly like its file, stays open, and keeps its position."""
    spec = PixelSpec(16, 24)
    expected = decode(file, spec)
    with Image.open(io.BytesIO(file)) as image:
        content = file_content(image)
        assert content == file
        np.testing.assert_array_equal(decode(content, spec), expected)
        image.load()
        assert file_content(image) is None
        if image.format == "PNG":  # a JPEG that is loaded was not scaled while it was decoded
            np.testing.assert_array_equal(decode(image, spec), expected)
        assert decode(image, spec).shape == (16, 24, 3)
        assert image.getpixel((0, 0)) is not None


def test_an_array_gives_the_pixels_of_a_lossless_file() -> None:
    """RGB and grayscale arrays, contiguous or not, give the same pixels as a PNG with the same values."""
    spec, rgb = PixelSpec(16, 24), pixels()
    for array in (rgb, rgb[..., 0], rgb[::-1, ::2], np.asfortranarray(rgb)):
        expected = decode(encoded(Image.fromarray(np.ascontiguousarray(array)), "PNG"), spec)
        np.testing.assert_array_equal(decode(array, spec), expected)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (np.zeros((4, 4, 3)), "image-array"),
        (np.zeros((4, 4, 4), np.uint8), "image-array"),
        (np.zeros((2, 4, 4, 3), np.uint8), "image-array"),
        (np.zeros((0, 4, 3), np.uint8), "image-array"),
        (np.zeros(4, np.uint8), "image-array"),
        (Image.new("RGB", (0, 4)), "image-zero-sized"),
        (Image.new("F", (4, 4)), "image-mode"),
        (Image.new("RGB", (200, 200)), "image-too-many-pixels"),
    ],
)
def test_pixels_that_are_not_an_image_are_rejected(source: Any, code: str) -> None:
    """Arrays of a wrong dtype or shape, and images that are empty, too large or of an unknown mode, are errors."""
    with pytest.raises(ImageError) as caught:
        decode(source, PixelSpec(8, 8, max_pixels=1000), name="images[3]")

    assert (caught.value.codes, caught.value.facts["path"]) == ((code,), "images[3]")
