"""From images to class probabilities, as a run does it: the one path of training, evaluation and prediction.

A run's `engine/` folder holds what it takes: `scoring.json`, and with the OpenVINO engine the converted `trunk.xml`
and `tail.xml` (of a tail in bfloat16 also `logits.xml`, its last layer), so that predicting needs neither TensorFlow
nor Keras; all under one seal of checksums. What Keras runs is cut from `model.keras` again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array, Chain, Engine, EngineName, Precision
from cnncli.engines.openvino import LOGITS, TAIL, TRUNK, OpenVinoEngine, has_bfloat16
from cnncli.errors import EngineError, RunError, printable
from cnncli.images.decode import PixelSpec
from cnncli.inference.recipe_check import recipe_problem
from cnncli.metrics.scores import probabilities_of
from cnncli.networks.backend import gpus
from cnncli.storage.atomic import write_atomically
from cnncli.storage.checksums import checksummed, damage
from cnncli.storage.safe_io import read_json

if TYPE_CHECKING:
    from cnncli.networks.cut import Cut

FORMAT = 1
RECIPE = "scoring.json"


@dataclass(frozen=True)
class ScoringRecipe:
    """Settings that determine, with the weights, how a run classifies an image.

    Attributes:
        engine, precision: of the trunk.
        tail_engine, tail_precision: of the tail; its logits are float32 in both precisions.
        trunk: fingerprint of the trunk; None where it is empty.
        unfreeze, batch_norm, pretrained: where the classifier is cut.
        activation: the head's.
        classes: names, in the order of the probabilities.
        height, width, color, fit, max_pixels, value_range: how a file becomes pixels.
        gpu: whether TensorFlow saw a GPU in training. Where it sees none, Keras would emulate such a run's bfloat16;
            that of a run which was to compute so on a processor is emulated as it was then.
        cut: what people call the place where the trunk ends; decides nothing.
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
        """Engine and precision of the scores; those of trunk and tail if they differ."""
        trunk, tail = f"{self.engine} {self.precision}", f"{self.tail_engine} {self.tail_precision}"
        return tail if self.trunk is None or trunk == tail else f"trunk {trunk}, tail {tail}"

    @property
    def units(self) -> int:
        """Number of scores per image: one per class, or one for two classes with sigmoid."""
        return 1 if self.activation == "sigmoid" and len(self.classes) == 2 else len(self.classes)

    @property
    def pixels(self) -> PixelSpec:
        """Size, colors and fit of decoded pixels."""
        return PixelSpec(self.height, self.width, self.color, self.fit, self.max_pixels, self.value_range)


