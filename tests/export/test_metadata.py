"""The metadata of an export name every setting that determines the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.config.reader import config_from_mapping
from cnncli.export.metadata import describe
from cnncli.images.decode import PixelSpec, decode
from cnncli.inference.spec import PredictorSpec
from cnncli.runs.folder import RunFolder

SIZE = 16


def metadata_of(pixels: PixelSpec, folder: Path) -> dict[str, Any]:
    """Return the metadata of a run that decodes images in a given way."""
    spec = PredictorSpec(
        engine="openvino",
        precision="float32",
        tail_engine="openvino",
        trunk=None,
        unfreeze="all",
        batch_norm="train",
        pretrained=False,
        activation="softmax",
        classes=("cats", "dogs"),
        height=pixels.height,
        width=pixels.width,
        color=pixels.color,
        fit=pixels.fit,
        max_pixels=pixels.max_pixels,
        value_range=pixels.value_range,
        bands=pixels.bands,
        window=pixels.window,
    )
    config = config_from_mapping({"mode": "from-scratch", "data": {"path": folder}}, environment={})
    return describe(RunFolder(folder), spec, config, None)


def resized(image: Image.Image, box: Any = None) -> NDArray[Any]:
    """Resize as the metadata says, with nothing but Pillow."""
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box))


def scaled(values: NDArray[Any], value_range: list[float]) -> NDArray[np.float64]:
    """Scale values as the metadata says."""
    low, high = value_range
    return np.clip((values - low) * (255 / (high - low)), 0, 255)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of values."""
    return np.random.default_rng(0)


def test_the_range_of_16_bit_values_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    """A 12-bit image gets the pixels of the run by the range in the metadata, and other pixels without it."""
    values = rng.integers(0, 4096, (40, 40), np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels = PixelSpec(SIZE, SIZE, value_range=(0, 4095))
    found = metadata_of(pixels, tmp_path)

    gray = np.rint(scaled(values, found["input"]["value_range"])).astype(np.uint8)
    expected = decode(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(resized(Image.fromarray(gray).convert("RGB")), expected)
    assert "from 0 to 4095" in found["preprocessing"]


def test_16_bit_values_without_a_range_keep_their_upper_half(tmp_path: Path, rng: np.random.Generator) -> None:
    """Without a range of its own, the metadata name none, and say what becomes of 16-bit values."""
    values = rng.integers(0, 65_536, (40, 40), np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels = PixelSpec(SIZE, SIZE)
    found = metadata_of(pixels, tmp_path)

    gray = Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    np.testing.assert_array_equal(resized(gray), decode(tmp_path / "a.png", pixels))
    assert "value_range" not in found["input"]
    assert "upper 8 bits" in found["preprocessing"]


def test_inverted_16_bit_values_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    """A 16-bit TIFF of which 0 is white is inverted after its conversion to 8 bits, as the metadata say."""
    values = rng.integers(0, 65_536, (40, 40), np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={262: 0})
    pixels = PixelSpec(SIZE, SIZE)

    gray = Image.fromarray(255 - (values >> 8).astype(np.uint8)).convert("RGB")
    np.testing.assert_array_equal(resized(gray), decode(tmp_path / "a.tif", pixels))
    assert "WhiteIsZero" in metadata_of(pixels, tmp_path)["preprocessing"]


@pytest.mark.parametrize(("color", "word"), [("rgb", "white"), ("grayscale", "white"), ("rgba", "kept")])
def test_transparency_is_named(tmp_path: Path, rng: np.random.Generator, color: Any, word: str) -> None:
    """Alpha is blended with white or kept, as the metadata say."""
    values = rng.integers(0, 256, (SIZE, SIZE, 4), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels = PixelSpec(SIZE, SIZE, color)
    found = metadata_of(pixels, tmp_path)

    assert word in found["input"]["transparency"]
    assert word in found["preprocessing"]
    expected = decode(tmp_path / "a.png", pixels)
    if color == "rgba":
        np.testing.assert_array_equal(expected, values)
    else:
        image = Image.open(tmp_path / "a.png")
        on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        mode = {"rgb": "RGB", "grayscale": "L"}[color]
        flat = np.asarray(on_white.convert("RGB").convert(mode)).reshape(expected.shape)
        assert np.abs(flat.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("value_range", [None, (-0.5, 2.0)])
def test_bands_are_named_with_their_number_and_range(
    tmp_path: Path, rng: np.random.Generator, value_range: tuple[float, float] | None
) -> None:
    """Bands get the pixels of the run by the number and the range in the metadata."""
    values = rng.uniform(-1, 3, (40, 30, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    pixels = PixelSpec(SIZE, SIZE, "bands", bands=5, value_range=value_range)
    found = metadata_of(pixels, tmp_path)

    assert found["input"]["bands"] == found["input"]["shape"][-1] == 5
    assert "5 bands" in found["preprocessing"]
    levels = scaled(values, found["input"].get("value_range", [0, 1])).astype(np.float32)
    bands = [np.rint(resized(Image.fromarray(levels[..., band]))) for band in range(5)]
    np.testing.assert_array_equal(np.stack(bands, axis=-1), decode(tmp_path / "a.npy", pixels))


def test_the_window_of_dicom_values_is_named(tmp_path: Path) -> None:
    """The window of a run replaces that of each file, so the metadata name it."""
    found = metadata_of(PixelSpec(SIZE, SIZE, window=(40.0, 400.0)), tmp_path)

    assert found["input"]["dicom_window"] == [40.0, 400.0]
    assert "center 40.0 and width 400.0" in found["preprocessing"]
    assert "dicom_window" not in metadata_of(PixelSpec(SIZE, SIZE), tmp_path)["input"]


def test_a_large_jpeg_is_reduced_while_it_is_decoded(tmp_path: Path, rng: np.random.Generator) -> None:
    """Pillow's draft of a JPEG, of which the metadata speak, changes its pixels."""
    Image.fromarray(rng.integers(0, 256, (150, 131, 3), np.uint8)).save(tmp_path / "a.jpg")
    pixels = PixelSpec(SIZE, SIZE)
    image = Image.open(tmp_path / "a.jpg")
    _, box = image.draft(None, (2 * SIZE, 2 * SIZE))  # type: ignore[misc]

    np.testing.assert_array_equal(resized(image, box), decode(tmp_path / "a.jpg", pixels))
    assert "draft" in metadata_of(pixels, tmp_path)["preprocessing"]
