"""Images of any number of bands: arrays and TIFFs give the same pixels, and hostile ones are refused."""

from __future__ import annotations

import gc
import io
import logging
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from cnncli.errors import ImageError
from cnncli.images.bands import preview
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify

HEIGHT, WIDTH, BANDS = 20, 30, 7
VALUES = np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH, BANDS)).astype(np.uint16)
PLANES = np.moveaxis(VALUES, -1, 0)
SPEC = PixelSpec(HEIGHT, WIDTH, "bands", value_range=(0, 4095), bands=BANDS)


def _pages(path: Path, compression: str) -> None:
    first, *others = (Image.fromarray(plane) for plane in PLANES)
    first.save(path, save_all=True, append_images=others, compression=compression)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "array.npy": lambda path: np.save(path, VALUES),
    "bands-first.npy": lambda path: np.save(path, PLANES),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(VALUES)),
    "big-endian.npy": lambda path: np.save(path, VALUES.astype(">u2")),
    "bands.tif": lambda path: tifffile.imwrite(path, VALUES, photometric="minisblack", planarconfig="contig"),
    "planes.tif": lambda path: tifffile.imwrite(path, PLANES, photometric="minisblack", planarconfig="separate"),
    "tiles.tif": lambda path: tifffile.imwrite(
        path, VALUES, photometric="minisblack", planarconfig="contig", compression="zlib", predictor=True, tile=(16, 16)
    ),
    "pages.tif": lambda path: tifffile.imwrite(path, PLANES, photometric="minisblack"),
    "lzw-pages.tif": lambda path: _pages(path, "tiff_lzw"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_pixels(name: str, tmp_path: Path) -> None:
    """Row 54. Arrays in any order, bands, planes, tiles and pages are scaled by the range to 0–255."""
    path = tmp_path / name
    WRITERS[name](path)
    expected = np.rint(VALUES.astype(float) * 255 / 4095).astype(np.uint8)

    np.testing.assert_array_equal(decode(path, SPEC), expected)
    np.testing.assert_array_equal(decode(path.read_bytes(), SPEC), expected)
    facts = verify(path, MAX_PIXELS, BANDS)
    assert (facts.problem, facts.width, facts.height, facts.mode) == (None, WIDTH, HEIGHT, "7 × uint16")
    assert len(facts.thumbnail) == 288


def test_arrays_in_memory_are_images() -> None:
    """An array that is passed to predict gives the pixels of its file."""
    np.testing.assert_array_equal(decode(VALUES, SPEC)[..., 0], np.rint(VALUES[..., 0] * (255 / 4095)))


@pytest.mark.parametrize(
    ("dtype", "black", "white"),
    [("uint8", 0, 255), ("uint16", 0, 65_535), ("int16", 0, 32_767), ("float32", 0, 1), ("float64", 0, 1)],
)
def test_default_range_is_that_of_the_type(dtype: str, black: float, white: float, tmp_path: Path) -> None:
    """Without `data.range`, all values of an integer type are used, and 0-1 of numbers; NaN is black."""
    values = np.array([[black, white], [white, black]], dtype)
    np.save(tmp_path / "a.npy", values)
    pixels = decode(tmp_path / "a.npy", PixelSpec(2, 2, "bands", bands=1))
    assert pixels[..., 0].tolist() == [[0, 255], [255, 0]]
    if np.dtype(dtype).kind == "f":
        np.save(tmp_path / "b.npy", np.array([[np.nan, np.inf], [-np.inf, 0.5]], dtype))
        pixels = decode(tmp_path / "b.npy", PixelSpec(2, 2, "bands", bands=1))
        assert pixels[..., 0].tolist() == [[0, 255], [0, 128]]


def test_each_band_is_resized_like_a_grayscale_image(tmp_path: Path) -> None:
    """Bands of 8 bits give the pixels of the same grayscale image, in every fit."""
    gray = np.random.default_rng(1).integers(0, 256, (33, 47), np.uint8)
    np.save(tmp_path / "a.npy", np.stack([gray, gray], axis=-1))
    for fit in ("stretch", "crop", "pad"):
        expected = decode(gray, PixelSpec(16, 16, "grayscale", fit)).astype(int)  # type: ignore[arg-type]
        found = decode(tmp_path / "a.npy", PixelSpec(16, 16, "bands", fit, bands=2)).astype(int)  # type: ignore[arg-type]
        assert np.abs(found - expected).max() <= 1  # Pillow rounds after each direction


def test_alpha_is_kept(tmp_path: Path) -> None:
    """Color rgba keeps alpha, which rgb blends with white."""
    pixels = np.random.default_rng(2).integers(0, 256, (8, 8, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", PixelSpec(8, 8, "rgba")), pixels)
    Image.fromarray(pixels[..., :3].copy()).save(tmp_path / "b.png")
    assert (decode(tmp_path / "b.png", PixelSpec(8, 8, "rgba"))[..., 3] == 255).all()


def _write_with_strip(path: Path, strip: bytes, compression: str) -> None:
    """Write a TIFF of 64 × 64 pixels with five bands, whose only strip is replaced by another one."""
    settings: dict[str, Any] = {"planarconfig": "contig", "compression": compression}
    tifffile.imwrite(path, np.zeros((64, 64, 5), np.uint8), photometric="minisblack", **settings)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        count, offset, scheme = (page.tags[name] for name in ("StripByteCounts", "StripOffsets", "Compression"))
    if compression == "none":  # tifffile does not write PackBits
        data[scheme.valueoffset : scheme.valueoffset + 2] = tifffile.COMPRESSION.PACKBITS.to_bytes(2, "little")
    data[count.valueoffset : count.valueoffset + 4] = len(strip).to_bytes(4, "little")
    data[offset.valueoffset : offset.valueoffset + 4] = len(data).to_bytes(4, "little")
    path.write_bytes(bytes(data) + strip)


def _bomb(path: Path) -> None:
    """Write a TIFF whose only strip expands to 64 MB instead of 20 kB."""
    _write_with_strip(path, zlib.compress(bytes(64 * 2**20)), "zlib")


def _run_length_bomb(path: Path) -> None:
    """Write a TIFF whose only strip is 1 MB of PackBits, which expand to 64 MB instead of 20 kB."""
    _write_with_strip(path, b"\x81\0" * 2**19, "none")


def _npy(header: bytes) -> Callable[[Path], Any]:
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "image-array"),
        (lambda path: np.save(path, np.zeros((4, 4, BANDS), complex)), "image-array"),
        (lambda path: np.save(path, np.zeros((4, 4, 5))), "image-bands"),
        (lambda path: np.save(path, np.zeros(7)), "image-array"),
        (lambda path: np.save(path, np.zeros((0, 4, 7))), "image-array"),
        (_npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (999, 999, 7)}"), "image-truncated"),
        (_npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999, 7)}"), "image-too-many-bytes"),
        (_npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4, 7)}"), "image-array"),
        (_npy(b"__import__('os')"), "image-damaged"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x09\x00"), "image-damaged"),
        (lambda path: path.write_bytes(b"\x93NUMPY"), "image-damaged"),
        (lambda path: path.write_bytes(b"II*\0" + bytes(20)), "image-damaged"),
        (lambda path: path.write_bytes(b"nothing"), "image-unknown-format"),
        (_bomb, "image-damaged"),
        (_run_length_bomb, "image-damaged"),
    ],
)
def test_other_files_are_refused(write: Callable[[Path], Any], code: str, tmp_path: Path) -> None:
    """Objects, other types, other shapes, false sizes and damage are refused with a reason, without much memory."""
    path = tmp_path / "a.npy"
    write(path)
    bands = 5 if write in (_bomb, _run_length_bomb) else BANDS
    problem = verify(path, MAX_PIXELS, bands).problem
    assert problem is not None
    assert problem.code == code
    with pytest.raises(ImageError) as caught:
        decode(path, PixelSpec(8, 8, "bands", bands=bands))
    assert caught.value.code == code


