"""Frozen networks for both sides: one graph from pixels to pooled features, in Keras and in cnncli's engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnncli.config.schema import Config
from cnncli.engines.build import build_engine, choose_engine
from cnncli.engines.engine import Engine
from cnncli.features.extract import Extraction, Trunk
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.runtime.threads import map_ordered
from scripts.benchmarks.workbench import Workbench

if TYPE_CHECKING:
    import keras

NETWORKS = ("MobileNet", "VGG16", "ResNet50", "DenseNet121", "Xception", "EfficientNetLite0")
SIDE_PX = 160


@dataclass(frozen=True)
class FrozenNetwork:
    """A network without top, with preprocessing and average pooling.

    Attributes:
        model: Keras model from float32 pixels in 0–255 to features of shape (batch, channels).
        extraction: The same graph in cnncli's engine, from files.
        engine: Engine that runs it.
        graph: Converted graph, or None if Keras runs it.
    """

    model: keras.Model
    extraction: Extraction
    engine: Engine
    graph: Path | None

    def run_on_all_cores(self, pixels: np.ndarray) -> list[list[np.ndarray]]:
        """Run the engine in as many threads as there are cores; return the features of each request."""
        starts = range(0, len(pixels), self.engine.batch)
        return list(map_ordered(lambda start: self.engine.run([pixels[start : start + self.engine.batch]]), starts))


def freeze(
    bench: Workbench, name: str, side: int = SIDE_PX, engine: str = "auto", precision: str = "auto"
) -> FrozenNetwork:
    """Build a network with the available weights, and the engine that cnncli selects on this machine."""
    config = Config.model_validate(
        {
            "data": {"path": bench.data.folder, "image_size": side},
            "backbone": {"name": name, "weights": bench.weights_of(name)},
        }
    )
    trunk = cut_classifier(build_classifier(config, n_classes=2), unfreeze=0).trunk
    if trunk is None:
        raise ValueError(f"{name}: nothing is frozen")
    key = fingerprint(trunk)
    chosen, graph = build_engine(trunk, key, choose_engine(engine, precision), bench.work / "graphs")
    pixels = PixelSpec(side, side)
    return FrozenNetwork(trunk, Extraction((Trunk(chosen, key),), pixels), chosen, graph)
