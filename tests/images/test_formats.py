"""What is refused, and the reason that is given."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from cnncli.errors import DataError, ImageError
from cnncli.images import formats
from cnncli.images import limits as bombs
from cnncli.images.decode import PixelRecipe, decode
from cnncli.images.formats import SIGNATURE_BYTES, format_of, is_image_name
from cnncli.images.verify import verify, verify_bytes
from tests.images.handmade import tiff
from tests.images.making import drawn_image, encoded, jpeg

RECIPE = PixelRecipe(8, 8)
FORMATS = {
    "JPEG": encoded(drawn_image(), "JPEG", quality=95),
    "PNG": encoded(drawn_image()),
    "BMP": encoded(drawn_image(), "BMP"),
    "GIF": encoded(drawn_image().convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
    "WEBP": encoded(drawn_image(), "WEBP"),
    "TIFF": encoded(drawn_image(), "TIFF"),
}


def reason(source: bytes | Path, recipe: PixelRecipe = RECIPE) -> str:
    """Why the decoder refuses an image."""
    with pytest.raises(ImageError) as error:
        decode(source, recipe)
    return error.value.reason


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind: str) -> None:
    """And from no fewer than are documented."""
    assert format_of(FORMATS[kind][:SIGNATURE_BYTES]) == kind


@pytest.mark.parametrize(
    "text", [b"BMW 320i, one owner, no rust at all", b"GIF89", b"", b"RIFF1234WAVEfmt ", b"%PDF-1.7", b"II", b"\x89PNG"]
)
def test_other_files_are_no_images(text: bytes) -> None:
    """Not even a text that begins with the two letters of a bitmap."""
    assert format_of(text[:SIGNATURE_BYTES]) is None


def test_names_that_claim_to_be_images() -> None:
    """By suffix, in any case."""
    assert all(is_image_name(name) for name in ("a.jpg", "a.JPEG", "b.Tif", "c.webp", "d.jfif"))
    assert not any(is_image_name(name) for name in ("jpg", "a.txt", "a.jpg.txt", "a.svg", "b.heic"))


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files_are_refused_and_never_half_gray(kind: str) -> None:
    """Cut anywhere in its pixels, a file of any format is refused, by the decoder and by the check alike."""
    whole = FORMATS[kind]
    for share in (0.3, 0.6, 0.9):
        cut = whole[: int(len(whole) * share)]
        said = reason(cut)
        assert verify_bytes(cut, "x", 10**6).problem == said
        assert "truncated" in said or "damaged" in said


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<!DOCTYPE html>", "is no JPEG, PNG, BMP, GIF, WebP or TIFF image (begins with b'<!DOCTYPE ht')"),
        (b"\xff\xd8\xff", "is damaged"),
        (FORMATS["PNG"][:20], "is truncated"),
        (FORMATS["JPEG"][:-200], "is truncated"),
    ],
)
def test_reason_says_what_is_wrong(data: bytes, expected: str) -> None:
    """Empty, another format, damaged, truncated."""
    assert reason(data).startswith(expected)


def test_pillows_switch_for_truncated_files_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many a notebook sets it; half-gray images would be trained on, and remembered as fine."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match=r"^PIL\.ImageFile\.LOAD_TRUNCATED_IMAGES is set in this process"):
        decode(FORMATS["JPEG"], RECIPE)


def test_zero_sized_images_are_called_so() -> None:
    """A width of nothing in BMP, GIF and PNG, whose decoders say it in other words or not at all."""
    png = bytearray(FORMATS["PNG"])
    png[16:20] = struct.pack(">I", 0)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    bmp = bytearray(FORMATS["BMP"])
    bmp[18:22] = struct.pack("<I", 0)
    assert reason(bytes(png)) == "is zero-sized (0 × 24 pixels)"
    assert reason(bytes(bmp)) == "is zero-sized (0 × 24 pixels)"


def test_larger_than_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header alone is looked at, and the limit itself is still allowed."""
    decode(FORMATS["PNG"], PixelRecipe(8, 8, max_pixels=24 * 32))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("pixels were read"))
    too_large = "has 32 × 24 = 768 pixels, more than data.max_pixels = 767"
    assert reason(FORMATS["PNG"], PixelRecipe(8, 8, max_pixels=767)) == too_large


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_a_channel_are_as_long_as_a_image_may_be(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras and scanners write TIFFs of six bytes to a pixel, eight with transparency."""
    monkeypatch.setattr(bombs, "_BYTES_BESIDE_PIXELS", 1_000)
    width, height, compression, rgb, samples, rows, alpha = 256, 257, 259, 262, 277, 278, 338
    values = {width: 64, height: 64, compression: 1, rgb: 2, samples: channels, rows: 64, 273: 0, 279: 0}
    values |= {alpha: 2} if channels == 4 else {}
    bits = {258: struct.pack("<I", 16) * channels}
    pixels = bytes(64 * 64 * 2 * channels)
    data = tiff(values | {273: len(tiff(values, bits)), 279: len(pixels)}, bits) + pixels

    assert verify_bytes(data, "x", max_pixels=64 * 64).problem is None
    assert verify_bytes(data + bytes(16_384), "x", max_pixels=64 * 64).problem == (
        f"has {len(data) + 16_384:,} bytes, more than an image within data.max_pixels = 4,096 needs"
    )


def test_our_limit_counts_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would warn above its limit and raise above twice of it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("JPEG", "PNG", "BMP"):
        decode(FORMATS[kind], RECIPE)


def test_decompression_bomb_becomes_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """In formats whose reader checks Pillow's limit by itself."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert reason(FORMATS["WEBP"]).startswith("is larger than Pillow takes in this format (Image size (768 pixels)")


def test_real_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """A PNG of 60,000 × 60,000 pixels in a few bytes."""
    png = bytearray(FORMATS["PNG"])
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    assert reason(bytes(png)).startswith("has 60000 × 60000 = 3,600,000,000 pixels")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(np.zeros((4, 4), np.float32)), "has 32-bit float values, whose range no format fixes"),
        (Image.fromarray(np.zeros((4, 4), np.int32)), "has signed 16-bit or 32-bit integer values, whose range"),
        (Image.new("LAB", (4, 4)), "has the color mode LAB; save it as RGB"),
    ],
)
def test_pixels_without_a_fixed_range_are_refused(image: Image.Image, expected: str) -> None:
    """Guessing a range from the values would give two images of one scene two brightnesses."""
    data = encoded(image, "TIFF")
    assert reason(data).startswith(expected)
    assert verify_bytes(data, "x", 100).problem == reason(data)


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(tmp_path / "x.jpg")
    assert reason(tmp_path / "x.jpg") == "is a named pipe, not a regular file"