def test_run_lengths_are_read(tmp_path: Path) -> None:
    """A strip of PackBits gives its runs, its literal bytes, and nothing for a byte that stands for no operation."""
    values = np.zeros(64 * 64 * 5, np.uint8)
    values[:3] = [1, 2, 3]
    strip = b"\x80\x02\x01\x02\x03" + b"\x81\0" * 159 + b"\x83\0"
    _write_with_strip(tmp_path / "a.tif", strip, "none")

    found = decode(tmp_path / "a.tif", PixelSpec(64, 64, "bands", bands=5))
    assert np.array_equal(found, values.reshape(64, 64, 5))


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 4, 2), -3.4e38, np.float32),  # no data
        np.array([[[1e308, -1e308]]]),
        np.full((2, 2, 2), np.frombuffer(b"\0\0\xa0\x7f", "<f4")[0]),  # a signaling NaN
    ],
    ids=["constant", "large", "NaN"],
)
def test_extreme_values_are_clipped_without_warnings(values: NDArray[Any], tmp_path: Path) -> None:
    """Values near the limits of their type become black or white, and have a thumbnail."""
    np.save(tmp_path / "a.npy", values)
    pixels = decode(tmp_path / "a.npy", PixelSpec(4, 4, "bands", bands=2))

    assert set(pixels.ravel().tolist()) <= {0, 255}
    assert verify(tmp_path / "a.npy", MAX_PIXELS, 2).problem is None


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_rows_are_not_bands(mode: str, tmp_path: Path) -> None:
    """An ordinary image of as many rows as there should be bands is refused."""
    for name in ("a.png", "a.tif"):
        Image.new(mode, (9, 4)).save(tmp_path / name)
        with pytest.raises(ImageError) as caught:
            decode(tmp_path / name, PixelSpec(4, 4, "bands", bands=4))
        assert caught.value.code == "image-bands"


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_palette_gives_colors(name: str, tmp_path: Path) -> None:
    """An image with a palette has the bands of its colors, not its indexes."""
    colors = np.random.default_rng(3).integers(0, 256, (2, 2, 3), np.uint8)
    Image.fromarray(colors).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        expected = np.asarray(image.convert("RGB"))

    np.testing.assert_array_equal(decode(tmp_path / name, PixelSpec(2, 2, "bands", bands=3)), expected)


