"""`cnncli explain`: which parts of an image speak for its class, and for the runner-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import ConfigError, Message, printable
from cnncli.explanation.perturbation import deletion_score, insertion_score, occlude
from cnncli.images.decode import decode
from cnncli.inference.predictor import Predictor, load_predictor
from cnncli.metrics.classification import ranking_scores
from cnncli.networks.backend import standard_settings
from cnncli.report.contact_sheet import SheetRow, draw_contact_sheet
from cnncli.report.explanation_figure import overlay_heat, overlay_signed, show_gradients, smooth
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.storage.atomic import output_path, replacing
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent
from cnncli.terminal.suggestions import closest, question

Method = Literal["grad-cam", "grad-cam++", "occlusion", "integrated-gradients", "guided-backprop"]
METHODS: tuple[Method, ...] = get_args(Method)
HEAT_MAPS: tuple[Method, ...] = ("grad-cam", "grad-cam++")
"""Methods whose maps are not signed."""
SHOWN_CLASSES = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassExplanation:
    """The maps of an image for one class.

    Attributes:
        probability: Probability of the class, 0-1.
        maps: By method, float32 (height, width), or for guided backpropagation (height, width, channels).
        scores: By method, the insertion and deletion scores of its map, if they were computed.
    """

    label: str
    probability: float
    maps: dict[Method, NDArray[np.float32]]
    scores: dict[Method, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return the class for JSON, with the place of the largest value of each map, 0-1 from the top left."""
        methods: dict[str, dict[str, Any]] = {}
        for method, values in self.maps.items():
            importance = importance_of(values)
            row, column = np.unravel_index(importance.argmax(), importance.shape)
            peak = {"x": (int(column) + 0.5) / importance.shape[1], "y": (int(row) + 0.5) / importance.shape[0]}
            methods[method] = {"peak": peak}
            if method in self.scores:
                methods[method] |= dict(zip(("insertion", "deletion"), self.scores[method], strict=True))
        return {"label": self.label, "probability": self.probability, "methods": methods}


