"""Damage images at random: all readers must use the image, or refuse it for the same reason."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnncli.cli import app, data, main
from cnncli.config import schema
from cnncli.dataset import build, fix_splits
from cnncli.errors import EXIT_DONE, EXIT_USER, ImageError
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify
from tests.fault_injection.bounded import run_bounded
from tests.fault_injection.mutation import mutate

SPECS = (
    PixelSpec(224, 224),
    PixelSpec(40, 56, "grayscale", "crop"),
    PixelSpec(48, 64),  # a JPEG of the seeds' size is not downscaled while it is decoded
    PixelSpec(33, 21, "rgb", "pad"),
)
"""Pixel specs that take different ways through the decoder."""

IMPORTED_ONCE = (app, data, schema, build, fix_splits)
"""Lazy imports of the command, done once by the parent of all children."""

SUFFIXES = (".jpg", ".png", ".webp", ".tif", "")


def once(work: Path, random: np.random.Generator) -> None:
    """Check one file that is made from one or two valid images."""
    files = seeds()
    chosen = files[random.integers(len(files))]
    check_file(mutate(chosen, random, files), work, SUFFIXES[random.integers(len(SUFFIXES))])


def check_file(data: bytes, work: Path, suffix: str = ".jpg") -> None:
    """Check that verification, decoding and `data check` agree on a file, within 10 s and 2 GB.

    Raises:
        AssertionError: They do not agree. The file is kept in the work directory.
    """
    folder = work / "images"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(3):  # one for each split that would be drawn
            (folder / label / f"good-{number}.png").write_bytes(_png(3 * ord(label) + number))
    path = folder / "a" / f"mutant{suffix}"
    path.write_bytes(data)
    printed = run_bounded(functools.partial(_stderr_of_readers, path, work))
    assert not printed, printed


def _stderr_of_readers(path: Path, work: Path) -> str:
    """Run all readers in a child, and return their stderr."""
    os.environ |= {"CNNCLI_CACHE": str(work / "cache"), "CNNCLI_RUNS": str(work / "runs")}
    captured = work / "stderr.txt"
    with captured.open("w", encoding="utf-8") as stderr, contextlib.redirect_stderr(stderr):
        os.dup2(stderr.fileno(), 2)  # where C libraries write
        _require_agreement(path)
    return captured.read_text(encoding="utf-8", errors="replace")


def _require_agreement(path: Path) -> None:
    """Check that verification, decoding and the command agree on a file."""
    problem = verify(path, MAX_PIXELS).problem
    assert "memory" not in (problem or ""), problem
    for spec in SPECS:
        assert refusal(path, spec) == problem
    assert refusal(path.read_bytes(), SPECS[0]) == problem  # training decodes bytes
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(["data", "check", str(path.parents[1]), "--quiet"])
    if path.suffix:
        assert code == (EXIT_USER if problem else EXIT_DONE), out.getvalue()
        assert not problem or f"{path}: {problem}" in out.getvalue(), out.getvalue()
    else:  # a file without an image's suffix and signature is ignored
        assert code == EXIT_DONE or (code == EXIT_USER and problem), out.getvalue()


def refusal(source: Path | bytes, spec: PixelSpec) -> str | None:
    """Return the reason why an image is refused, or None if it is decoded to the requested shape."""
    try:
        pixels = decode(source, spec)
    except ImageError as error:
        return error.reason
    assert pixels.shape == (spec.height, spec.width, spec.channels)
    assert pixels.dtype == np.uint8
    return None


@functools.cache
def seeds() -> list[bytes]:
    """Return valid files of every format, in every mode of the format."""
    rgb, few, gray = _drawn("RGB"), _drawn("RGB").quantize(16), _drawn("L")
    rgba, inks, bits = _drawn("RGBA"), _drawn("CMYK"), _drawn("L").convert("1")
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description of the image"
    made: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgb, "JPEG", {"quality": 90}),
        (rgb, "JPEG", {"progressive": True, "exif": exif}),
        (rgb, "JPEG", {"subsampling": 0, "restart_marker_rows": 1, "comment": b"a comment"}),
        (gray, "JPEG", {"exif": exif}),
        (inks, "JPEG", {}),
        (rgb, "MPO", _frames()),
        *((one, "PNG", {}) for one in (rgb, rgba, few, gray, bits, wide, _drawn("LA"))),
        (few, "PNG", {"transparency": 3}),
        (few, "PNG", {"transparency": bytes(range(0, 256, 17))}),
        (rgb, "PNG", {"transparency": (1, 2, 3), "exif": exif, "icc_profile": b"none" * 30}),
        (rgb, "PNG", {**_frames(), "duration": 99}),
        (few, "GIF", {}),
        (few, "GIF", {"transparency": 3, "comment": b"a comment"}),
        (few, "GIF", {**_frames(), "duration": 99, "loop": 0}),
        (rgb, "WEBP", {"exif": exif}),
        (rgb, "WEBP", {"lossless": True}),
        (rgba, "WEBP", {"quality": 80}),
        (rgb, "WEBP", {**_frames(), "duration": 99}),
        *((one, "TIFF", {}) for one in (rgb, rgba, few, gray, bits, wide, inks, _drawn("LA"), _drawn("YCbCr"))),
        *((rgb, "TIFF", {"compression": f"tiff_{name}", "exif": exif}) for name in ("lzw", "adobe_deflate")),
        (rgb, "TIFF", {"compression": "jpeg"}),
        (rgb, "TIFF", {"compression": "packbits"}),
        (bits, "TIFF", {"compression": "group4"}),
        (rgb, "TIFF", {**_frames(), "compression": "tiff_lzw"}),
        (rgb, "TIFF", {"big_tiff": True}),
        *((one, "BMP", {}) for one in (rgb, rgba, few, gray, bits)),
    ]
    return [*(_encoded(*one) for one in made), _tiled_tiff()]


def _tiled_tiff() -> bytes:
    """Return a TIFF of four deflated tiles of 32 × 32 gray pixels, a layout that Pillow cannot write."""
    tiles = [zlib.compress(bytes(range(256)) * 4)] * 4
    lengths = [len(tile) for tile in tiles]
    table = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 32, 323: 32}
    lists = 8 + 2 + (len(table) + 2) * 12 + 4
    begins = [lists + 32 + sum(lengths[:number]) for number in range(4)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in table.items()]
    entries += [struct.pack("<HHII", 324, 4, 4, lists), struct.pack("<HHII", 325, 4, 4, lists + 16)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return head + struct.pack("<8I", *begins, *lengths) + b"".join(tiles)


def _frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [_drawn("RGB", 1), _drawn("RGB", 2)]}


def _drawn(mode: str, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).convert(mode)


def _encoded(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)  # saving changes the settings of the image
    return file.getvalue()


@functools.cache
def _png(seed: int) -> bytes:
    return _encoded(_drawn("RGB", seed), "PNG", {})
