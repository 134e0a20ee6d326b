"""Thumbnails are similar for copies of an image, and different for different images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cnncli.dataset.perceptual_hash import HASH_BITS, Looks, color_distances, correlations, similar_pairs
from cnncli.images.thumbnail import GRAY_SIDE, THUMBNAIL_BYTES
from cnncli.images.verify import verify
from tests.images.making import drawn_image, encoded

WHOLE = drawn_image(240, 320, seed=5)


def thumbnail(data: bytes) -> bytes:
    """Return the thumbnail of a readable image."""
    facts = verify(data, 10**8)
    assert facts.problem is None
    return facts.thumbnail


def distance(one: bytes, other: bytes) -> tuple[int, float, float]:
    """Return the number of different bits, the correlation and the color distance of two thumbnails."""
    looks = Looks.of([one, other])
    bits = int(np.bitwise_count(looks.hashes[0] ^ looks.hashes[1]))
    correlation = correlations(looks.gray[:1], looks.gray[1:])[0]
    return bits, float(correlation), float(color_distances(looks.color[:1], looks.color[1:])[0])


FORMS = {
    "JPEG": encoded(WHOLE, "JPEG", quality=60),
    "progressive JPEG": encoded(WHOLE, "JPEG", quality=80, progressive=True),
    "WebP": encoded(WHOLE, "WEBP"),
    "TIFF": encoded(WHOLE, "TIFF"),
    "BMP": encoded(WHOLE, "BMP"),
    "palette": encoded(WHOLE.quantize(64)),
    "GIF": encoded(WHOLE.quantize(128), "GIF"),
    "alpha": encoded(WHOLE.convert("RGBA")),
    "CMYK": encoded(WHOLE.convert("CMYK"), "TIFF"),
    "half the size": encoded(WHOLE.resize((160, 120)), "JPEG"),
    "small": encoded(WHOLE.resize((40, 30)), "JPEG"),
    "other proportions": encoded(WHOLE.resize((224, 224))),
    "odd size": encoded(WHOLE.resize((333, 251)), "JPEG"),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_looks_the_same_in_every_form(form: str) -> None:
    """Changes of format, quality, size and aspect ratio stay below the limits for similar images."""
    bits, correlation, color = distance(thumbnail(encoded(WHOLE)), thumbnail(FORMS[form]))
    assert bits <= HASH_BITS
    assert correlation > 0.99
    assert color < 5


@pytest.mark.parametrize("form", ["16 bits", "1 bit", "gray", "gray with alpha"])
def test_an_image_without_colors_looks_the_same_in_every_form(form: str) -> None:
    """A grayscale copy is similar to the image in color."""
    gray = WHOLE.convert("L")
    sixteen = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    forms = {"16 bits": sixteen, "1 bit": gray.convert("1"), "gray": gray, "gray with alpha": gray.convert("LA")}
    bits, correlation, _ = distance(thumbnail(encoded(WHOLE)), thumbnail(encoded(forms[form])))
    assert bits <= HASH_BITS
    assert correlation > 0.97


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_applied(kind: str) -> None:
    """A rotated image with an EXIF orientation looks like the upright image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = WHOLE.transpose(Image.Transpose.ROTATE_90)
    bits, correlation, _ = distance(thumbnail(encoded(WHOLE)), thumbnail(encoded(lying, kind, exif=exif)))
    assert bits <= HASH_BITS
    assert correlation > 0.99


def test_transparency_is_laid_on_white() -> None:
    """Colors of transparent pixels are ignored, as in training."""
    clear = WHOLE.convert("RGBA")
    clear.putalpha(0)
    assert thumbnail(encoded(clear)) == bytes([255] * GRAY_SIDE**2 + [128] * (THUMBNAIL_BYTES - GRAY_SIDE**2))


def test_other_images_look_different() -> None:
    """About half of the bits of two different images differ."""
    looks = Looks.of([thumbnail(encoded(drawn_image(seed=seed))) for seed in range(40)])
    bits = np.bitwise_count(looks.hashes[:, None] ^ looks.hashes)[np.triu_indices(40, 1)]
    assert similar_pairs(looks, [np.arange(40)], within=[0]).pairs == ()
    assert 28 < bits.mean() < 35


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (700, 1), (5, 3)])
def test_the_smallest_images_have_a_thumbnail(size: tuple[int, int]) -> None:
    """Images of a few pixels have a thumbnail in every mode."""
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        assert len(thumbnail(encoded(drawn_image(size[1], size[0]).convert(mode)))) == THUMBNAIL_BYTES
    assert len(thumbnail(encoded(drawn_image(size[1], size[0]), "JPEG"))) == THUMBNAIL_BYTES


def test_refused_images_have_no_thumbnail() -> None:
    """The thumbnail of a damaged image is empty."""
    data = io.BytesIO(encoded(WHOLE, "JPEG")).getvalue()[:-500]
    facts = verify(data, 10**8)
    assert facts.problem is not None
    assert facts.thumbnail == b""
