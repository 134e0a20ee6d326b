"""From images to class probabilities: the single path of training, evaluation and prediction.

The folder `engine/` of a run contains, with checksums, the spec and the graphs that OpenVINO runs, so that prediction
needs neither TensorFlow nor Keras. Parts that Keras runs are cut from `model.keras` again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array, Engine, EngineName, Precision
from cnncli.engines.linear import FILE as LINEAR
from cnncli.engines.linear import LinearEngine
from cnncli.engines.mirrored import run_averaged
from cnncli.engines.openvino import LOGITS, TAIL, TRUNK, OpenVinoEngine, convert_graph, has_bfloat16
from cnncli.errors import EngineError, Message, RunError, printable
from cnncli.evaluation.calibration import FILE as CALIBRATION
from cnncli.evaluation.calibration import Calibration, largest
from cnncli.evaluation.outputs import Outputs
from cnncli.evaluation.reference import FILE as REFERENCE
from cnncli.evaluation.reference import FeatureReference
from cnncli.inference.spec import FILE, PredictorSpec
from cnncli.networks.backend import gpus, standard_settings
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.storage.checksums import checksummed, damage, update_checksum

if TYPE_CHECKING:
    import keras

    from cnncli.networks.cut import Cut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictor:
    """Classifier of a run, ready to predict.

    Attributes:
        trunks: Engine from pixels to features, one for each backbone; none if the trunk is empty.
        tail: Engine from the features of all backbones to logits.
        last_layer: Engine from the tail's output to logits, if OpenVINO runs a tail in bfloat16; see `LOGITS`.
        reference: Features of training images, if the run has them.
        calibration: Temperature and doubt, if the run has validation images.
    """

    spec: PredictorSpec
    trunks: tuple[Engine, ...]
    tail: Engine
    last_layer: Engine | None = None
    reference: FeatureReference | None = None
    calibration: Calibration | None = None

    def logits(self, features: Sequence[Array]) -> Array:
        """Return the logits of features of the trunk, float32 (n, units)."""
        outputs = self.tail.run(features)
        logits = (self.last_layer.run(outputs) if self.last_layer else outputs)[0]
        if len(logits) and logits.shape[1:] != (self.spec.units,):
            text = f"the run's engine gives {logits.shape[1:]} scores for {len(self.spec.classes)} classes."
            raise RunError(Message("run-file-damaged", text, received=logits.shape[1:], expected=self.spec.units))
        return logits

    def outputs(self, features: Sequence[Array]) -> Outputs:
        """Return the outputs for features of the trunk."""
        return Outputs(self.logits(features), self.reference.distances(features) if self.reference else None)

    def features(self, pixels: NDArray[np.uint8]) -> list[Array]:
        """Return the features of pixels, uint8 (n, height, width, channels); the pixels if the trunk is empty."""
        return run_averaged(self._features, pixels, self.spec.tta) if self.trunks else [pixels]

    def logits_of_pixels(self, pixels: NDArray[np.uint8]) -> Array:
        """Return the logits, float32 (n, units), of pixels, uint8 (n, height, width, channels)."""
        return self.logits(self.features(pixels))

    def _features(self, pixels: NDArray[np.uint8]) -> list[Array]:
        return [tensor for trunk in self.trunks for tensor in trunk.run([pixels])]

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the class probabilities, float64 (n, classes), of pixels, uint8 (n, height, width, channels)."""
        return self.spec.probabilities(self.logits_of_pixels(pixels))

    def answers(self, pixels: NDArray[np.uint8]) -> list[Answer]:
        """Return the answer for each image of pixels, uint8 (n, height, width, channels)."""
        outputs, calibration = self.outputs(self.features(pixels)), self.calibration
        probabilities = self.spec.probabilities(outputs.logits)
        if calibration is None:
            return [Answer(row) for row in probabilities]
        confidences = self.spec.confidences(outputs.logits, calibration.temperature)
        unknown: Sequence[bool | None] = [None] * len(probabilities)
        reasons: Sequence[str | None] = [None] * len(probabilities)
        if calibration.abstains:
            parts = calibration.doubts_by_reason(outputs.logits, self.spec.activation, outputs.distances)
            calibrated = self.spec.probabilities(outputs.logits, calibration.temperature)
            found = calibration.are_unknown(largest(parts), calibrated)
            unknown, reasons = found.tolist(), calibration.reasons(parts, found)
        return [Answer(*one) for one in zip(probabilities, confidences.tolist(), unknown, reasons, strict=True)]


