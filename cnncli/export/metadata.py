"""The facts that are stored in an exported file, so that it can be used without the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cnncli.config.schema import Config
from cnncli.evaluation.calibration import Calibration
from cnncli.inference.spec import PredictorSpec
from cnncli.runs.folder import RunFolder
from cnncli.version import __version__

FILE = "metadata.json"
"""Name of the file with the same facts beside every export."""

_FITS = {
    "stretch": "Scale both axes to {width} x {height} pixels.",
    "crop": "Cut out the largest centered part with the aspect ratio {width}:{height}, and scale it to that size.",
    "pad": "Scale the whole image, with its aspect ratio, into {width} x {height} pixels, centered on black.",
}
_TRANSPARENCY = {"rgb": "blended with white", "grayscale": "blended with white", "rgba": "kept"}
_DRAFT = (
    "A JPEG is scaled to 1/2, 1/4 or 1/8 while it is decoded if at least {width} x {height} pixels remain (Pillow: "
    "Image.draft)."
)
_NO_LICENSE = (
    "Not stated. The license of a classifier depends on that of its training images and of its pretrained weights "
    "({weights}); state it with --license."
)


def describe(run: RunFolder, spec: PredictorSpec, config: Config, license_text: str | None) -> dict[str, Any]:
    """Return the metadata of all exports of a run.

    Args:
        run: The run.
        spec: Its spec.
        config: Its config.
        license_text: License of the classifier, or None if the user did not state any.
    """
    calibration = Calibration.load(run.engine, len(spec.classes))
    weights = ", ".join(f"{one.network.name}: {one.weights}" for one in config.backbones)
    facts = {
        "producer": f"cnncli {__version__}",
        "run": run.path.name,
        "weights": weights,
        "license": license_text or _NO_LICENSE.format(weights=weights),
        "classes": list(spec.classes),
        "image_size": {"height": spec.height, "width": spec.width},
        "input": _input(spec),
        "preprocessing": _preprocessing(spec),
        "output": _output(spec),
        "thresholds": list(spec.thresholds) or None,
        "temperature": calibration.temperature if calibration else None,
        "not_included": "The answer `unknown` and calibrated confidences of cnncli predict.",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _input(spec: PredictorSpec) -> Mapping[str, Any]:
    facts = {
        "name": "pixels",
        "layout": "NHWC",
        "shape": [None, spec.height, spec.width, spec.pixels.channels],
        "color": spec.color,
        "range": [0, 255],
        "bands": spec.bands,
        "transparency": _TRANSPARENCY.get(spec.color),
        "value_range": spec.value_range and list(spec.value_range),
        "dicom_window": spec.window and list(spec.window),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _preprocessing(spec: PredictorSpec) -> str:
    sentences = [
        "Apply the EXIF orientation.",
        *(_bands(spec) if spec.color == "bands" else _colors(spec)),
        _FITS[spec.fit].format(height=spec.height, width=spec.width),
        "Resize bilinearly with antialiasing, as Pillow does, and round to integers in 0-255. Everything else, such as "
        "scaling and normalization, is part of the graph: do not apply it again.",
    ]
    return " ".join(sentences)


def _colors(spec: PredictorSpec) -> Iterator[str]:
    yield f"Convert to {spec.color}, with transparency {_TRANSPARENCY[spec.color]}."
    if spec.value_range is None:
        yield "Of 16-bit grayscale values, use the range that the file states, or else the upper 8 bits."
    else:
        low, high = spec.value_range
        yield f"Scale 16-bit grayscale values from {low} to {high} to 0-255, clip and round them."
    yield (
        "Then invert grayscale values of which 0 is white (MONOCHROME1 of DICOM; WhiteIsZero of TIFF, which Pillow "
        "inverts itself up to 8 bits)."
    )
    if spec.window is not None:
        center, width = spec.window
        yield f"Apply the window with center {center} and width {width} to DICOM values (PS3.3 C.11.2)."
    yield _DRAFT.format(width=2 * spec.width, height=2 * spec.height)


def _bands(spec: PredictorSpec) -> Iterator[str]:
    limits = spec.value_range or (0, "the largest integer of their type, or 1.0 for floating-point numbers,")
    yield f"Take the {spec.bands} bands. Scale their values from {limits[0]} to {limits[1]} to 0-255, and clip them."


def _output(spec: PredictorSpec) -> Mapping[str, Any]:
    is_independent = spec.is_multi_label or (spec.activation == "sigmoid" and spec.units > 1)
    kind = "independent probability of each class" if is_independent else "probabilities of the classes, with the sum 1"
    return {"name": "probabilities", "dtype": "float32", "shape": [None, len(spec.classes)], "meaning": kind}
