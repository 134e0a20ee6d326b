"""File formats: which files are refused, and with which code."""

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
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from cnncli.dataset.labels.folders import read_folders
from cnncli.errors import DataError, ImageError, Message
from cnncli.images import formats, limits
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.formats import SIGNATURE_BYTES, format_of, image_problem
from cnncli.images.verify import verify
from cnncli.storage.image_names import is_image_name
from tests.images.handmade import tiff
from tests.images.making import dicom, drawn_image, encoded, heic, jpeg, pixels

SPEC = PixelSpec(8, 8)
FORMATS = {
    "JPEG": encoded(drawn_image(), "JPEG", quality=95),
    "PNG": encoded(drawn_image()),
    "BMP": encoded(drawn_image(), "BMP"),
    "GIF": encoded(drawn_image().convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
    "WEBP": encoded(drawn_image(), "WEBP"),
    "TIFF": encoded(drawn_image(), "TIFF"),
    "AVIF": encoded(drawn_image(), "AVIF"),
    "JPEG2000": encoded(drawn_image(), "JPEG2000"),
    "HEIC": heic(drawn_image()),
    "DICOM": dicom(pixels()[..., 0]),
}


def problem_of(source: bytes | Path, spec: PixelSpec = SPEC) -> Message:
    """Return the reason why the decoder refuses an image."""
    with pytest.raises(ImageError) as error:
        decode(source, spec)
    return image_problem(error.value)


def code_of(source: bytes | Path, spec: PixelSpec = SPEC) -> str:
    """Return the code with which the decoder refuses an image."""
    return problem_of(source, spec).code


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind: str) -> None:
    """`SIGNATURE_BYTES` bytes suffice to recognize each format."""
    assert format_of(FORMATS[kind][:SIGNATURE_BYTES]) == kind


@pytest.mark.parametrize(
    "text", [b"BMW 320i, one owner, no rust at all", b"GIF89", b"", b"RIFF1234WAVEfmt ", b"%PDF-1.7", b"II", b"\x89PNG"]
)
def test_other_files_are_not_images(text: bytes) -> None:
    """Text is not an image, even if it starts with the two letters of a BMP."""
    assert format_of(text[:SIGNATURE_BYTES]) is None


def test_image_names_are_recognized_by_suffix() -> None:
    """Image suffixes are recognized in upper and lower case."""
    assert all(is_image_name(name) for name in ("a.jpg", "a.JPEG", "b.Tif", "c.webp", "d.jfif", "e.avif", "f.JP2"))
    assert not any(is_image_name(name) for name in ("jpg", "a.txt", "a.jpg.txt", "a.svg", "b.raw"))


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files_are_refused_and_never_half_gray(kind: str) -> None:
    """A file of any format that ends within its pixels is refused by decoder and verification for the same reason."""
    whole = FORMATS[kind]
    for fraction in (0.3, 0.6, 0.9):
        cut = whole[: int(len(whole) * fraction)]
        problem = problem_of(cut)
        assert verify(cut, 10**6).problem == problem
        assert problem.code in ("image-truncated", "image-damaged", "image-without-pixels")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "image-empty"),
        (b"<!DOCTYPE html>", "image-unknown-format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image-damaged"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(20), "image-raw"),
        (b"\xff\xd8\xff", "image-damaged"),
        (FORMATS["PNG"][:20], "image-truncated"),
        (FORMATS["JPEG"][:-200], "image-truncated"),
    ],
)
def test_each_kind_of_damage_has_its_code(data: bytes, expected: str) -> None:
    """Empty files, other formats, RAW, damage and truncation have different codes."""
    assert code_of(data) == expected
    problem = verify(data, 10**6).problem
    assert problem is not None
    assert problem.code == expected


def test_pillows_switch_for_truncated_files_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncated files are refused even if Pillow's LOAD_TRUNCATED_IMAGES is set, as many notebooks do."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError) as error:
        decode(FORMATS["JPEG"], SPEC)
    assert error.value.code == "image-load-truncated"


def test_images_without_pixels_are_refused() -> None:
    """BMPs and PNGs with a width of 0 are refused, although their decoders report it differently or not at all."""
    png = bytearray(FORMATS["PNG"])
    png[16:20] = struct.pack(">I", 0)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    bmp = bytearray(FORMATS["BMP"])
    bmp[18:22] = struct.pack("<I", 0)
    assert code_of(bytes(png)) == code_of(bytes(bmp)) == "image-damaged"