@dataclass(frozen=True)
class Answer:
    """The answer for an image.

    Attributes:
        probabilities: Of the classes, float64 (classes,).
        confidence: Calibrated probability of the predicted class, or of the least certain label; None without a
            calibration.
        unknown: Whether the image is not answered; None if every image is.
        reason: Why it is not answered; None if it is.
    """

    probabilities: NDArray[np.float64]
    confidence: float | None = None
    unknown: bool | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TrainedClassifier:
    """Classifier of a run as a Keras model.

    Attributes:
        model: keras.Model from RGB pixels, float32 (n, height, width, channels) in 0-255, to scores, float32
            (n, classes); with two classes and sigmoid (n, 1), the score of the second class.
        classes: Class names, in the order of the scores.
    """

    model: keras.Model
    classes: tuple[str, ...]


@standard_settings()
def load_trained(run: RunFolder) -> TrainedClassifier:
    """Load the classifier of a run with Keras. Raises RunError if the run is unfinished or damaged."""
    from cnncli.networks.classifier import load_classifier

    require_finished(run)
    spec = load_spec(run.engine)
    return TrainedClassifier(load_classifier(run.model, spec.pretrained).model, spec.classes)


def save_predictor(
    folder: Path,
    spec: PredictorSpec,
    tail: Cut | LinearEngine,
    trunk_graphs: Sequence[Path],
    quantize: Callable[[Path], bool] | None = None,
) -> PredictorSpec:
    """Write a run's engine folder, which must not exist, atomically; `trunk_graphs` are the trunks for OpenVINO.

    `quantize` replaces the graph of a tail by its quantized form if it may, and returns whether it did. The layer of
    the logits then runs separately, in float32.

    Return the spec with the engines that the run actually uses: Keras runs a tail that OpenVINO does not support.
    """
    with checksummed(folder) as temporary:
        for number, graph in enumerate(trunk_graphs):
            for suffix in (".xml", ".bin"):
                shutil.copyfile(graph.with_suffix(suffix), (temporary / trunk_file(number)).with_suffix(suffix))
        if isinstance(tail, LinearEngine):
            tail.save(temporary / LINEAR)
        elif spec.tail_engine == "openvino":
            try:
                _convert_tail(temporary, tail, split=quantize is not None or spec.tail_precision != "float32")
                if quantize is not None and quantize(temporary / TAIL):
                    spec = replace(spec, tail_precision="int8")
            except EngineError:
                spec = replace(spec, tail_engine="keras")
        spec.save(temporary)
    return spec


def save_thresholds(folder: Path, thresholds: tuple[float, ...]) -> None:
    """Set the thresholds of a run's predictor in its engine folder."""
    replace(load_spec(folder), thresholds=thresholds).save(folder)
    update_checksum(folder / FILE)


def save_calibration(folder: Path, calibration: Calibration, reference: FeatureReference | None = None) -> None:
    """Write a calibration and, if it is given, the reference of its distances to a run's engine folder."""
    calibration.save(folder)
    if reference is not None:
        reference.save(folder)
    update_checksum(folder / CALIBRATION, *([folder / REFERENCE] if reference is not None else []))


def trunk_file(number: int) -> str:
    """Return the name of the graph of a trunk."""
    return f"{Path(TRUNK).stem}-{number}.xml" if number else TRUNK


def _convert_tail(folder: Path, cut: Cut, *, split: bool) -> None:
    from cnncli.networks.mixed_precision import split_logits

    below, logits = split_logits(cut.tail) if split else (cut.tail, None)
    convert_graph(below, folder / TAIL, pixels=cut.trunk is None)
    if logits is not None:
        convert_graph(logits, folder / LOGITS, pixels=False)


def load_spec(folder: Path) -> PredictorSpec:
    """Read the spec of a run's engine folder and verify all files of the folder. Raises RunError."""
    if (problem := damage(folder)) is not None:
        raise damaged(folder, problem)
    return PredictorSpec.load(folder)


