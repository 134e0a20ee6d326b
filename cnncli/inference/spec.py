"""Settings that, together with the weights, determine how a run classifies an image: `engine/scoring.json`.

The file can come from an untrusted source, so every entry is checked by its annotation before use. pydantic is not
used, because its import would delay prediction.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.losses import CROSS_ENTROPY, LOSSES
from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.engines.engine import EngineName, Precision
from cnncli.images.decode import Color, PixelSpec
from cnncli.metrics.classification import label_probabilities, probabilities_of
from cnncli.runs.documents import damaged, read_document
from cnncli.storage.atomic import write_atomically

FILE = "scoring.json"
FORMAT = 1
MAX_PIXELS = 2**26
"""Maximum number of input pixels of a classifier, a hundred times that of the largest network."""
MAX_BANDS = 512
SMALLEST = 1e-12
"""Distance of a threshold from 0 and 1, so that it has a logit."""


@dataclass(frozen=True)
class PredictorSpec:
    """Engines, precisions, cut, pixels and classes of a predictor. Earlier versions lack fields with a default.

    Attributes:
        engine, precision: Engine and precision of the trunk, or of the trunks of several backbones, one precision each.
        tail_engine, tail_precision: Engine and precision of the tail; its logits are float32 in both precisions.
        trunk: Fingerprint of the trunk, or of that of each of several backbones; None if it is empty.
        unfreeze: Number or name of the layers above the cut.
        batch_norm: Batch normalization above the cut.
        pretrained: Whether the backbone started from pretrained weights.
        activation: Activation of the head.
        classes: Class names, in the order of the probabilities.
        height, width, color, fit, max_pixels, value_range, bands, window: See `PixelSpec`.
        gpu: Whether TensorFlow saw a GPU in training. Without a GPU, such a run is not computed in bfloat16, which
            Keras would emulate; a run that was trained on a CPU is emulated as in its training.
        cut: Name of the layer where the trunk ends, or of that of each of several backbones, for information only.
        thresholds: Probability from which on each class is predicted, if an image can have several; else empty.
        tta: Views at test time, over which the features of the trunk are averaged.
        loss: Loss of the run, which `evaluate` reports.
        metrics: Metrics of Keras that `evaluate` reports in addition to the usual ones.
    """

    engine: EngineName
    precision: Precision | tuple[Precision, ...]
    tail_engine: EngineName
    trunk: str | tuple[str, ...] | None
    unfreeze: int | str
    batch_norm: Literal["frozen", "train"]
    pretrained: bool
    activation: Literal["softmax", "sigmoid", "linear"]
    classes: tuple[str, ...]
    height: int
    width: int
    color: Color
    fit: Literal["stretch", "crop", "pad"]
    max_pixels: int
    tail_precision: Precision = "float32"
    gpu: bool = False
    cut: str | tuple[str, ...] | None = None
    value_range: tuple[float, float] | tuple[int, int] | None = None
    bands: int | None = None
    window: tuple[float, float] | None = None
    thresholds: tuple[float, ...] = ()
    tta: Literal["none", "flip"] = "none"
    loss: str = CROSS_ENTROPY
    metrics: tuple[str, ...] = ()

    @property
    def trunks(self) -> tuple[str, ...]:
        """Fingerprints of the trunks; none if the trunk is empty."""
        return _as_tuple(self.trunk)

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names of the layers where the trunks end, if they are known."""
        return _as_tuple(self.cut)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precision of each trunk."""
        return self.precision if isinstance(self.precision, tuple) else (self.precision,) * max(1, len(self.trunks))

    @property
    def in_words(self) -> str:
        """Engine and precision as text, separately for trunk and tail if they differ."""
        precisions = " and ".join(dict.fromkeys(self.precisions))
        trunk, tail = f"{self.engine} {precisions}", f"{self.tail_engine} {self.tail_precision}"
        return tail if self.trunk is None or trunk == tail else f"trunk {trunk}, tail {tail}"

    @property
    def units(self) -> int:
        """Number of scores per image: one per class, or one for two classes with sigmoid."""
        is_binary = self.activation == "sigmoid" and len(self.classes) == 2 and not self.is_multi_label
        return 1 if is_binary else len(self.classes)

    @property
    def is_multi_label(self) -> bool:
        """Whether an image can have any number of classes."""
        return bool(self.thresholds)

    def probabilities(self, logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the class probabilities, float64 (n, classes), of logits (n, units) divided by a temperature."""
        z = logits.astype(np.float64) / temperature
        return label_probabilities(z) if self.is_multi_label else probabilities_of(z, self.activation)

    def confidences(self, logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the probability (n,) of the predicted class, or of the least certain of several labels."""
        probabilities = self.probabilities(logits, temperature)
        if not self.is_multi_label:
            return np.asarray(probabilities.max(axis=1))
        are_predicted = probabilities >= np.array(self.thresholds_at(temperature))
        return np.asarray(np.where(are_predicted, probabilities, 1 - probabilities).min(axis=1))

    def thresholds_at(self, temperature: float) -> tuple[float, ...]:
        """Return the thresholds for probabilities at a temperature, which give the same predictions."""
        limits = np.clip(np.array(self.thresholds), SMALLEST, 1 - SMALLEST)
        return tuple(label_probabilities((np.log(limits) - np.log1p(-limits)) / temperature).tolist())

    @property
    def pixels(self) -> PixelSpec:
        """Size, colors and fit of decoded images."""
        pixels = (self.height, self.width, self.color, self.fit, self.max_pixels, self.value_range, self.bands)
        return PixelSpec(*pixels, self.window)

    def save(self, folder: Path) -> None:
        """Write the spec to its file in a run's engine folder."""
        write_atomically(folder / FILE, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> PredictorSpec:
        """Read the spec of a run's engine folder. Raises RunError if it is damaged or from a newer cnncli."""
        facts = read_document(folder / FILE, FORMAT)
        del facts["format"]
        if (problem := find_problem(facts)) is not None:
            raise damaged(folder / FILE, problem)
        tuples = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
        return cls(**{**facts, **tuples})


def _as_tuple(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def find_problem(facts: Mapping[str, Any]) -> str | None:
    """Return the first problem of a spec that was read from a file, or None."""
    types, values = get_type_hints(PredictorSpec), {**vars(PredictorSpec), **facts}  # defaults are class attributes
    wrong = [name for name, kind in types.items() if name not in values or not _is(values[name], kind)]
    wrong += [name[:40] for name in facts if name not in types]
    if not wrong:
        (low, high), thresholds = facts.get("value_range") or (0, 1), facts.get("thresholds", ())
        window = facts.get("window") or (0, 1)
        is_valid = {
            "trunk": facts["trunk"] != [],
            "precision": not isinstance(facts["precision"], list) or _is_pair(facts["precision"], facts["trunk"]),
            "unfreeze": isinstance(facts["unfreeze"], str) or facts["unfreeze"] >= 0,
            "classes": 0 < len(set(facts["classes"])) == len(facts["classes"]),
            "height": facts["height"] > 0,
            "width": facts["width"] > 0,
            "height × width": facts["height"] * facts["width"] <= MAX_PIXELS,
            "max_pixels": 0 < facts["max_pixels"] < 2**63,
            "metrics": set(facts.get("metrics", ())) <= set(KERAS_METRICS),
            "loss": facts.get("loss", CROSS_ENTROPY) in LOSSES,
            "thresholds": len(thresholds) in (0, len(facts["classes"])) and all(0 <= one <= 1 for one in thresholds),
            "window": all(map(math.isfinite, window)) and window[1] > 0,
            "value_range": -math.inf < low < high < math.inf,
            "bands": (facts.get("bands") is not None) == (facts["color"] == "bands"),
            "number of bands": 1 <= (facts.get("bands") or 1) <= MAX_BANDS,
        }
        wrong = [name for name, valid in is_valid.items() if not valid]
    return f"{wrong[0]} is missing or has an invalid value" if wrong else None


def _is_pair(precision: list[Any], trunk: object) -> bool:
    """Return whether there is a precision for each of several trunks."""
    return isinstance(trunk, list) and len(precision) == len(trunk)


def _is(value: Any, kind: Any) -> bool:
    """Return whether a JSON value has the type of an annotation; a list counts as a tuple, a bool not as an int."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return value in parts
    if get_origin(kind) in (Union, UnionType):
        return any(_is(value, part) for part in parts)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            return False
        parts = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(value) == len(parts) and all(map(_is, value, parts))
    return type(value) is kind
