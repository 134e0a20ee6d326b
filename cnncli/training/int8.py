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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import BATCH, Array, Engine
from cnncli.engines.int8 import BiasCorrection, quantize_graph
from cnncli.engines.openvino import TRUNK, OpenVinoEngine, conversion_versions
from cnncli.errors import DataError, EngineError, Message
from cnncli.features.decoded_images import read_all, summarize
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
from cnncli.training.solvers.exact import FOLDS, solve_head
from cnncli.training.solvers.problem import HeadProblem

if TYPE_CHECKING:
    from cnncli.training.context import TrainingContext

CALIBRATION_IMAGES, HELD_OUT_IMAGES = 128, 192
"""Training images that determine the ranges of activations, and others on which the agreement is measured."""
MIN_IMAGES = 32
"""Number of training images below which agreement cannot be judged."""
MAX_FEATURE_ERROR, MIN_AGREEMENT = 0.3, 0.85
"""Limits for the use of a quantized trunk. On photographs of dogs and cats, eight networks with ImageNet weights have
errors of 0.08 to 0.19 and agreements of at least 0.99. On drawn letters of 120 classes, whose features vary less, they
have errors of 0.23 to 0.47 and agreements of 0.73 to 0.89, and only one of the eight is used."""
MIN_SPREAD = 1e-3
"""Spread of the probabilities of an image below which a head distinguishes nothing, so that only features count."""
RECORD, PREFIX = "int8.json", "int8-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureAgreement:
    """Agreement of a quantized trunk with the one that it replaces, on held-out training images.

    Attributes:
        n_images: Number of these images.
        feature_error: Root mean square of the differences of features, relative to that of the features from their
            mean over the images.
        agreement: How far the probabilities of a linear head, fitted on features of the unquantized trunk, are the same
            for both: 1 minus their mean total variation distance, relative to that of the probabilities from their mean
            over the images. 1 if the head distinguishes nothing.
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
        features = f"features differ by {percent(self.feature_error)} (at most {percent(MAX_FEATURE_ERROR)} is allowed)"
        predictions = f"predictions agree by {percent(self.agreement)} (at least {percent(MIN_AGREEMENT)} is needed)"
        return f"on {self.n_images:,} other images, {features}, and {predictions}"


@dataclass(frozen=True)
class QuantizedTrunk:
    """A quantized trunk in the cache; without a graph if it may not be used.

    Attributes:
        folder: Its folder.
        calibration, held_out: Digests of the images that calibrated it, and of those that measured its agreement.
        correction: How its biases were corrected.
        agreement: How far it agrees with the trunk in float32 or bfloat16.
    """

    folder: Path
    calibration: tuple[str, ...]
    held_out: tuple[str, ...]
    correction: BiasCorrection
    agreement: FeatureAgreement

    @classmethod
    def load(cls, folder: Path) -> QuantizedTrunk | None:
        """Return the trunk in a folder, or None if it is damaged."""
        if damage(folder) is not None:
            return None
        facts = read_json(folder / RECORD)
        calibration, held_out = tuple(facts["calibration"]), tuple(facts["held_out"])
        return cls(folder, calibration, held_out, facts["correction"], FeatureAgreement(**facts["agreement"]))

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

    One from the cache is used if all images that calibrated and judged it are training images, and those that
    calibrated it at least half as many as would now. Without enough images, or if NNCF cannot quantize the trunk, a
    warning is logged and None is returned.

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
    name = _name(trunk, pixels)
    if found := _find(graphs, name, {row.digest for row in manifest.split("train")}, len(calibration)):
        if not found.is_used:
            warn_of_rejection(found.agreement, base)
        return found
    console.phase("int8", f"quantizing the frozen layers on {len(calibration):,} training images")
    started = time.monotonic()
    examples = Examples(decode_inputs(calibration, pixels), decode_inputs(held_out, pixels), manifest.labels(held_out))
    digests, others = (tuple(row.digest for row in images) for images in (calibration, held_out))
    record = {"calibration": digests, "held_out": others}
    folder = graphs / f"{name}{hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}"
    if damage(folder) is not None:  # otherwise, another process has made it in the meantime
        shutil.rmtree(folder, ignore_errors=True)
    try:
        with checksummed(folder) as temporary:
            correction, agreement = examples.quantize(graph, base, temporary / TRUNK, len(manifest.classes))
            _complete(temporary, {**record, "correction": correction}, agreement)
    except EngineError as error:
        text = f"{error}. {base.choice.precision} is used instead."
        log.warning(Message("engine-int8-unsupported", text, reason=str(error)))
        return None
    except OSError as error:  # another process may have made the same
        if (found := QuantizedTrunk.load(folder)) is None:
            raise not_writable(error, folder) from error
        return found
    report(agreement, base, duration(time.monotonic() - started), console)
    return QuantizedTrunk(folder, digests, others, correction, agreement)


def _complete(folder: Path, record: Mapping[str, Any], agreement: FeatureAgreement) -> None:
    """Write the record of a quantized trunk, and delete its graph if it does not agree with the original."""
    if not agreement.is_sufficient:
        for suffix in (".xml", ".bin"):
            (folder / TRUNK).with_suffix(suffix).unlink()
    text = json.dumps({**record, "agreement": asdict(agreement)}, indent=1)
    (folder / RECORD).write_text(f"{text}\n", encoding="utf-8")


def quantize_tail(graph: Path, base: Engine, trunk: Engine | None, context: TrainingContext) -> bool:
    """Replace the graph of a trained tail by its quantized form if that agrees well enough; return whether it does.

    Problems are warnings, because training is over.

    Args:
        graph: The `.xml` file of the tail, without the layer that gives the logits.
        base: Its engine.
        trunk: Engine from pixels to the features that the tail takes; None if it takes pixels.
        context: Images and how they are decoded.
    """
    manifest = context.manifest
    calibration, held_out = choose_images(manifest)
    if not calibration:
        return False
    started = time.monotonic()
    with TemporaryDirectory(dir=graph.parent) as folder:
        quantized = Path(folder) / graph.name
        try:
            inputs, others = (decode_inputs(images, context.pixels, trunk) for images in (calibration, held_out))
            examples = Examples(inputs, others, manifest.labels(held_out))
            _, agreement = examples.quantize(graph, base, quantized, len(manifest.classes))
        except (EngineError, DataError) as error:
            text = f"{error.problems[0]} {base.choice.precision} is used for the trained layers."
            log.warning(Message("engine-int8-unsupported", text, reason=str(error.problems[0])))
            return False
        if agreement.is_sufficient:
            for suffix in (".xml", ".bin"):
                quantized.with_suffix(suffix).replace(graph.with_suffix(suffix))
    report(agreement, base, duration(time.monotonic() - started), context.console)
    return agreement.is_sufficient


def choose_images(manifest: Manifest) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Choose training images for calibration, and others to measure the agreement, by their digests.

    With fewer than `MIN_IMAGES` training images, a warning is logged, and there are none.
    """
    unique = {row.digest: row for row in manifest.split("train")}
    if len(unique) < MIN_IMAGES:
        text = (
            f"int8 needs at least {MIN_IMAGES} different training images, but there are {len(unique)}: "
            "bfloat16 or float32 is used."
        )
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

    def quantize(
        self, graph: Path, base: Engine, path: Path, n_classes: int
    ) -> tuple[BiasCorrection, FeatureAgreement]:
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
) -> FeatureAgreement:
    """Compare features (n, d) of images with those of a quantized trunk.

    Linear heads are fitted on the features of one half of the images, and give probabilities for both kinds of features
    of the other half. `labels` are int64 (n,), or uint8 (n, classes). Features that are NaN or Inf do not agree at all.
    """
    if not (np.isfinite(features).all() and np.isfinite(quantized).all()):
        return FeatureAgreement(len(features), 1.0, 0.0)
    halves = np.arange(len(features)) % 2
    distance = spread = 0.0
    for half in (0, 1):
        fit, test = halves == half, halves != half
        activation = "sigmoid" if labels.ndim == 2 else "softmax"
        folds = np.arange(fit.sum()) % min(FOLDS, fit.sum())
        head = solve_head(HeadProblem(features[fit], labels[fit], folds, n_classes, activation))
        expected, found = (_probabilities(one[test] @ head.kernel + head.bias, labels) for one in (features, quantized))
        distance += float(np.abs(found - expected).sum())
        spread += float(np.abs(expected - expected.mean(axis=0)).sum())
    size = float(np.linalg.norm(features - features.mean(axis=0)))
    error = float(np.linalg.norm(quantized - features)) / max(size, 1e-30)
    agreement = 1.0 - min(1.0, distance / spread) if spread > MIN_SPREAD * len(features) else 1.0
    return FeatureAgreement(len(features), min(error, 1.0), agreement)


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
    batches = [np.stack([one for _, one in decoded]) for decoded, _ in parts]
    inputs = [[batch] for batch in batches] if trunk is None else map_ordered(lambda one: trunk.run([one]), batches)
    return [[tensor[row : row + 1] for tensor in tensors] for tensors in inputs for row in range(len(tensors[0]))]


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
    """Return the form with the most calibration images, at least half of `n`, whose images are all among `digests`.

    The others could be test images now, because the split of their run was drawn with another seed.
    """
    forms = [form for folder in sorted(graphs.glob(f"{name}*")) if (form := QuantizedTrunk.load(folder))]
    usable = [form for form in forms if digests.issuperset((*form.calibration, *form.held_out))]
    best = max(usable, key=lambda form: len(form.calibration), default=None)
    if best is None or 2 * len(best.calibration) < n:
        return None
    touch(best.folder / CHECKSUMS)
    return best


def report(agreement: FeatureAgreement, base: Engine, seconds: str, console: Console) -> None:
    """Show how well int8 agrees, or warn that it does not."""
    if agreement.is_sufficient:
        console.phase("int8", f"calibrated in {seconds}; {agreement.describe()}")
    else:
        warn_of_rejection(agreement, base)


def warn_of_rejection(agreement: FeatureAgreement, base: Engine) -> None:
    """Warn that int8 does not agree, with the precision that is used instead."""
    precision = base.choice.precision
    text = f"int8 does not agree with {precision} well enough: {agreement.describe()}."
    log.warning(Message("engine-int8-disagrees", f"{text} {precision} is used instead.", **asdict(agreement)))
