"""From pictures to class probabilities, as a run does it: the one path of training, evaluation and prediction.

A run's `engine/` folder holds what it takes: `scoring.json`, and with the OpenVINO engine the converted `trunk.xml`
and `tail.xml`, so that predicting needs neither TensorFlow nor Keras. With the Keras engine `model.keras` is cut again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import BATCH, Array, Engine, EngineName, Precision
from cnncli.errors import EngineError, RunError
from cnncli.networks.scores import probabilities_of
from cnncli.pictures.decode import PixelRecipe
from cnncli.runs.files import write_atomically

if TYPE_CHECKING:
    from cnncli.networks.cut import Cut

FORMAT = 1
RECIPE, TRUNK, TAIL = "scoring.json", "trunk.xml", "tail.xml"


@dataclass(frozen=True)
class ScoringRecipe:
    """What decides how a run scores a picture, beside the weights.

    Attributes:
        engine, precision: of the trunk; the tail is computed in float32.
        trunk: fingerprint of the trunk; None where it is empty.
        unfreeze, batch_norm, pretrained: where the classifier is cut.
        activation: the head's.
        classes: names, in the order of the probabilities.
        height, width, color, fit, max_pixels: how a file becomes pixels.
    """

    engine: EngineName
    precision: Precision
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

    @property
    def pixels(self) -> PixelRecipe:
        """How a file becomes pixels."""
        return PixelRecipe(self.height, self.width, self.color, self.fit, self.max_pixels)


@dataclass(frozen=True)
class Scorer:
    """A run's classifier, ready to score.

    Attributes:
        recipe: how it scores.
        trunk: pixels to features, or None where the trunk is empty.
        tail: features to logits.
    """

    recipe: ScoringRecipe
    trunk: Engine | None
    tail: Engine

    def logits(self, features: Sequence[Array]) -> Array:
        """Logits (n, units), float32, of features as the trunk gives them."""
        return self.tail.run(features)[0]

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Class probabilities (n, classes) of decoded pictures, uint8 (n, height, width, channels)."""
        features = self.trunk.run([pixels]) if self.trunk else [pixels]
        return probabilities_of(self.logits(features), self.recipe.activation)


def save_scorer(folder: Path, recipe: ScoringRecipe, cut: Cut, trunk_graph: Path | None) -> None:
    """Write what scoring takes into a run's engine folder.

    Args:
        folder: made where it is missing.
        recipe: how the run scores.
        cut: the last stage's.
        trunk_graph: the converted trunk, where OpenVINO runs it.
    """
    from cnncli.engines.openvino import convert_graph

    folder.mkdir(parents=True, exist_ok=True)
    if trunk_graph is not None:
        for suffix in (".xml", ".bin"):
            shutil.copyfile(trunk_graph.with_suffix(suffix), (folder / TRUNK).with_suffix(suffix))
    if recipe.engine == "openvino":
        try:
            convert_graph(cut.tail, folder / TAIL, pixels=cut.trunk is None)
        except EngineError:
            (folder / TAIL).unlink(missing_ok=True)
    write_atomically(folder / RECIPE, json.dumps({"format": FORMAT, **asdict(recipe)}, indent=2) + "\n")


def read_recipe(folder: Path) -> ScoringRecipe:
    """How a run scores.

    Raises:
        RunError: the run has no such file, or a newer cnncli wrote it.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / RECIPE).read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / RECIPE}: cannot be read ({error}). Is the run finished?") from error
    if facts.pop("format", 0) > FORMAT:
        raise RunError(f"{folder / RECIPE}: written by a newer cnncli. Update this one.")
    return ScoringRecipe(**{**facts, "classes": tuple(facts["classes"])})


def load_scorer(folder: Path, model: Path, batch: int = BATCH) -> Scorer:
    """A run's scorer.

    Args:
        folder: the run's engine folder.
        model: the run's `model.keras`, read only where an engine's own file is missing.
        batch: pictures in a request; 1 for a single picture.
    """
    recipe = read_recipe(folder)
    if recipe.engine == "openvino" and (folder / TAIL).exists() and (not recipe.trunk or (folder / TRUNK).exists()):
        from cnncli.engines.openvino import OpenVinoEngine

        trunk = OpenVinoEngine(folder / TRUNK, recipe.precision, batch) if recipe.trunk else None
        return Scorer(recipe, trunk, OpenVinoEngine(folder / TAIL, "float32", batch))
    return _load_with_keras(recipe, model, batch)


def _load_with_keras(recipe: ScoringRecipe, model: Path, batch: int) -> Scorer:
    from cnncli.engines.keras import KerasEngine
    from cnncli.networks.classifier import load_classifier
    from cnncli.networks.cut import cut_classifier

    cut = cut_classifier(load_classifier(model, recipe.pretrained), recipe.unfreeze, recipe.batch_norm)
    trunk = KerasEngine(cut.trunk, recipe.precision, batch) if cut.trunk else None
    return Scorer(recipe, trunk, KerasEngine(cut.tail, "float32", batch))