def load_predictor(folder: Path, model: Path, batch: int | None = None, *, compile_trunk: bool = True) -> Predictor:
    """Load a run's predictor with the engines and the precision of its training.

    Args:
        folder: The run's engine folder.
        model: The run's `model.keras`, read only if Keras runs the trunk or the tail.
        batch: Images per request; 1 for a single image, which then uses all cores. By default, the engine's own, which
            finds features that training cached.
        compile_trunk: Whether to compile the trunk now; otherwise, it is compiled when it runs, which cached features
            may save.

    Returns:
        The predictor. If this machine does not support the run's precision, it uses float32, with a warning.

    Raises:
        RunError: The folder is missing or damaged.
    """
    spec = load_spec(folder)
    if (note := _precision_note(spec)) is not None:
        log.warning(note)
        trunks, (tail,) = _without_bfloat16(spec.precisions), _without_bfloat16([spec.tail_precision])
        spec = replace(spec, precision=trunks if len(trunks) > 1 else trunks[0], tail_precision=tail)
    parts: dict[str, keras.Model] = {}  # by the names of their graphs
    if "keras" in (spec.tail_engine, spec.trunk and spec.engine):
        from cnncli.networks.classifier import load_classifier
        from cnncli.networks.cut import cut_classifier

        cut = cut_classifier(load_classifier(model, spec.pretrained), spec.unfreeze, spec.batch_norm)
        if len(cut.trunks) != len(spec.trunks):
            raise damaged(folder / FILE, f"{len(spec.trunks)} trunks for a model with {len(cut.trunks)}")
        parts = {TAIL: cut.tail, **{trunk_file(number): trunk for number, trunk in enumerate(cut.trunks)}}

    def engine(name: EngineName, precision: Precision, graph: str, dtype: Precision | None = None) -> Engine:
        if name == "openvino":
            when_needed = graph not in (TAIL, LOGITS) and not compile_trunk
            return OpenVinoEngine(folder / graph, precision, batch, dtype, when_needed=when_needed)
        if name == "numpy":
            return LinearEngine.load(folder / LINEAR, batch)
        from cnncli.engines.keras import KerasEngine
        from cnncli.networks.head import LOGITS as LAST_LAYER

        return KerasEngine(parts[graph], precision, batch, dtype, in_float32=[LAST_LAYER])

    calibration = Calibration.load(folder, len(spec.classes))
    reference = FeatureReference.load(folder) if calibration and calibration.distance else None
    if calibration and calibration.distance and reference is None:
        raise damaged(folder / REFERENCE, "missing")
    return Predictor(
        spec,
        trunks=tuple(engine(spec.engine, spec.precisions[n], trunk_file(n)) for n in range(len(spec.trunks))),
        tail=engine(spec.tail_engine, spec.tail_precision, TAIL, "float32"),
        last_layer=engine("openvino", "float32", LOGITS) if (folder / LOGITS).exists() else None,
        reference=reference,
        calibration=calibration,
    )


def with_coverage(predictor: Predictor, coverage: float, run: RunFolder) -> Predictor:
    """Return a predictor that answers another fraction of the validation images (0-1), 1 for every image.

    Raises:
        RunError: The run has no calibration that measures doubt.
    """
    calibration = predictor.calibration
    if calibration is None or not calibration.doubts:
        text = f"{printable(run.path.name)}: has no calibration, so it answers every image."
        remedy = "It needs validation images and, with several labels per image, a frozen network."
        raise RunError(Message("run-not-calibrated", f"{text} {remedy}", path=run.path, received=coverage))
    return replace(predictor, calibration=replace(calibration, coverage=coverage))


def _without_bfloat16(precisions: Sequence[Precision]) -> tuple[Precision, ...]:
    """Return precisions with float32 for bfloat16. A quantized graph stays what it is."""
    return tuple("float32" if precision == "bfloat16" else precision for precision in precisions)


def _precision_note(spec: PredictorSpec) -> Message | None:
    """Return a warning if this machine does not support the bfloat16 of the spec."""
    engines = (*((spec.engine, one) for one in spec.precisions), (spec.tail_engine, spec.tail_precision))
    if ("openvino", "bfloat16") in engines and not has_bfloat16():
        reason = "This CPU does not support bfloat16"
    elif ("keras", "bfloat16") in engines and spec.gpu and not gpus():
        reason = "The run was trained in bfloat16 on a GPU, and TensorFlow sees none here"
    else:
        return None
    text = f"{reason}; using float32 instead. Predictions for borderline images may differ."
    return Message("engine-other-precision", text, received="float32", expected="bfloat16")