def test_larger_than_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image above the limit is refused after reading its header; an image of exactly the limit is accepted."""
    decode(FORMATS["PNG"], PixelSpec(8, 8, max_pixels=24 * 32))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("pixels were read"))
    problem = problem_of(FORMATS["PNG"], PixelSpec(8, 8, max_pixels=767))
    assert problem.code == "image-too-many-pixels"
    assert (problem.facts["received"], problem.facts["expected"]) == (768, 767)


@pytest.mark.parametrize("channels", [3, 4])
def test_the_size_limit_admits_16_bits_per_channel(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """TIFFs of six bytes per pixel, or eight with transparency, are within the size limit."""
    monkeypatch.setattr(limits, "_OTHER_BYTES", 1_000)
    width, height, compression, rgb, samples, rows, alpha = 256, 257, 259, 262, 277, 278, 338
    values = {width: 64, height: 64, compression: 1, rgb: 2, samples: channels, rows: 64, 273: 0, 279: 0}
    values |= {alpha: 2} if channels == 4 else {}
    bits = {258: struct.pack("<I", 16) * channels}
    pixels = bytes(64 * 64 * 2 * channels)
    data = tiff(values | {273: len(tiff(values, bits)), 279: len(pixels)}, bits) + pixels

    assert verify(data, max_pixels=64 * 64).problem is None
    problem = verify(data + bytes(16_384), max_pixels=64 * 64).problem
    assert problem is not None
    assert problem.code == "image-too-many-bytes"
    assert problem.facts["received"] == len(data) + 16_384


def test_pillows_own_pixel_limit_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images above Pillow's own limits are decoded without a warning or an error."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("JPEG", "PNG", "BMP"):
        decode(FORMATS[kind], SPEC)


def test_decompression_bomb_becomes_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a reader enforces Pillow's limit itself, the image is refused with the code for too many pixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert code_of(FORMATS["WEBP"]) == "image-too-many-pixels"


def test_decompression_bomb_is_refused_by_its_header() -> None:
    """A small PNG that declares 60,000 × 60,000 pixels is refused without decoding."""
    png = bytearray(FORMATS["PNG"])
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    problem = problem_of(bytes(png))
    assert problem.code == "image-too-many-pixels"
    assert problem.facts["received"] == 3_600_000_000


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.fromarray(np.zeros((4, 4), np.float32)), "F"),
        (Image.fromarray(np.zeros((4, 4), np.int32)), "I"),
        (Image.new("LAB", (4, 4)), "LAB"),
    ],
)
def test_color_modes_without_a_range_are_refused(image: Image.Image, mode: str) -> None:
    """Color modes without a defined range are refused; a guessed range would change the brightness of each image."""
    data = encoded(image, "TIFF")
    problem = problem_of(data)
    assert (problem.code, problem.facts["received"]) == ("image-mode", mode)
    assert verify(data, 100).problem == problem


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """A named pipe is refused without opening it, which could block forever."""
    os.mkfifo(tmp_path / "x.jpg")
    assert code_of(tmp_path / "x.jpg") == "image-not-a-file"


def test_directories_broken_links_and_missing_files_are_refused(tmp_path: Path) -> None:
    """Directories, broken links and missing files are refused, each with its own code."""
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "y.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "z.jpg").symlink_to(tmp_path / "z.jpg")
    assert code_of(tmp_path / "x.jpg") == "image-not-a-file"
    assert code_of(tmp_path / "y.jpg") == "image-not-found"
    assert code_of(tmp_path / "z.jpg") == "image-unreadable"
    assert code_of(tmp_path / "no.jpg") == "image-not-found"


def test_permission_denied_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission error is not cached, because access can be granted without changing the file."""
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg())

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert code_of(path) == "image-unreadable"
    assert verify(path, 10**6).is_transient


@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 2**32), st.integers(1, 40))
def test_damage_never_raises_another_exception(kind: str, seed: int, flips: int) -> None:
    """Flipped bits lead to pixels of the right shape or to an `ImageError`, as in verification."""
    draw = random.Random(seed)
    data = bytearray(FORMATS[kind])
    for _ in range(flips):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    verdict = verdict_of_the_full_decode(bytes(data))
    assert verdict == verify(bytes(data), 10**6).problem


def verdict_of_the_full_decode(data: bytes) -> str | None:
    """Return the decoder's reason for refusing an image at full size, or None if the shape is right."""
    try:
        return None if decode(data, PixelSpec(300, 299, max_pixels=10**6)).shape == (300, 299, 3) else "wrong shape"
    except ImageError as error:
        return image_problem(error)


