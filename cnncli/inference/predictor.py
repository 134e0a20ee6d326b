"""From images to class probabilities: the one path of training, evaluation and prediction.

The folder `engine/` of a run holds what is needed: the spec (see `spec`), and with the OpenVINO engine the converted
`trunk.xml` and `tail.xml` (for a tail in bfloat16 also `logits.xml`, its last layer), so that predicting needs neither
TensorFlow nor Keras. All of it is checksummed. Whatever Keras runs is cut from `model.keras` again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array, Chain, Engine
from cnncli.engines.openvino import LOGITS, TAIL, TRUNK, OpenVinoEngine, has_bfloat16
from cnncli.errors import EngineError, Message, RunError
from cnncli.inference.spec import PredictorSpec, damaged_file
from cnncli.metrics.scores import probabilities_of
from cnncli.networks.backend import gpus
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.storage.checksums import checksummed, damage

if TYPE_CHECKING:
    import keras

    from cnncli.networks.cut import Cut


@dataclass(frozen=True)
class Predictor:
    """Classifier of a run, ready to predict.

    Attributes:
        spec: Engines, precisions, pixels and classes.
        trunk: Maps pixels to features; None if the trunk is empty.
        tail: Maps features to logits.
        note: Warning for the user of its results, or None.
    """

    spec: PredictorSpec
    trunk: Engine | None
    tail: Engine
    note: Message | None = None

    def logits(self, features: Sequence[Array]) -> Array:
        """Return the logits of features of the trunk, float32 (n, units)."""
        logits = self.tail.run(features)[0]
        if len(logits) and logits.shape[1:] != (self.spec.units,):
            text = f"the run's engine gives {logits.shape[1:]} scores for {len(self.spec.classes)} classes."
            raise RunError(Message("run-file-damaged", text, received=logits.shape[1:], expected=self.spec.units))
        return logits

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the class probabilities of decoded images.

        Args:
            pixels: uint8 (n, height, width, channels).

        Returns:
            Probabilities, float64 (n, classes).
        """
        features = self.trunk.run([pixels]) if self.trunk else [pixels]
        return probabilities_of(self.logits(features), self.spec.activation)


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


def load_trained(run: RunFolder) -> TrainedClassifier:
    """Load the classifier of a run with Keras.

    Raises:
        RunError: The run is not finished, or damaged.
    """
    from cnncli.networks.classifier import load_classifier

    require_finished(run)
    spec = load_spec(run.engine)
    return TrainedClassifier(load_classifier(run.model, spec.pretrained).model, spec.classes)


def save_predictor(folder: Path, spec: PredictorSpec, cut: Cut, trunk_graph: Path | None) -> PredictorSpec:
    """Write a run's engine folder in one step.

    Args:
        folder: The folder, which must not exist yet.
        spec: The engines that the run should use.
        cut: The cut of the last stage.
        trunk_graph: The converted trunk if OpenVINO runs it.

    Returns:
        The engines that the run does use: Keras runs a tail that OpenVINO does not support.
    """
    with checksummed(folder) as temporary:
        if trunk_graph is not None:
            for suffix in (".xml", ".bin"):
                shutil.copyfile(trunk_graph.with_suffix(suffix), (temporary / TRUNK).with_suffix(suffix))
        if spec.tail_engine == "openvino" and not _convert_tail(temporary, spec, cut):
            spec = replace(spec, tail_engine="keras")
        spec.save(temporary)
    return spec


def _convert_tail(folder: Path, spec: PredictorSpec, cut: Cut) -> bool:
    """Write the converted tail; return False, and leave nothing, if OpenVINO does not support it."""
    from cnncli.engines.openvino import convert_graph
    from cnncli.networks.mixed_precision import split_logits

    pixels = cut.trunk is None
    try:
        if spec.tail_precision == "float32":
            convert_graph(cut.tail, folder / TAIL, pixels=pixels)
        else:
            below, logits = split_logits(cut.tail)
            convert_graph(below, folder / TAIL, pixels=pixels)
            convert_graph(logits, folder / LOGITS, pixels=False)
    except EngineError:
        for graph in (folder / TAIL, folder / LOGITS):
            for suffix in (".xml", ".bin"):
                graph.with_suffix(suffix).unlink(missing_ok=True)
        return False
    return True