@dataclass(frozen=True)
class Explanation:
    """An image with the maps of some classes, by default the predicted one and the runner-up."""

    path: str
    pixels: NDArray[np.uint8]
    classes: tuple[ClassExplanation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `explain --json`."""
        return {"path": self.path, "classes": [one.to_dict() for one in self.classes]}


def importance_of(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return a map (height, width) from that of any method."""
    return np.asarray(values if values.ndim == 2 else np.abs(values).max(axis=2), np.float32)


@standard_settings()
def explain(
    run: RunFolder,
    images: Sequence[Path],
    methods: Sequence[Method] = ("grad-cam",),
    classes: Sequence[str] = (),
    layer: str | None = None,
    score: bool = False,
    console: Console | None = None,
) -> list[Explanation]:
    """Explain the classification of images by a finished run.

    Args:
        run: The run.
        images: Image files.
        methods: Kinds of maps. All but occlusion need TensorFlow.
        classes: Names of classes; default: the two most probable ones of each image.
        layer: Layer whose maps Grad-CAM weights; default: the last one with maps.
        score: Whether to compute the insertion and deletion scores of each map.
        console: Console for progress.

    Raises:
        ConfigError: There is no such class.
        CutError: There is no such layer, or the network has no maps.
        ImageError: An image cannot be used.
        RunError: The run is unfinished or damaged.
    """
    require_finished(run)
    predictor = load_predictor(run.engine, run.model)
    numbers = [_number_of(name, predictor.spec.classes) for name in classes]
    pixels = [decode(image, predictor.spec.pixels) for image in images]  # errors come before the slow import of Keras
    explainer = Explainer(run, predictor, methods, layer, score)
    console = console or Console(quiet=True)
    found = []
    with console.progress(len(images), "explaining", "images") as progress:
        for path, one in zip(images, pixels, strict=True):
            found.append(Explanation(str(path), one, explainer.explain(one, numbers)))
            progress.advance()
    return found


def _number_of(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    hint = question(closest(name, classes)) or f"Classes: {', '.join(map(printable, classes[:20]))}."
    text = f"class: received {printable(name)}, which is not a class of the run. {hint}"
    raise ConfigError(Message("usage-class-unknown", text, key="class", received=name, expected=tuple(classes)))


class Explainer:
    """The maps of one classifier, whose Keras model is loaded only if a method needs gradients."""

    def __init__(
        self,
        run: RunFolder,
        predictor: Predictor,
        methods: Sequence[Method],
        layer: str | None = None,
        score: bool = False,
    ) -> None:
        self._predictor, self._methods, self._score = predictor, methods, score
        if set(methods) - {"occlusion"}:
            from cnncli.explanation.attribution import Attribution
            from cnncli.networks.classifier import load_classifier

            classifier = load_classifier(run.model, predictor.spec.pretrained)
            self._attribution = Attribution(classifier, layer, is_multi_label=predictor.spec.is_multi_label)

    def explain(self, pixels: NDArray[np.uint8], numbers: Sequence[int]) -> tuple[ClassExplanation, ...]:
        """Return the maps of an image for some classes; default: the two most probable ones."""
        probabilities = self._predictor.probabilities(pixels[None])[0]
        chosen = numbers or np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES].tolist()
        return tuple(self._of_class(pixels, k, float(probabilities[k])) for k in chosen)

    def _of_class(self, pixels: NDArray[np.uint8], k: int, probability: float) -> ClassExplanation:
        maps = {method: self.map(method, pixels, k) for method in self._methods}
        scores = {}
        if self._score:
            for method, values in maps.items():
                importance = importance_of(values)
                scores[method] = tuple(
                    measure(lambda images: self._predictor.probabilities(images)[:, k], pixels, importance)
                    for measure in (insertion_score, deletion_score)
                )
        return ClassExplanation(self._predictor.spec.classes[k], probability, maps, scores)  # type: ignore[arg-type]

    def map(self, method: Method, pixels: NDArray[np.uint8], k: int) -> NDArray[np.float32]:
        """Return the map of an image for class k."""
        if method == "occlusion":
            return occlude(lambda images: self._margin(images, k), pixels)
        found = self._attribution
        compute: dict[str, Callable[[NDArray[np.uint8], int], NDArray[np.float32]]] = {
            "grad-cam": found.grad_cam,
            "grad-cam++": found.grad_cam_plus_plus,
            "integrated-gradients": found.integrated_gradients,
            "guided-backprop": found.guided_backpropagation,
        }
        return compute[method](pixels, k)

    def _margin(self, images: NDArray[np.uint8], k: int) -> NDArray[Any]:
        """Return the logit of a class minus that of the best other one; for a label, its logit."""
        spec = self._predictor.spec
        logits = self._predictor.logits_of_pixels(images)
        if spec.is_multi_label:
            return np.asarray(logits[:, k])
        scores = ranking_scores(logits, spec.activation)
        return np.asarray(scores[:, k] - np.delete(scores, k, axis=1).max(axis=1))


def draw_explanations(found: Sequence[Explanation], run: RunFolder, path: Path) -> Path:
    """Draw a row for each image and class, with the image and its maps, as a PNG, and return the path.

    Raises:
        CnncliError: The path is not that of a PNG, or its folder does not exist.
    """
    path = output_path(path, (".png",))
    rows = [
        SheetRow(
            printable(f"{one.label} {percent(one.probability)}"),
            printable(Path(image.path).name),
            [image.pixels, *(_draw(method, image.pixels, values) for method, values in one.maps.items())],
        )
        for image in found
        for one in image.classes
    ]
    columns = ("image", *found[0].classes[0].maps)
    lines = "red or bright: speaks for the class · blue: speaks against it · no color: nothing speaks for it"
    draw_contact_sheet(rows, columns, f"{printable(run.path.name)}: explanations", lines, path)
    return path


def _draw(method: Method, pixels: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    if values.ndim == 3:
        return show_gradients(values)
    if method in HEAT_MAPS:
        return overlay_heat(pixels, values)
    return overlay_signed(pixels, smooth(values) if method == "integrated-gradients" else values)


def write_maps(found: Sequence[Explanation], path: Path) -> Path:
    """Write all maps as .npz, with names such as `0/dogs/grad-cam`, and return the path."""
    path = output_path(path, (".npz",))
    arrays = {
        f"{number}/{one.label}/{method}": values
        for number, image in enumerate(found)
        for one in image.classes
        for method, values in one.maps.items()
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path
