"""The example of a model card: Python code that classifies an image with a run, in its folder."""

from __future__ import annotations

from cnncli.images.decode import PixelSpec
from cnncli.inference.spec import PredictorSpec

_MODES = {"rgb": "RGB", "grayscale": "L", "rgba": "RGBA"}

_CNNCLI = """\
import cnncli

(prediction,) = cnncli.predict("image.tif", run=".")
print(prediction.labels, prediction.probabilities)
"""

_IMPORTS = """\
import json
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageOps

model = keras.saving.load_model("model.keras")
classes = json.loads(Path("classes.json").read_text(encoding="utf-8"))
"""

_SOFTMAX = """\
probabilities = model.predict(pixels)[0]
"""

_LINEAR = """\
scores = model.predict(pixels)[0]  # not yet probabilities
probabilities = np.exp(scores - scores.max())
probabilities /= probabilities.sum()
"""

_BINARY = """\
second = model.predict(pixels)[0, 0]  # the probability of the second class
probabilities = np.array([1 - second, second])
"""

_PRINT = """\
for name, probability in zip(classes, probabilities):
    print(name, probability)
"""

_PRINT_LABELS = """\
thresholds = json.loads(Path("engine/scoring.json").read_text())["thresholds"]
for name, probability, threshold in zip(classes, probabilities, thresholds):
    print(name, probability, probability >= threshold)  # an image can have several labels, or none
"""


def usage_example(spec: PredictorSpec) -> str:
    """Return code that gives the probabilities of `cnncli predict`, with plain Keras if Pillow can decode the images.

    Color bands and ranges of values need the decoder of cnncli.
    """
    if spec.color == "bands" or spec.value_range is not None or spec.window is not None:
        return _CNNCLI
    scores = _LINEAR if spec.activation == "linear" else _BINARY if spec.units == 1 else _SOFTMAX
    return _IMPORTS + _decoding(spec.pixels) + scores + (_PRINT_LABELS if spec.is_multi_label else _PRINT)


def _decoding(spec: PixelSpec) -> str:
    size = f"({spec.width}, {spec.height})"
    resized = {
        "stretch": f"image.resize({size}, Image.Resampling.BILINEAR)",
        "crop": f"ImageOps.fit(image, {size}, Image.Resampling.BILINEAR)",
        "pad": f"ImageOps.pad(image, {size}, Image.Resampling.BILINEAR)",
    }[spec.fit]
    return f"""\
with Image.open("image.jpg") as file:
    file.draft(None, ({2 * spec.width}, {2 * spec.height}))  # scales a large JPEG while it is decoded
    image = ImageOps.exif_transpose(file).convert("{_MODES[spec.color]}")
image = {resized}
pixels = np.asarray(image, "float32").reshape(1, {spec.height}, {spec.width}, {spec.channels})
"""