def test_folder_and_broken_link_and_nothing_are_refused(tmp_path: Path) -> None:
    """Each in its own words."""
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "y.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "z.jpg").symlink_to(tmp_path / "z.jpg")
    assert reason(tmp_path / "x.jpg") == "is a folder, not an image"
    assert reason(tmp_path / "y.jpg") == "is a link that leads nowhere"
    assert reason(tmp_path / "z.jpg").startswith("cannot be read (Too many levels of symbolic links")
    assert reason(tmp_path / "no.jpg") == "does not exist"


def test_permission_denied_is_said_and_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be granted without a change of the file."""
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg())

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert reason(path) == "permission denied"
    assert verify(path, 10**6).may_pass


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 2**32), st.integers(1, 40))
def test_damage_is_a_reason_or_a_image_never_another_exception(kind: str, seed: int, flips: int) -> None:
    """Any bits flipped in any format: pixels of the right shape or a `ImageError`; the check says the same."""
    draw = random.Random(seed)
    data = bytearray(FORMATS[kind])
    for _ in range(flips):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    verdict = verdict_of_the_full_decode(bytes(data))
    assert verdict == verify_bytes(bytes(data), "x", 10**6).problem


def verdict_of_the_full_decode(data: bytes) -> str | None:
    """The decoder's reason for refusing an image at its full size, or None where it gives the right shape."""
    try:
        return None if decode(data, PixelRecipe(300, 299, max_pixels=10**6)).shape == (300, 299, 3) else "wrong shape"
    except ImageError as error:
        return error.reason