def test_verification_at_one_eighth_finds_what_full_decoding_finds() -> None:
    """Verification at reduced size and full decoding give the same verdict on truncated and damaged JPEGs."""
    draw = random.Random(0)
    verdicts = set()
    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        whole = encoded(drawn_image(200, 300), "JPEG", quality=85, **options)
        for k in range(60):
            data = bytearray(whole[: draw.randrange(2, len(whole))] if k % 2 else whole)
            for _ in range(0 if k % 2 else draw.choice([1, 10])):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            full = verdict_of_the_full_decode(bytes(data))
            assert verify(bytes(data), 10**6).problem == full
            verdicts.add(full.code if isinstance(full, Message) else full)
    assert {None, "image-truncated", "image-damaged"} <= verdicts


def test_only_warnings_of_pillow_are_suppressed() -> None:
    """Only Pillow's warnings are suppressed, in all threads, even if warnings are errors; no other filter changes."""
    nothing = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\0\0\xff\xff\xff\0"
    noisy = encoded(drawn_image(), "TIFF", tiffinfo={65000: "x"}), encoded(drawn_image(), exif=nothing)
    with Image.open(io.BytesIO(noisy[1])) as stored, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stored.getexif()
    assert caught, "this image is meant to make Pillow warn"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda k: decode(noisy[k % 2], SPEC), range(200)))
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
        with Image.open(io.BytesIO(noisy[1])) as stored, pytest.raises(UserWarning):
            stored.getexif()


def test_libtiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Messages that libtiff writes to stderr from C code are suppressed."""
    whole = bytearray(encoded(drawn_image(100, 100), "TIFF", compression="tiff_lzw"))
    draw = random.Random(1)
    refused = 0
    for _ in range(30):
        data = bytearray(whole)
        for _ in range(20):
            data[draw.randrange(8, len(data) - 300)] ^= 1 << draw.randrange(8)
        refused += verify(bytes(data), 10**6).problem is not None
    assert refused
    assert capfd.readouterr() == ("", "")


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large images are decoded one at a time, small images in parallel."""
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
            list(pool.map(lambda _: decode(FORMATS["BMP"], SPEC), range(8)))
        assert most[0] == expected


def test_devices_are_refused() -> None:
    """A device is refused because it is not a regular file."""
    if Path("/dev/null").exists() and stat.S_ISCHR(Path("/dev/null").stat().st_mode):
        assert code_of(Path("/dev/null")) == "image-not-a-file"


def test_facts_of_bytes_equal_those_of_a_file(tmp_path: Path) -> None:
    """The facts about bytes equal those about the file, including its full size."""
    (tmp_path / "x.jpg").write_bytes(FORMATS["JPEG"])
    facts = verify(tmp_path / "x.jpg", 10**6)
    assert facts == verify(FORMATS["JPEG"], 10**6)
    assert facts.size_bytes == len(FORMATS["JPEG"])


def raw_preview() -> bytes:
    """Return a DNG as cameras write it, with a preview first and the photograph in a sub-directory."""
    preview = tiff({254: 1, 256: 32, 257: 24, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 24, 279: 768, 330: 8}, {})
    return preview.ljust(200, b"\0") + bytes(768)


def test_previews_in_raw_files_are_not_images(tmp_path: Path) -> None:
    """NEF and DNG files, which are TIFFs that start with a small preview, are refused."""
    assert code_of(raw_preview()) == "image-raw"
    plain = tiff({256: 32, 257: 24, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 24, 279: 768}, {})
    assert decode(plain.ljust(200, b"\0") + bytes(768), SPEC).shape == (8, 8, 3)


@pytest.mark.parametrize("suffix", [".nef", ".DNG", ".cr2", ".ARW"])
def test_raw_files_are_left_out_by_name(suffix: str, tmp_path: Path) -> None:
    """A camera RAW file in a class folder is left out and does not prevent training."""
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / f"photo{suffix}").write_bytes(raw_preview())
    (tmp_path / "birds" / "photo.jpg").write_bytes(jpeg())
    found = read_folders(tmp_path)
    assert [one.path.name for one in found.records] == ["photo.jpg"]
    assert found.left_out["camera RAW file"] == 1


def test_the_peak_of_16_bit_images_is_known() -> None:
    """Verification records the largest value of a 16-bit image, which reveals 12-bit data."""
    values = np.linspace(0, 4095, 24 * 32).astype(np.uint16).reshape(24, 32)
    assert verify(encoded(Image.fromarray(values)), 10**6).peak == 4095
    assert verify(FORMATS["PNG"], 10**6).peak == 0