def load_spec(folder: Path) -> PredictorSpec:
    """Read the spec of a run's engine folder and verify all files of the folder.

    Raises:
        RunError: The folder is missing or damaged, or a newer cnncli wrote it.
    """
    if (problem := damage(folder)) is not None:
        raise damaged_file(folder, problem)
    return PredictorSpec.load(folder)


def load_predictor(folder: Path, model: Path, batch: int | None = None) -> Predictor:
    """Load a run's predictor with the engines and the precision of its training.

    Args:
        folder: The run's engine folder.
        model: The run's `model.keras`, read only if Keras runs the trunk or the tail.
        batch: Images per request; 1 for a single image, which then uses all cores; default: the engine's own, with
            which features that the training cached are found.

    Returns:
        The predictor. If this machine lacks the run's precision, it uses float32 and has a note about it.

    Raises:
        RunError: The folder is missing or damaged.
    """
    spec = load_spec(folder)
    if (note := _precision_note(spec)) is not None:
        spec = replace(spec, precision="float32", tail_precision="float32")
    cut = _cut_model(spec, model) if "keras" in (spec.tail_engine, spec.trunk and spec.engine) else None
    return Predictor(spec, _trunk_engine(spec, folder, cut, batch), _tail_engine(spec, folder, cut, batch), note)


def _precision_note(spec: PredictorSpec) -> Message | None:
    """Return a warning if this machine does not support the bfloat16 of the spec."""
    engines = ((spec.engine, spec.precision), (spec.tail_engine, spec.tail_precision))
    if ("openvino", "bfloat16") in engines and not has_bfloat16():
        reason = "This CPU does not support bfloat16"
    elif ("keras", "bfloat16") in engines and spec.gpu and not gpus():
        reason = "The run was trained in bfloat16 on a GPU, and TensorFlow sees none here"
    else:
        return None
    text = f"{reason}; using float32 instead. Predictions for borderline images may differ."
    return Message("engine-other-precision", text, received="float32", expected="bfloat16")


def _cut_model(spec: PredictorSpec, model: Path) -> Cut:
    from cnncli.networks.classifier import load_classifier
    from cnncli.networks.cut import cut_classifier

    return cut_classifier(load_classifier(model, spec.pretrained), spec.unfreeze, spec.batch_norm)


def _trunk_engine(spec: PredictorSpec, folder: Path, cut: Cut | None, batch: int | None) -> Engine | None:
    if spec.trunk is None:
        return None
    if spec.engine == "openvino":
        return OpenVinoEngine(folder / TRUNK, spec.precision, batch, _streams(batch))
    from cnncli.engines.keras import KerasEngine

    return KerasEngine(cut.trunk if cut else None, spec.precision, batch)


def _tail_engine(spec: PredictorSpec, folder: Path, cut: Cut | None, batch: int | None) -> Engine:
    """Return the engine from features to logits, whose last layer computes in float32 as in training."""
    if spec.tail_engine == "openvino":
        tail = OpenVinoEngine(folder / TAIL, spec.tail_precision, batch, _streams(batch), dtype="float32")
        if not (folder / LOGITS).exists():
            return tail
        return Chain(tail, OpenVinoEngine(folder / LOGITS, "float32", batch, _streams(batch)))
    from cnncli.engines.keras import KerasEngine
    from cnncli.networks.head import LOGITS as LAST_LAYER

    return KerasEngine(cut.tail if cut else None, spec.tail_precision, batch, dtype="float32", in_float32=(LAST_LAYER,))


def _streams(batch: int | None) -> int | None:
    """Return the number of parallel requests: 1 for a single image, which uses all cores; None: one per core."""
    return 1 if batch == 1 else None
