"""From files with several bands, alpha or one channel to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.dataset.dataset import read_dataset
from cnncli.images.decode import PixelSpec, decode
from cnncli.inference.prediction import Prediction
from cnncli.networks.backend import import_keras
from cnncli.recipes.augment import augment
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import predict
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from tests.support.drawing import CLASSES, draw_image, tiny_config

CONSOLE = Console(quiet=True)
BANDS = 5


def _draw(root: Path, color: str) -> Path:
    """Write images of which only the last channel shows the class, where there are several."""
    seed = 0
    for split, count in {"train": 10, "validation": 4, "test": 4}.items():
        for label in CLASSES:
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                gray = draw_image(label, seed)[..., 0]
                noise = np.random.default_rng(seed).integers(0, 256, (32, 32, BANDS), np.uint8)
                if color == "grayscale":
                    Image.fromarray(gray).save(folder / f"{number}.png")
                elif color == "rgba":
                    pixels = np.concatenate([noise[..., :3], gray[..., None]], axis=-1)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
                else:
                    values = np.concatenate([noise[..., :-1], gray[..., None]], axis=-1).astype(np.uint16) * 16
                    np.save(folder / f"{number}.npy", values)
    return root


@pytest.mark.parametrize(
    ("color", "channels", "data"),
    [("grayscale", 1, {}), ("rgba", 4, {}), ("bands", BANDS, {"bands": BANDS, "range": [0, 4080]})],
)
def test_a_run_takes_images_with_other_channels(
    color: str, channels: int, data: dict[str, Any], tmp_path: Path
) -> None:
    """Rows 53, 54. A run trains, evaluates and predicts, and bare Keras gives the same for the pixels."""
    folder = _draw(tmp_path / "data", color)
    settings = {"path": folder, "image_size": 32, "color": color, **data}
    config = tiny_config(folder, mode="from-scratch", data=settings, training={"epochs": 1})
    run = train(config, tmp_path / "runs", CONSOLE)

    (found, *others) = predict(run.folder, [str(folder / "test")])
    assert isinstance(found, Prediction)
    assert len(others) == 7
    assert evaluate(run.folder, CONSOLE, "test").metrics.to_dict()["n"] == 8
    keras = import_keras()
    model = keras.saving.load_model(run.folder.model, safe_mode=True)
    assert model.input_shape == (None, 32, 32, channels)
    path = Path(found.path)
    pixels = np.load(path) / 16 if color == "bands" else decode(path, PixelSpec(32, 32, color))  # type: ignore[arg-type]
    scores = model(pixels.reshape(1, 32, 32, channels).astype(np.float32)).numpy()[0]
    np.testing.assert_allclose(sorted(found.probabilities), sorted(scores), atol=2e-3)


def test_copies_are_found_and_views_are_drawn_for_bands(tmp_path: Path) -> None:
    """The same array in two splits is a leak, and a contact sheet shows the augmented bands."""
    folder = _draw(tmp_path / "data", "bands")
    copy = folder / "test" / CLASSES[0] / "copy.npy"
    copy.write_bytes((folder / "train" / CLASSES[0] / "0.npy").read_bytes())
    settings = {"path": folder, "color": "bands", "bands": BANDS, "allow_leakage": True}
    config = tiny_config(folder, mode="from-scratch", data=settings, augmentation={"rotation_range": 20.0})

    dataset = read_dataset(config.data)
    assert [len(copies) for copies in dataset.identical if len(copies) > 1] == [2]
    assert {one.facts.mode for one in dataset.images} == {"5 × uint16"}
    sheet = augment(config, tmp_path / "sheet.png", 2, 3, CONSOLE)
    with Image.open(sheet.path) as drawn:
        assert len(drawn.getcolors(10_000_000) or ()) > 1_000
