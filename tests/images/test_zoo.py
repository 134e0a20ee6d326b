"""Every kind of file in the zoo gives the expected result in the decoder and in the check before training."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.errors import ImageError, Message
from cnncli.images import limits, readers
from cnncli.images.color_modes import flat_color
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.formats import image_problem
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import ImageFacts, verify
from tests.fault_injection.bounded import run_bounded
from tests.fault_injection.images import refusal
from tests.images import handmade
from tests.images.making import drawn_image, encoded, jpeg, pixels
from tests.images.zoo import Kind, LeftOut, Refused, Used, zoo

BUSY_S = 30

bounded = pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory of a child as Linux does")


def test_the_zoo_is_large_and_names_are_unique() -> None:
    """The zoo is large, and the names of kinds and files are unique."""
    assert len(zoo()) >= 100
    assert len({one.name for one in zoo()}) == len({one.file for one in zoo()}) == len(zoo())


def _look(path: Path) -> tuple[Message | None, Message | None, tuple[int, int]]:
    """Return the problems found by verification and by the decoder, and the size (width, height)."""
    facts = verify(path, MAX_PIXELS)
    try:
        decode(path, PixelSpec(224, 224))
    except ImageError as error:
        return facts.problem, image_problem(error), (0, 0)
    return facts.problem, None, (facts.width, facts.height)


@bounded
@pytest.mark.parametrize("one", zoo(), ids=lambda one: one.name)
def test_check_and_decoder_give_the_stated_outcome_within_ten_seconds_and_2_gb(tmp_path: Path, one: Kind) -> None:
    """Check and decoder give the expected outcome in a child process with limits of time and memory."""
    path = one.lay(tmp_path / "root" / "class")
    outcome = one.outcome.named if isinstance(one.outcome, LeftOut) else one.outcome
    if path.is_dir():
        path = path / "no image"
        outcome = Refused("image-not-found")
    checked, decoded, size = run_bounded(functools.partial(_look, path))
    assert checked == decoded
    if isinstance(outcome, Refused):
        assert checked is not None
        assert checked.code == outcome.code
    else:
        assert checked is None
        assert size == outcome.pixels.shape[1::-1]


@pytest.mark.parametrize("one", [one for one in zoo() if isinstance(one.outcome, Used)], ids=lambda one: one.name)
def test_pixels_are_those_that_should_be_seen(tmp_path: Path, one: Kind) -> None:
    """Colors, transparency, orientation and first frames equal what was drawn."""
    assert isinstance(one.outcome, Used)
    path, expected = one.lay(tmp_path / "root" / "class"), one.outcome.pixels
    found = decode(path, PixelSpec(*expected.shape[:2]))
    assert np.abs(found.astype(np.int16) - expected).mean() <= one.outcome.tolerance


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that all users may read, unlike the folders of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _look_as_nobody(path: Path) -> tuple[Message | None, Message | None, tuple[int, int]]:
    os.setgid(65534)
    os.setuid(65534)
    return _look(path)


@bounded
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else, as only root may")
def test_unreadable_file_is_refused(open_folder: Path) -> None:
    """A file without read permission is refused as unreadable, unless the user is root."""
    path = open_folder / "x.png"
    path.write_bytes(encoded(drawn_image()))
    path.chmod(0)
    checked, decoded, _ = run_bounded(functools.partial(_look_as_nobody, path))
    assert checked is not None
    assert checked.code == "image-unreadable"
    assert checked == decoded


def test_smaller_files_of_costly_kinds_are_accepted(tmp_path: Path) -> None:
    """Run-length bitmaps, progressive JPEGs and WebPs that are small enough are accepted."""
    for scans in (5, 900):
        path = tmp_path / f"{scans}.jpg"
        path.write_bytes(handmade.many_scans(drawn_image(), scans))
        assert verify(path, MAX_PIXELS).problem is None
    large = Image.new("L", (1000, 1000), 99)
    path.write_bytes(handmade.many_scans(large, limits.SCANNED_PIXELS // 1_000_000))
    assert code_of(verify(path, MAX_PIXELS)) == "image-too-costly"


def test_files_with_too_many_header_parts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every format that is read part by part, files with too many header parts are refused, and others accepted."""
    nothing = handmade.chunk(b"prVt", b"")
    files = {
        "png": handmade.rgb_png(pixels(), [nothing] * 1500),
        "jpg": jpeg()[:2] + b"\xff\xfe\0\2" * 2000 + jpeg()[2:],
        "gif": encoded(drawn_image().quantize(4), "GIF").replace(b",\0\0\0\0", b"!\xfe\0" * 2000 + b",\0\0\0\0", 1),
    }
    for suffix, data in files.items():
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(data)
        assert verify(path, MAX_PIXELS).problem is None, suffix
        with monkeypatch.context() as patch:
            patch.setattr(readers, "SMALL_READS", 1000)
            patch.setitem(readers.HEADER_READS, "PNG", 1000)
            assert code_of(verify(path, MAX_PIXELS)) == "image-damaged", suffix


