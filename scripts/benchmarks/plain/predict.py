"""Print the class probabilities of images from a saved model in plain Keras, one line per image.

python -m scripts.benchmarks.plain.predict MODEL IMAGE|FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.plain.parts import steady


def main(model_file: Path, source: Path) -> None:
    """Predict one image, or all images of a folder in batches."""
    import keras

    model = keras.saving.load_model(model_file, compile=False)
    height, width = model.input_shape[1:3]
    paths, scores = (in_folder if source.is_dir() else one)(model, source, (height, width))
    for path, row in zip(paths, scores, strict=True):
        print(path, *(f"{value:.6f}" for value in row))


def one(model: Any, image: Path, size: tuple[int, int]) -> tuple[list[Any], Any]:
    """Return the scores of one image."""
    import keras

    pixels = keras.utils.img_to_array(keras.utils.load_img(image, target_size=size, interpolation="bilinear"))
    return [image], model.predict(pixels[np.newaxis], verbose=0)


def in_folder(model: Any, folder: Path, size: tuple[int, int]) -> tuple[list[Any], Any]:
    """Return the scores of all images of a folder; batches are decoded while the model runs."""
    import keras

    data = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=size, batch_size=32, shuffle=False, verbose=False
    )
    return data.file_paths, model.predict(steady(data), verbose=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