def test_many_bands_need_little_more_memory_than_their_values(tmp_path: Path) -> None:
    """Bands are scaled one after another, not all of them as floating-point numbers."""
    values = np.zeros((1000, 1000, 32), np.uint8)
    np.save(tmp_path / "a.npy", values)
    for read in (
        lambda: decode(tmp_path / "a.npy", PixelSpec(8, 8, "bands", bands=32)),
        lambda: verify(tmp_path / "a.npy", MAX_PIXELS, 32),
    ):
        tracemalloc.start()
        read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * values.nbytes


def test_strips_that_overlap_are_refused(tmp_path: Path) -> None:
    """A TIFF all of whose strips are the same compressed bytes would be decoded thousands of times."""
    path = tmp_path / "a.tif"
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 5), np.uint8)
    tifffile.imwrite(
        *(path, image), photometric="minisblack", planarconfig="contig", compression="zlib", rowsperstrip=1
    )
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        counts, offsets = page.tags["StripByteCounts"], page.tags["StripOffsets"]
    strip = zlib.compress(bytes(64 * 5)) + bytes(1_000)
    count, start = len(strip).to_bytes(counts.valuebytecount // 64, "little"), len(data).to_bytes(4, "little")
    data[counts.valueoffset : counts.valueoffset + counts.valuebytecount] = 64 * count
    data[offsets.valueoffset : offsets.valueoffset + offsets.valuebytecount] = 64 * start
    path.write_bytes(bytes(data) + strip)

    with pytest.raises(ImageError) as caught:
        decode(path, PixelSpec(8, 8, "bands", bands=5))
    assert caught.value.code == "image-damaged"
    assert "overlap" in str(caught.value)


def test_missing_tiles_are_refused(tmp_path: Path) -> None:
    """A TIFF that declares millions of columns with four tiles is refused at once, without messages on stderr."""
    path = tmp_path / "a.tif"
    settings: dict[str, Any] = {"planarconfig": "contig", "compression": "zlib", "tile": (16, 16)}
    tifffile.imwrite(path, np.zeros((20, 30, 3), np.uint16), photometric="minisblack", **settings)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        width = page.tags["ImageWidth"].valueoffset
    data[width : width + 4] = (8_000_000).to_bytes(4, "little")

    with pytest.raises(ImageError) as caught:
        decode(bytes(data), PixelSpec(8, 8, "bands", bands=3))
    assert caught.value.code == "image-damaged"
    assert "missing" in str(caught.value)
    assert logging.getLogger("tifffile").handlers


def test_preview_has_three_channels() -> None:
    """Gray is repeated, RGB and RGBA lose alpha, and other bands are averaged in three groups."""
    pixels = np.arange(7, dtype=np.uint8)[None, None] * 10
    assert preview(pixels[..., :1]).tolist() == [[[0, 0, 0]]]
    assert preview(pixels[..., :2]).tolist() == [[[0, 5, 10]]]
    assert preview(pixels[..., :4]).tolist() == [[[0, 10, 20]]]
    assert preview(pixels).tolist() == [[[10, 35, 55]]]


def test_a_buffer_is_read_to_its_end() -> None:
    """Content from standard input gives the pixels of the file."""
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    assert decode(buffer.getvalue(), SPEC).shape == (HEIGHT, WIDTH, BANDS)


def test_threads_read_arrays_at_the_same_time(tmp_path: Path) -> None:
    """No array counts as damaged because garbage collection lets threads take turns while a header is parsed."""
    np.save(tmp_path / "a.npy", VALUES)
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(3)
    gc.callbacks.append(_take_time)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: _deeper(n % 8, tmp_path / "a.npy"), range(800)))
    finally:
        gc.callbacks.remove(_take_time)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)

    assert all((one == found[0]).all() for one in found)


def _take_time(*_: object) -> None:
    sum(range(20))


def _deeper(depth: int, path: Path) -> NDArray[Any]:
    """Return the pixels of an image, decoded at a depth of the stack that differs between threads."""
    return _deeper(depth - 1, path) if depth else decode(path, SPEC)