@dataclass(frozen=True)
class Scorer:
    """A run's classifier, ready to predict.

    Attributes:
        recipe: how it scores.
        trunk: pixels to features, or None where the trunk is empty.
        tail: features to logits.
        note: what a reader of its figures should know; None: nothing.
    """

    recipe: ScoringRecipe
    trunk: Engine | None
    tail: Engine
    note: str | None = None

    def logits(self, features: Sequence[Array]) -> Array:
        """Logits (n, units), float32, of features as the trunk gives them."""
        logits = self.tail.run(features)[0]
        if len(logits) and logits.shape[1:] != (self.recipe.units,):
            raise RunError(f"the run's engine gives {logits.shape[1:]} scores for {len(self.recipe.classes)} classes.")
        return logits

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Class probabilities (n, classes) of decoded images, uint8 (n, height, width, channels)."""
        features = self.trunk.run([pixels]) if self.trunk else [pixels]
        return probabilities_of(self.logits(features), self.recipe.activation)


def save_scorer(folder: Path, recipe: ScoringRecipe, cut: Cut, trunk_graph: Path | None) -> ScoringRecipe:
    """Write what scoring takes as a run's engine folder, which appears whole.

    Args:
        folder: must not exist yet.
        recipe: how the run means to score.
        cut: the last stage's.
        trunk_graph: the converted trunk, where OpenVINO runs it.

    Returns:
        How it does score: with a tail that OpenVINO cannot take, Keras runs that half.
    """
    with checksummed(folder) as aside:
        if trunk_graph is not None:
            for suffix in (".xml", ".bin"):
                shutil.copyfile(trunk_graph.with_suffix(suffix), (aside / TRUNK).with_suffix(suffix))
        if recipe.tail_engine == "openvino":
            recipe = _with_converted_tail(aside, recipe, cut)
        write_atomically(aside / RECIPE, json.dumps({"format": FORMAT, **asdict(recipe)}, indent=2) + "\n")
    return recipe


def _with_converted_tail(folder: Path, recipe: ScoringRecipe, cut: Cut) -> ScoringRecipe:
    from cnncli.engines.openvino import convert_graph
    from cnncli.networks.mixed_precision import split_logits

    pixels = cut.trunk is None
    try:
        if recipe.tail_precision == "float32":
            convert_graph(cut.tail, folder / TAIL, pixels=pixels)
        else:
            below, logits = split_logits(cut.tail)
            convert_graph(below, folder / TAIL, pixels=pixels)
            convert_graph(logits, folder / LOGITS, pixels=False)
    except EngineError:
        for graph in (folder / TAIL, folder / LOGITS):
            for suffix in (".xml", ".bin"):
                graph.with_suffix(suffix).unlink(missing_ok=True)
        return replace(recipe, tail_engine="keras")
    return recipe


def read_recipe(folder: Path) -> ScoringRecipe:
    """How a run scores.

    Raises:
        RunError: the run has no such folder, it is damaged, or a newer cnncli wrote it.
    """
    if (problem := damage(folder)) is not None:
        raise RunError(f"{printable(folder)}: {problem}. Copy the run again, or train it anew.")
    where = printable(folder / RECIPE)
    try:
        facts = read_json(folder / RECIPE)
        if facts.pop("format", 0) > FORMAT:
            raise RunError(f"{where}: written by a newer cnncli. Update this one.")
        problem = recipe_problem(facts)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        problem = f"damaged ({error})"
    if problem is not None:
        raise RunError(f"{where}: {printable(problem)}. Copy the run again, or train it anew.")
    return ScoringRecipe(**{**facts, "classes": tuple(facts["classes"])})


def load_scorer(folder: Path, model: Path, batch: int | None = None) -> Scorer:
    """Load a run's predictor with the engines and the precision of its training.

    Args:
        folder: the run's engine directory.
        model: the run's `model.keras`, read only if Keras runs the trunk or the tail.
        batch: images per request; 1 for a single image, which then uses all cores; default: the engine's own, with
            which features that the training cached are found.

    Returns:
        The predictor. If this machine lacks the run's precision, it uses float32 and has a note about it.

    Raises:
        RunError: the folder is missing or damaged.
    """
    recipe, note = _computable(read_recipe(folder))
    cut = _cut_again(recipe, model) if "keras" in (recipe.tail_engine, recipe.trunk and recipe.engine) else None
    return Scorer(recipe, _trunk_engine(recipe, folder, cut, batch), _tail_engine(recipe, folder, cut, batch), note)


def _computable(recipe: ScoringRecipe) -> tuple[ScoringRecipe, str | None]:
    """Return settings in a precision that this machine has, and a note if it is not the run's."""
    if (problem := _lacking(recipe)) is None:
        return recipe, None
    return replace(recipe, precision="float32", tail_precision="float32"), (
        f"the run was trained in bfloat16{problem}: float32 is used, and a borderline image may be classified otherwise"
    )


def _lacking(recipe: ScoringRecipe) -> str | None:
    """Why this machine has no bfloat16 for an engine that a recipe wants it of, in words that fit behind that word."""
    halves = ((recipe.engine, recipe.precision), (recipe.tail_engine, recipe.tail_precision))
    if ("openvino", "bfloat16") in halves and not has_bfloat16():
        return ", in which this processor does not compute"
    if ("keras", "bfloat16") in halves and recipe.gpu and not gpus():
        return " on a GPU, and TensorFlow sees none here"
    return None


def _cut_again(recipe: ScoringRecipe, model: Path) -> Cut:
    from cnncli.networks.classifier import load_classifier
    from cnncli.networks.cut import cut_classifier

    return cut_classifier(load_classifier(model, recipe.pretrained), recipe.unfreeze, recipe.batch_norm)


def _trunk_engine(recipe: ScoringRecipe, folder: Path, cut: Cut | None, batch: int | None) -> Engine | None:
    if recipe.trunk is None:
        return None
    if recipe.engine == "openvino":
        return OpenVinoEngine(folder / TRUNK, recipe.precision, batch, _streams(batch))
    return _keras_trunk(cut, recipe.precision, batch)


def _tail_engine(recipe: ScoringRecipe, folder: Path, cut: Cut | None, batch: int | None) -> Engine:
    """Features to logits, whose layer computes in float32, as it does in training."""
    if recipe.tail_engine == "keras":
        return _keras_tail(cut, recipe.tail_precision, batch)
    tail = OpenVinoEngine(folder / TAIL, recipe.tail_precision, batch, _streams(batch), dtype="float32")
    if not (folder / LOGITS).exists():
        return tail
    return Chain(tail, OpenVinoEngine(folder / LOGITS, "float32", batch, _streams(batch)))


def _streams(batch: int | None) -> int | None:
    """Return the number of parallel requests: 1 for a single image, which uses all cores; None: one per core."""
    return 1 if batch == 1 else None


def _keras_trunk(cut: Cut | None, precision: Precision, batch: int | None) -> Engine:
    from cnncli.engines.keras import KerasEngine

    return KerasEngine(cut.trunk if cut else None, precision, batch)


def _keras_tail(cut: Cut | None, precision: Precision, batch: int | None) -> Engine:
    from cnncli.engines.keras import KerasEngine
    from cnncli.networks.head import LOGITS as LAST_LAYER

    return KerasEngine(cut.tail if cut else None, precision, batch, dtype="float32", in_float32=(LAST_LAYER,))