def test_check_in_one_eighth_finds_what_the_full_decode_finds() -> None:
    """A baseline and a progressive JPEG, cut and with bits flipped: the same verdict, word for word."""
    draw = random.Random(0)
    verdicts = set()
    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        whole = encoded(drawn_image(200, 300), "JPEG", quality=85, **options)
        for k in range(60):
            data = bytearray(whole[: draw.randrange(2, len(whole))] if k % 2 else whole)
            for _ in range(0 if k % 2 else draw.choice([1, 10])):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            full = verdict_of_the_full_decode(bytes(data))
            assert verify_bytes(bytes(data), "x", 10**6).problem == full
            verdicts.add(full and full.split("(")[0])
    assert {None, "is truncated ", "is damaged "} <= verdicts


def test_warnings_of_pillow_are_quiet_in_all_threads_and_others_are_not() -> None:
    """Even where warnings are errors, and without touching the filters of threads that read no image."""
    nothing = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\0\0\xff\xff\xff\0"
    noisy = encoded(drawn_image(), "TIFF", tiffinfo={65000: "x"}), encoded(drawn_image(), exif=nothing)
    with Image.open(io.BytesIO(noisy[1])) as stored, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stored.getexif()
    assert said, "this image is meant to make Pillow warn"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda k: decode(noisy[k % 2], RECIPE), range(200)))
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
        with Image.open(io.BytesIO(noisy[1])) as stored, pytest.raises(UserWarning):
            stored.getexif()


def test_libtiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Its lines on stderr come from C and know no Python."""
    whole = bytearray(encoded(drawn_image(100, 100), "TIFF", compression="tiff_lzw"))
    draw = random.Random(1)
    refused = 0
    for _ in range(30):
        data = bytearray(whole)
        for _ in range(20):
            data[draw.randrange(8, len(data) - 300)] ^= 1 << draw.randrange(8)
        refused += verify_bytes(bytes(data), "x", 10**6).problem is not None
    assert refused
    assert capfd.readouterr() == ("", "")


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones are not."""
    inside, most = [0], [0]
    gate = threading.Lock()
    load = ImageFile.ImageFile.load

    def counted(image: ImageFile.ImageFile) -> Any:
        with gate:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        try:
            threading.Event().wait(0.02)
            return load(image)
        finally:
            with gate:
                inside[0] -= 1

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    for limit, expected in ((24 * 32 - 1, 1), (24 * 32, 4)):
        most[0] = 0
        monkeypatch.setattr(formats, "LARGE_PIXELS", limit)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: decode(FORMATS["BMP"], RECIPE), range(8)))
        assert most[0] == expected


def test_regular_file_is_what_stat_says(tmp_path: Path) -> None:
    """A device is none."""
    if Path("/dev/null").exists() and stat.S_ISCHR(Path("/dev/null").stat().st_mode):
        assert reason(Path("/dev/null")) == "is a device, not a regular file"


def test_facts_of_bytes_are_those_of_a_file(tmp_path: Path) -> None:
    """Their number too, which is not where reading ended."""
    (tmp_path / "x.jpg").write_bytes(FORMATS["JPEG"])
    facts = verify(tmp_path / "x.jpg", 10**6)
    assert facts == verify_bytes(FORMATS["JPEG"], "x", 10**6)
    assert facts.size_bytes == len(FORMATS["JPEG"])