def _with_many_numbers(kind: str, tag: int) -> bytes:
    """Return an image with a tag of 300,000 fractions, 2.4 MB."""
    numbers = bytes(range(1, 9)) * 300_000
    if kind == "tif":
        whole = handmade.tiff({256: 2, 257: 1, 258: 8, 262: 1, 273: 8, 277: 1, 279: 2}, {tag: numbers})
        return whole.replace(struct.pack("<HHI", tag, 4, 600_000), struct.pack("<HHI", tag, 5, 300_000))
    entries = struct.pack("<HHII", tag, 5, 300_000, 64), struct.pack("<HHII", 296, 3, 1, 2)
    exif = (b"II*\0\x08\0\0\0\x02\0" + b"".join(entries)).ljust(64, b"\0") + numbers
    if kind == "png":
        return handmade.rgb_png(pixels(), [handmade.chunk(b"eXIf", exif)])
    parts = [b"Exif\0\0" + exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts]
    data = jpeg()
    return data[:2] + b"".join(segments) + data[handmade.segment_at(data, 0xDB) :]


@pytest.mark.parametrize(("kind", "tag"), [("png", 274), ("jpg", 274), ("jpg", 282), ("tif", 274), ("tif", 282)])
def test_tag_values_are_not_parsed(monkeypatch: pytest.MonkeyPatch, kind: str, tag: int) -> None:
    """Fractions in tags are not parsed: as Python objects, fifty million of them would not fit into 2 GB."""
    data = _with_many_numbers(kind, tag)
    monkeypatch.setattr("PIL.TiffImagePlugin.IFDRational", lambda *parts: pytest.fail("a fraction was made"))
    assert code_of(verify(data, MAX_PIXELS)) == ("image-damaged" if kind == "tif" else None)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "I;16", "1", "L", "RGB"])
@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_large_images_have_the_colors_of_small_ones(monkeypatch: pytest.MonkeyPatch, mode: str, color: Any) -> None:
    """Large images are converted in strips to save memory, with the same result as in one piece."""
    four = Image.fromarray(pixels(50, 40, 4))
    image = four.quantize(16) if mode == "P" else four.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    if mode == "P":
        image.info["transparency"] = 3
    whole = np.asarray(flat_color(image, color))
    monkeypatch.setattr("cnncli.images.color_modes.LARGE_PIXELS", 10)
    for pixels_at_a_time in (7, 90, 400):
        monkeypatch.setattr("cnncli.images.color_modes.STRIP_PIXELS", pixels_at_a_time)
        np.testing.assert_array_equal(np.asarray(flat_color(image, color)), whole)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_narrow_images_are_resized_vertically_first_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch, fit: Any
) -> None:
    """A narrow, tall image is resized vertically first, which saves memory and does not change the result."""
    data = encoded(drawn_image(3000, 3))
    across_first = decode(data, PixelSpec(20, 30, fit=fit)).astype(int)
    monkeypatch.setattr("cnncli.images.decode.LARGE_PIXELS", 10)
    assert np.abs(decode(data, PixelSpec(20, 30, fit=fit)) - across_first).max() <= 1


def code_of(facts: ImageFacts) -> str | None:
    """Return the code of the problem of an image, or None."""
    return facts.problem.code if facts.problem else None


def _problem(path: Path) -> str | None:
    return verify(path, MAX_PIXELS).problem


def _write_largest(kind: str, path: Path) -> None:
    path.write_bytes(_largest(kind))


def _largest(kind: str) -> bytes:
    """Return an image of a single color, just below the maximum number of pixels."""
    if kind == "PNG with alpha":
        return handmade.png((13_300, 13_300), 8, 6, bytes(1 + 4 * 13_300) * 13_300)
    if kind == "PNG of 16 bits":
        return handmade.png((13_300, 13_300), 16, handmade.GRAY, bytes(1 + 2 * 13_300) * 13_300)
    if kind == "column":
        return handmade.png((17, 10_000_000), 8, handmade.GRAY, bytes(18) * 10_000_000)
    image, options = {
        "WebP": (Image.new("RGBA", (8900, 8900), (9, 9, 9, 9)), {"lossless": True, "method": 0, "exact": True}),
        "progressive JPEG": (Image.new("RGB", (13_300, 13_300), "teal"), {"progressive": True, "subsampling": 0}),
        "GIF": (Image.new("P", (13_300, 13_300), 5), {}),
        "TIFF with alpha": (Image.new("RGBA", (13_300, 13_300), "teal"), {"compression": "tiff_lzw"}),
    }[kind]
    return encoded(image, kind.split()[0 if kind != "progressive JPEG" else 1], **options)


@bounded
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["PNG with alpha", "PNG of 16 bits", "column", "WebP", "progressive JPEG", "GIF", "TIFF with alpha"],
)
def test_the_largest_images_fit_into_2_gb(tmp_path: Path, kind: str) -> None:
    """Images of the maximum size are decoded within 2 GB of memory."""
    path = tmp_path / "large"
    run_bounded(functools.partial(_write_largest, kind, path), 300, 8_000_000_000)
    assert run_bounded(functools.partial(_problem, path), BUSY_S) is None
    assert run_bounded(functools.partial(refusal, path, PixelSpec(224, 224)), BUSY_S) is None
