"""Compute features of images with a frozen network of timm, once for each line on stdin, and answer with a line.

python -m scripts.benchmarks.plain.timm_features NETWORK FOLDER SIDE_PX float32|bfloat16 WORKERS

The first line of the output has the versions of the packages as JSON. Needs torch and timm, but neither Keras nor
cnncli. The weights are random: only the time means something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = {
    "MobileNet": "mobilenetv1_100",
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "Xception": "legacy_xception",
    "EfficientNetLite0": "efficientnet_lite0",
    "DenseNet121": "densenet121",
}
"""timm's names of the networks."""
BATCH = 32


def main(network: str, folder: Path, side_px: int, precision: str, workers: int) -> None:
    """Compute the features for each line."""
    import timm
    import torch

    model = timm.create_model(NAMES[network], pretrained=False).eval().to(memory_format=torch.channels_last)
    settings = timm.data.resolve_data_config({"input_size": (3, side_px, side_px)}, model=model)
    mean, deviation = (torch.tensor(settings[name]).mul(255).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    images = Images(sorted(path for path in folder.rglob("*") if path.is_file()), side_px)
    loader = torch.utils.data.DataLoader(images, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    print(json.dumps({"torch": torch.__version__, "timm": timm.__version__}), flush=True)
    for _ in sys.stdin:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            for pixels in loader:
                scaled = pixels.permute(0, 3, 1, 2).float().sub_(mean).div_(deviation)
                model.forward_features(scaled).mean((2, 3)).float().numpy()
        print("done", flush=True)


class Images:
    """Images of files as a dataset of torch: uint8 of shape (side_px, side_px, 3)."""

    def __init__(self, files: list[Path], side_px: int) -> None:
        self._files, self._side_px = files, side_px

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def __getitem__(self, index: int) -> Any:
        """Return the pixels of an image."""
        with Image.open(self._files[index]) as image:
            size = (self._side_px, self._side_px)
            return np.array(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
