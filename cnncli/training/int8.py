"""Decide whether a trunk, or a trained tail, may run in 8-bit integers: by how far its features change.

A quantized trunk is kept with the images that calibrated it, so that a dataset that grows still uses its cached
features. Integers are exact enough for most networks, but not for all: MobileNetV3-Small loses 15 points on ImageNet.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import BATCH, Array, Engine
from cnncli.engines.int8 import BiasCorrection, quantize_graph
from cnncli.engines.openvino import TRUNK, OpenVinoEngine, conversion_versions
from cnncli.errors import DataError, EngineError, Message
from cnncli.features.extract import read_all, summarize
from cnncli.images.decode import PixelSpec
from cnncli.metrics.classification import label_probabilities, probabilities_of
from cnncli.runtime.environment import package_version
from cnncli.runtime.threads import batched, map_ordered
from cnncli.storage.atomic import touch
from cnncli.storage.cache_dir import not_writable
from cnncli.storage.checksums import CHECKSUMS, checksummed, damage
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import duration, percent
from cnncli.training.solvers.exact import FOLDS, HeadProblem, solve_head

if TYPE_CHECKING:
    from cnncli.training.context import TrainingContext

CALIBRATION_IMAGES, HELD_OUT_IMAGES = 128, 192
"""Training images that determine the ranges of activations, and others on which the agreement is measured."""
MIN_IMAGES = 32
"""Number of training images below which agreement cannot be judged."""
MAX_FEATURE_ERROR, MIN_AGREEMENT = 0.3, 0.92
"""Limits for the use of a quantized trunk. Seven networks of keras.applications have errors of 0.08 to 0.20 and
agreements of 0.98 to 0.99 with two classes, and 0.94 to 0.96 with 24 classes that overlap."""
RECORD, PREFIX = "int8.json", "int8-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agreement:
    """How far a quantized trunk agrees with the one that it replaces, on held-out training images.

    Attributes:
        n_images: Number of these images.
        feature_error: Root mean square of the differences of features, relative to that of the features from their
            mean over the images.
        agreement: 1 minus the mean total variation distance (0-1) between the probabilities that a linear head, fitted
            on features of the unquantized trunk, gives to both.
    """

    n_images: int
    feature_error: float
    agreement: float

    @property
    def is_sufficient(self) -> bool:
        """Whether the quantized trunk may be used."""
        return self.feature_error <= MAX_FEATURE_ERROR and self.agreement >= MIN_AGREEMENT

    def describe(self) -> str:
        """Return one sentence without its end."""
        error, agreement = percent(self.feature_error), percent(self.agreement)
        return f"on {self.n_images:,} other images, features differ by {error} and predictions agree to {agreement}"


@dataclass(frozen=True)
class QuantizedTrunk:
    """A quantized trunk in the cache; without a graph if it may not be used.

    Attributes:
        folder: Its folder.
        calibration: Digests of the images that calibrated it.
        correction: How its biases were corrected.
        agreement: How far it agrees with the trunk in float32 or bfloat16.
    """

    folder: Path
    calibration: tuple[str, ...]
    correction: BiasCorrection
    agreement: Agreement

    @classmethod
    def load(cls, folder: Path) -> QuantizedTrunk | None:
        """Return the trunk in a folder, or None if it is damaged."""
        if damage(folder) is not None:
            return None
        facts = read_json(folder / RECORD)
        return cls(folder, tuple(facts["calibration"]), facts["correction"], Agreement(**facts["agreement"]))

    @property
    def graph(self) -> Path:
        """The `.xml` file of the graph."""
        return self.folder / TRUNK

    @property
    def is_used(self) -> bool:
        """Whether it agrees well enough to be used."""
        return self.agreement.is_sufficient

    def facts(self) -> dict[str, Any]:
        """Return what run.json says about it."""
        calibrated = {"calibration_images": len(self.calibration), "bias_correction": self.correction}
        return {"used": self.is_used, **calibrated, **asdict(self.agreement)}


def quantized_trunk(
    trunk: str, base: Engine, graph: Path, manifest: Manifest, pixels: PixelSpec, graphs: Path, console: Console
) -> QuantizedTrunk | None:
    """Return the quantized form of a trunk for the images of a manifest, from the cache or newly calibrated.

    One from the cache is used if training images calibrated it, at least half as many as would now. Without enough
    images, or if NNCF cannot quantize the trunk, a warning is logged and None is returned.

    Args:
        trunk: Fingerprint of the trunk.
        base: The unquantized trunk.
        graph: Its `.xml` file.
        manifest: Images; those for training are used.
        pixels: How they are decoded.
        graphs: Directory of converted graphs.
        console: Shows what was measured.

    Raises:
        DataError: Images cannot be decoded.
        CacheError: The graph cannot be written.
    """
    calibration, held_out = choose_images(manifest)
    if not calibration:
        return None
    name, digests = _name(trunk, pixels), tuple(row.digest for row in calibration)
    if found := _find(graphs, name, {row.digest for row in manifest.split("train")}, len(digests)):
        return found
    console.phase("int8", f"quantizing the frozen layers on {len(digests):,} training images")
    started = time.monotonic()
    examples = Examples(decode_inputs(calibration, pixels), decode_inputs(held_out, pixels), manifest.labels(held_out))
    folder = graphs / f"{name}{hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}"
    shutil.rmtree(folder, ignore_errors=True)  # damaged
    try:
        with checksummed(folder) as temporary:
            correction, agreement = examples.quantize(graph, base, temporary / TRUNK, len(manifest.classes))
            if not agreement.is_sufficient:
                for suffix in (".xml", ".bin"):
                    (temporary / TRUNK).with_suffix(suffix).unlink()
            record = {"calibration": digests, "correction": correction, "agreement": asdict(agreement)}
            (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except EngineError as error:
        text = f"{error}. {base.choice.precision} is used instead."
        log.warning(Message("engine-int8-unsupported", text, reason=str(error)))
        return None
    except OSError as error:  # another process may have made the same
        if (found := QuantizedTrunk.load(folder)) is None:
            raise not_writable(error, folder) from error
        return found
    report(agreement, base, duration(time.monotonic() - started), console)
    return QuantizedTrunk(folder, digests, correction, agreement)


def quantize_tail(graph: Path, base: Engine, trunk: Engine | None, context: TrainingContext) -> bool:
    """Replace the graph of a trained tail by its quantized form if that agrees well enough; return whether it does.

    Args:
        graph: The `.xml` file of the tail, without the layer that gives the logits.
        base: Its engine.
        trunk: Engine from pixels to the features that the tail takes; None if it takes pixels.
        context: Images and how they are decoded.

    Raises:
        DataError: Images cannot be decoded.
    """
    manifest = context.manifest
    calibration, held_out = choose_images(manifest)
    if not calibration:
        return False
    started = time.monotonic()
    inputs, others = (decode_inputs(images, context.pixels, trunk) for images in (calibration, held_out))
    try:
        quantized = graph.with_stem(f"{graph.stem}-int8")
        examples = Examples(inputs, others, manifest.labels(held_out))
        _, agreement = examples.quantize(graph, base, quantized, len(manifest.classes))
    except EngineError as error:
        log.warning(Message("engine-int8-unsupported", f"{error}.", reason=str(error)))
        return False
    for suffix in (".xml", ".bin"):
        if agreement.is_sufficient:
            quantized.with_suffix(suffix).replace(graph.with_suffix(suffix))
        else:
            quantized.with_suffix(suffix).unlink()
    report(agreement, base, duration(time.monotonic() - started), context.console)
    return agreement.is_sufficient


def choose_images(manifest: Manifest) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Choose training images for calibration, and others to measure the agreement, by their digests.

    With fewer than `MIN_IMAGES` training images, a warning is logged, and there are none.
    """
    unique = {row.digest: row for row in manifest.split("train")}
    if len(unique) < MIN_IMAGES:
        text = f"int8 needs at least {MIN_IMAGES} different training images, but there are {len(unique)}."
        log.warning(Message("engine-int8-too-few-images", text, received=len(unique), expected=MIN_IMAGES))
        return [], []
    images = [unique[digest] for digest in sorted(unique)]
    n = min(CALIBRATION_IMAGES, len(images) // 2)
    return images[:n], images[n : n + HELD_OUT_IMAGES]


@dataclass(frozen=True)
class Examples:
    """Inputs of a graph, one list of arrays (1, …) per image.

    Attributes:
        calibration: Those that calibrate.
        held_out: Those on which the agreement is measured.
        labels: Labels of the latter.
    """

    calibration: list[list[Array]]
    held_out: list[list[Array]]
    labels: NDArray[Any]

    def quantize(self, graph: Path, base: Engine, path: Path, n_classes: int) -> tuple[BiasCorrection, Agreement]:
        """Write a quantized form of a graph to `path`, with full bias correction if the fast one does not suffice.

        Raises:
            EngineError: NNCF cannot quantize the graph.
        """
        features = run_pooled(base, self.held_out)
        corrections: tuple[BiasCorrection, ...] = ("fast", "full")
        for correction in corrections:
            quantize_graph(graph, self.calibration, path, correction)
            quantized = run_pooled(OpenVinoEngine(path, "int8"), self.held_out)
            agreement = measure_agreement(features, quantized, self.labels, n_classes)
            if agreement.is_sufficient:
                break
        return correction, agreement


def measure_agreement(
    features: NDArray[np.float32], quantized: NDArray[np.float32], labels: NDArray[Any], n_classes: int
) -> Agreement:
    """Compare features (n, d) of images with those of a quantized trunk.

    Linear heads are fitted on the features of one half of the images, and give probabilities for both kinds of features
    of the other half. `labels` are int64 (n,), or uint8 (n, classes).
    """
    halves = np.arange(len(features)) % 2
    distances: list[float] = []
    for half in (0, 1):
        fit, test = halves == half, halves != half
        activation = "sigmoid" if labels.ndim == 2 else "softmax"
        folds = np.arange(fit.sum()) % min(FOLDS, fit.sum())
        head = solve_head(HeadProblem(features[fit], labels[fit], folds, n_classes, activation))
        expected, found = (_probabilities(one[test] @ head.kernel + head.bias, labels) for one in (features, quantized))
        differences = np.abs(found - expected)
        distances += (differences.mean(axis=1) if labels.ndim == 2 else differences.sum(axis=1) / 2).tolist()
    spread = float(np.square(features - features.mean(axis=0)).sum())
    difference = float(np.square(quantized - features).sum())
    error = (difference / spread) ** 0.5 if spread else float(difference > 0)
    return Agreement(len(features), error, 1.0 - float(np.mean(distances)))


def _probabilities(logits: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float64]:
    return label_probabilities(logits) if labels.ndim == 2 else probabilities_of(logits, "softmax")


def decode_inputs(images: Sequence[ImageRecord], spec: PixelSpec, trunk: Engine | None = None) -> list[list[Array]]:
    """Return the pixels of images, or their features, one list of arrays (1, …) per image.

    Raises:
        DataError: All images that cannot be decoded.
    """
    parts = list(map_ordered(lambda rows: read_all(rows, spec), batched(images, BATCH)))
    if errors := [error for _, failed in parts for error in failed]:
        raise DataError(summarize(errors, images))
    pixels = [one[None] for decoded, _ in parts for _, one in decoded]
    return [[one] for one in pixels] if trunk is None else list(map_ordered(lambda one: trunk.run([one]), pixels))


def run_pooled(engine: Engine, inputs: Sequence[Sequence[Array]]) -> NDArray[np.float32]:
    """Return the outputs of a graph, averaged over places and concatenated, float32 (n, d)."""

    def run(batch: Sequence[Sequence[Array]]) -> NDArray[np.float32]:
        tensors = [tensor.astype(np.float32) for tensor in engine.run([*map(np.concatenate, zip(*batch, strict=True))])]
        return np.concatenate([one.mean(axis=tuple(range(1, one.ndim - 1))) for one in tensors], axis=1)

    return np.concatenate(list(map_ordered(run, batched(inputs, engine.batch))))


def _name(trunk: str, pixels: PixelSpec) -> str:
    """Return how the folders of a trunk's quantized forms begin, for one size and kind of images."""
    parts = (trunk, conversion_versions(), package_version("nncf"), pixels.key(), CALIBRATION_IMAGES, HELD_OUT_IMAGES)
    return f"{PREFIX}{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]}-"


def _find(graphs: Path, name: str, digests: set[str], n: int) -> QuantizedTrunk | None:
    """Return the form with the most calibration images that are training images now, at least half of `n`."""
    forms = [form for folder in sorted(graphs.glob(f"{name}*")) if (form := QuantizedTrunk.load(folder))]
    known = {form: len(digests.intersection(form.calibration)) for form in forms}
    best = max(known, key=lambda form: known[form], default=None)
    if best is None or 2 * known[best] < n:
        return None
    touch(best.folder / CHECKSUMS)
    return best


def report(agreement: Agreement, base: Engine, seconds: str, console: Console) -> None:
    """Show how well int8 agrees, or warn that it does not."""
    if agreement.is_sufficient:
        console.phase("int8", f"calibrated in {seconds}; {agreement.describe()}")
        return
    precision = base.choice.precision
    limits = f"at most {percent(MAX_FEATURE_ERROR)} and at least {percent(MIN_AGREEMENT)} are needed"
    text = f"int8 does not agree with {precision} well enough: {agreement.describe()}, but {limits}."
    log.warning(Message("engine-int8-disagrees", f"{text} {precision} is used instead.", **asdict(agreement)))
