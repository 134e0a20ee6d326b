"""The config that `cnncli train DIR` uses for a folder of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.dataset.source import read_config
from tests.support.drawing import draw_dataset


@pytest.mark.parametrize(
    ("size", "overrides", "expected"),
    [
        (8, (), (128, {})),
        (200, (), (None, {})),
        (8, ("data.image_size=null",), (None, {})),
        (8, ("data.image_size=64",), (64, {})),
        (8, ("mode=from-scratch", "backbone.name=ConvNet"), (8, {"filters": [32, 64], "padding": "same"})),
    ],
)
def test_small_images_reduce_the_image_size(
    size: int, overrides: tuple[str, ...], expected: tuple[int | None, dict[str, object]], tmp_path: Path
) -> None:
    """For small images, the image size and the filters of a ConvNet are reduced unless they are overridden."""
    draw_dataset(tmp_path / "data", 1, 1, 1, size=size)
    (tmp_path / "data" / "train" / "dots" / "broken.png").write_bytes(b"broken")
    config = read_config(tmp_path / "data", overrides)

    assert (config.data.image_size, config.backbone.options) == expected
