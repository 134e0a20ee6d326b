"""Frozen networks: cnncli's engine, Keras's `predict`, and OpenVINO itself; from pixels and from JPEG files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.reader import config_from_mapping
from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.build import build_engine
from cnncli.engines.engine import Engine
from cnncli.engines.openvino import import_openvino
from cnncli.features.extract import Extraction, FeatureSet, Trunk, extract
from cnncli.features.store import FeatureStore
from cnncli.networks.arithmetic import count_multiply_adds
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.runtime.threads import map_ordered
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from scripts.benchmarks.keras_side import plain
from scripts.benchmarks.plain.parts import BATCH, batches, steady
from scripts.benchmarks.rows import OURS, Row, rates_in_turns
from scripts.benchmarks.setting import Setting

if TYPE_CHECKING:
    import keras

SIDE_PX = 160
IMAGES = {"MobileNet": 1024, "EfficientNetLite0": 1024, "VGG16": 128}
"""Numbers of images by network, so that a round of the slowest side takes about 10 s; 256 for others."""


@dataclass(frozen=True)
class Frozen:
    """A network without top, with preprocessing and average pooling, in Keras and in cnncli's engine."""

    model: keras.Model
    trunk: str
    engine: Engine
    graph: Path | None
    context: TrainingContext

    def run(self, pixels: np.ndarray) -> list[list[np.ndarray]]:
        """Run the engine in as many threads as there are cores; return the features of each request."""
        starts = range(0, len(pixels), self.engine.batch)
        return list(map_ordered(lambda start: self.engine.run([pixels[start : start + self.engine.batch]]), starts))


def freeze(setting: Setting, name: str) -> Frozen:
    """Build a network and the engine that cnncli would use to train its head on the images of the setting."""
    config = config_from_mapping(
        {
            "data": {"path": str(setting.data), "image_size": SIDE_PX},
            "backbone": {"name": name, "weights": setting.weights_of(name)},
            "precision": setting.precision,
        }
    )
    context = TrainingContext.for_this_machine(config, build_manifest(config.data, 0), Console(quiet=True))
    trunk = cut_classifier(build_classifier(config, n_classes=2), unfreeze=0).trunk
    if trunk is None:
        raise ValueError(f"{name}: nothing is frozen")
    key = fingerprint(trunk)
    built = build_engine(trunk, key, context.choice, context.graphs)
    engine, graph, _ = context.quantize(*built, key, count_multiply_adds(trunk), 1)
    return Frozen(trunk, key, engine, graph, context)


def measure_forward(setting: Setting, name: str) -> Iterator[Row]:
    """Yield images per second of a network on random pixels."""
    import tensorflow as tf

    frozen, n = freeze(setting, name), setting.count(IMAGES.get(name, 256))
    pixels = np.random.default_rng(0).integers(0, 256, (n, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    floats = batches(tf.data.Dataset.from_tensor_slices(pixels.astype(np.float32)))
    sides: dict[str, Callable[[], object]] = {
        OURS: lambda: frozen.run(pixels),
        "Keras `predict`, float32": plain(lambda: frozen.model.predict(floats, verbose=0)),
    }
    if frozen.graph is not None:
        raw = RawOpenVino(frozen.graph, frozen.engine.choice.precision)
        sides["OpenVINO, two requests"] = lambda: raw.run(pixels)
    rates = rates_in_turns(sides, n, setting.rounds)
    title = f"Frozen networks, {SIDE_PX} px, from pixels to features"
    yield Row(title, "images/s", rates, name, note=frozen.engine.choice.precision)


def measure_files(setting: Setting, name: str) -> Iterator[Row]:
    """Yield images per second of a network from JPEG files to features in an empty cache."""
    import keras

    ours, n, folder = prepare_files(setting, name)
    data = keras.utils.image_dataset_from_directory(
        folder / "train", labels=None, image_size=(SIDE_PX, SIDE_PX), shuffle=False, verbose=False
    )
    data = steady(data)
    theirs = plain(lambda: ours.frozen.model.predict(data, verbose=0))
    sides: dict[str, Callable[[], object]] = {OURS: ours, "Keras `image_dataset_from_directory` and `predict`": theirs}
    title = f"Frozen networks, {SIDE_PX} px, from JPEG files to features"
    yield Row(title, "images/s", rates_in_turns(sides, n, setting.rounds), name, note=ours.precision)


def prepare_files(setting: Setting, name: str) -> tuple[FeatureExtraction, int, Path]:
    """Return a call that computes the features of training images, their number, and the folder of their split."""
    frozen = freeze(setting, name)
    folder = setting.splits(train=setting.count(IMAGES.get(name, 256)), validation=16, test=16)
    images = build_manifest(frozen.context.config.data.model_copy(update={"path": folder}), 0).split("train")
    return FeatureExtraction(frozen, images, setting.work), len(images), folder


class FeatureExtraction:
    """Calls that compute the features of images, each in an empty cache."""

    def __init__(self, frozen: Frozen, images: Sequence[ImageRecord], work: Path) -> None:
        self.frozen, self.precision = frozen, frozen.engine.choice.precision
        extraction = Extraction((Trunk(frozen.engine, frozen.trunk),), frozen.context.pixels)
        self._features = FeatureSet(extraction, images)
        self._work = work

    def __call__(self) -> None:
        """Compute the features once more."""
        with FeatureStore(Path(tempfile.mkdtemp(dir=self._work))) as store:
            extract(self._features, store, Console(quiet=True))


class RawOpenVino:
    """A converted graph in an asynchronous queue, as OpenVINO's guides recommend for throughput."""

    def __init__(self, graph: Path, precision: str, requests: int = 2) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        model = core.read_model(graph)
        port = model.input(0)
        model.reshape({port: [BATCH, *list(port.get_partial_shape())[1:]]})
        hint = "bf16" if precision == "bfloat16" else "f32"
        settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": requests}
        self._compiled = core.compile_model(model, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(self._compiled, requests)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of images of shape (n, height, width, 3), where n is a multiple of the batch size."""
        found = np.empty((len(pixels), *list(self._compiled.output(0).shape)[1:]), np.float32)

        def keep(request: Any, start: int) -> None:
            part = request.get_output_tensor().data
            found[start : start + BATCH] = part[: len(found) - start]

        self._queue.set_callback(keep)
        for start in range(0, len(pixels), BATCH):
            batch = pixels[start : start + BATCH]
            missing = BATCH - len(batch)
            self._queue.start_async(
                [np.concatenate([batch, batch[:1].repeat(missing, 0)]) if missing else batch], start
            )
        self._queue.wait_all()
        return found
