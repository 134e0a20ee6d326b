"""Settings that determine, with the weights, how a run classifies an image: `engine/scoring.json`.

The file may come from elsewhere, so every entry is checked before it is used. Predicting one image should not have to
wait for pydantic, which is why the checks are a table of functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cnncli.engines.engine import EngineName, Precision
from cnncli.errors import Message, RunError, printable
from cnncli.images.decode import PixelSpec
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json

FILE = "scoring.json"
FORMAT = 1
MAX_PIXELS = 2**26
"""Pixels that a classifier may take; the largest that any network was made for has a hundredth of it."""
MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class PredictorSpec:
    """Engines, precisions, cut, pixels and classes of a predictor.

    Attributes:
        engine: Engine of the trunk.
        precision: Precision of the trunk.
        tail_engine: Engine of the tail.
        trunk: Fingerprint of the trunk; None if it is empty.
        unfreeze: Number or name of the layers above the cut.
        batch_norm: Batch normalization above the cut.
        pretrained: Whether the backbone started from pretrained weights.
        activation: Activation of the head.
        classes: Class names, in the order of the probabilities.
        height: Height of decoded images in pixels.
        width: Width of decoded images in pixels.
        color: Color mode of decoded images.
        fit: How an image is fitted to the size.
        max_pixels: Largest number of pixels of an image file.
        tail_precision: Precision of the tail; its logits are float32 in both.
        gpu: Whether TensorFlow saw a GPU in training. Without one, Keras would emulate the bfloat16 of such a run; the
            bfloat16 of a run that was trained on a CPU is emulated as it was then.
        cut: Name of the layer where the trunk ends, for people only.
        value_range: Values of black and white in 16-bit files, or None for the whole range.
    """

    engine: EngineName
    precision: Precision
    tail_engine: EngineName
    trunk: str | None
    unfreeze: int | str
    batch_norm: Literal["frozen", "train"]
    pretrained: bool
    activation: str
    classes: tuple[str, ...]
    height: int
    width: int
    color: Literal["rgb", "grayscale"]
    fit: Literal["stretch", "crop", "pad"]
    max_pixels: int
    tail_precision: Precision = "float32"
    gpu: bool = False
    cut: str | None = None
    value_range: tuple[int, int] | None = None

    @property
    def in_words(self) -> str:
        """Engine and precision; those of trunk and tail if they differ."""
        trunk, tail = f"{self.engine} {self.precision}", f"{self.tail_engine} {self.tail_precision}"
        return tail if self.trunk is None or trunk == tail else f"trunk {trunk}, tail {tail}"

    @property
    def units(self) -> int:
        """Number of scores per image: one per class, or one for two classes with sigmoid."""
        return 1 if self.activation == "sigmoid" and len(self.classes) == 2 else len(self.classes)

    @property
    def pixels(self) -> PixelSpec:
        """Size, colors and fit of decoded images."""
        return PixelSpec(self.height, self.width, self.color, self.fit, self.max_pixels, self.value_range)

    def save(self, folder: Path) -> None:
        """Write the spec to its file in a run's engine folder."""
        write_atomically(folder / FILE, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> PredictorSpec:
        """Read the spec of a run's engine folder.

        Raises:
            RunError: The file is missing or damaged, or a newer cnncli wrote it.
        """
        path = folder / FILE
        try:
            facts = read_json(path)
            if (received := facts.pop("format", 0)) > FORMAT:
                text = f"{printable(path)}: was written by a newer cnncli. Update cnncli."
                raise RunError(Message("run-newer-format", text, path=path, received=received, expected=FORMAT))
            problem = find_problem(facts)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            problem = f"damaged ({error})"
        if problem is not None:
            raise damaged_file(path, problem)
        return cls(**{**facts, "classes": tuple(facts["classes"])})


def damaged_file(path: Path, problem: str) -> RunError:
    """Return the error for a file or folder of a run that cannot be used."""
    text = f"{printable(path)}: {printable(problem)}. Copy the run again, or train a new one."
    return RunError(Message("run-file-damaged", text, path=path, reason=problem))


def find_problem(facts: Mapping[str, Any]) -> str | None:
    """Return the first problem of a spec that was read from a file, or None.

    >>> find_problem({"engine": "abacus"})
    'damaged, engine is missing or has an invalid value'
    """
    wrong = [name for name, check in CHECKS.items() if not (check(facts[name]) if name in facts else name in OPTIONAL)]
    wrong += [str(name)[:40] for name in facts if name not in CHECKS]
    if not wrong and facts["height"] * facts["width"] > MAX_PIXELS:
        wrong = ["height × width"]
    return f"damaged, {wrong[0]} is missing or has an invalid value" if wrong else None


Check = Callable[[Any], bool]


def _is_one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


def _is_positive(largest: int) -> Check:
    return lambda value: type(value) is int and 0 < value <= largest


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_classes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_CLASSES
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )


def _is_range_or_none(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)
    return value is None or (is_pair and 0 <= value[0] < value[1] <= 65_535)


_IS_ENGINE, _IS_PRECISION = _is_one_of("keras", "openvino"), _is_one_of("float32", "bfloat16")

CHECKS: Mapping[str, Check] = {
    "engine": _IS_ENGINE,
    "precision": _IS_PRECISION,
    "tail_engine": _IS_ENGINE,
    "tail_precision": _IS_PRECISION,
    "trunk": _is_text_or_none,
    "unfreeze": lambda value: isinstance(value, str) or (type(value) is int and value >= 0),
    "batch_norm": _is_one_of("frozen", "train"),
    "pretrained": lambda value: isinstance(value, bool),
    "activation": _is_one_of("softmax", "sigmoid", "linear"),
    "classes": _is_classes,
    "height": _is_positive(MAX_PIXELS),
    "width": _is_positive(MAX_PIXELS),
    "color": _is_one_of("rgb", "grayscale"),
    "fit": _is_one_of("stretch", "crop", "pad"),
    "max_pixels": _is_positive(10**15),
    "gpu": lambda value: isinstance(value, bool),
    "cut": _is_text_or_none,
    "value_range": _is_range_or_none,
}
OPTIONAL = ("tail_precision", "gpu", "cut", "value_range")
"""Entries that files of earlier versions lack."""
