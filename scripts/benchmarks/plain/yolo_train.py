"""Train the smallest network of `yolo classify` from random weights for one epoch, and print versions as JSON.

python -m scripts.benchmarks.plain.yolo_train DATA SIDE_PX THREADS FOLDER

Needs ultralytics, but neither Keras nor cnncli.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

NETWORK = "yolo11n-cls.yaml"
"""Has 1.6 million parameters."""


def main(data: Path, side_px: int, threads: int, folder: Path) -> None:
    """Train and validate."""
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    import torch
    import ultralytics

    for cache in data.rglob("*.cache"):  # left by an earlier training
        cache.unlink()
    model = ultralytics.YOLO(NETWORK)
    # On a CPU, ultralytics uses one thread less than there are cores.
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
    model.train(data=str(data), epochs=1, imgsz=side_px, device="cpu", plots=False, verbose=False, project=str(folder))
    print(json.dumps({"torch": torch.__version__, "ultralytics": ultralytics.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
