"""A published network with its top as a predictor of the 1,000 classes of ImageNet, without a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.catalogue.imagenet import imagenet_classes
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.engines.build import build_engine, choose_engine, graphs_in_use
from cnncli.engines.engine import EngineName
from cnncli.errors import ConfigError, Message
from cnncli.inference.predictor import Predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.classifier import PIXELS
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.graph import replay
from cnncli.networks.preprocessing import preprocess
from cnncli.storage.cache_dir import GRAPHS, make_cache_dir

if TYPE_CHECKING:
    import keras


RESIZED = 256 / 224
"""Side of the centered square that is decoded, relative to that of the network; its edge is cut off, as is usual."""


def load_pretrained(name: str) -> Predictor:
    """Build a network of the catalogue with its top and its ImageNet weights, for one crop of the default size.

    It runs in float32; its graph for OpenVINO is kept in the cache.

    Raises:
        ConfigError: The catalogue has no such network, or it has no weights for the classes of ImageNet.
        WeightsError: The weights cannot be downloaded or read.
    """
    settings = {"backbone": {"name": name, "weights": "none"}, "data": {"path": "."}}
    config = config_from_mapping(settings, environment={}, check_paths=False)
    info = config.backbones[0].network
    if not info.has_imagenet or info.top_classes != len(imagenet_classes()):
        text = (
            f"--backbone {name}: there are no published weights for its top. `cnncli train` trains it on your images."
        )
        raise ConfigError(Message("weights-no-top", text, network=name))
    graphs = make_cache_dir() / GRAPHS
    with graphs_in_use(graphs):
        model = _build_classifier(config)
        engine, _ = build_engine(model, fingerprint(model), choose_engine("auto", "float32"), graphs)
    return Predictor(_spec(config, engine.choice.engine), trunks=(), tail=engine)


@standard_settings()
def _build_classifier(config: Config) -> keras.Model:
    """Return the network from pixels in 0–255 to logits, with weights."""
    keras, info = import_keras(), config.backbones[0].network
    shape, margin = (info.input_size, info.input_size, 3), _margin(info.input_size)
    backbone = config.backbones[0].model_copy(update={"weights": "imagenet"})
    network = build_backbone(backbone, shape, config.seed, top=True)
    network.layers[-1].activation = keras.activations.linear  # softmax
    pixels = keras.Input((shape[0] + 2 * margin, shape[1] + 2 * margin, 3), name=PIXELS)
    center = keras.layers.Cropping2D(margin, name="center")(pixels)
    (logits,) = replay(network, [preprocess(center, info.preprocessing)])
    return keras.Model([pixels], [logits], name=network.name)


def _spec(config: Config, engine: EngineName) -> PredictorSpec:
    size = config.backbones[0].network.input_size
    size += 2 * _margin(size)
    return PredictorSpec(
        engine=engine,
        precision="float32",
        tail_engine=engine,
        trunk=None,
        unfreeze="all",
        batch_norm="frozen",
        pretrained=True,
        activation="softmax",
        classes=imagenet_classes(),
        height=size,
        width=size,
        color="rgb",
        fit="crop",
        max_pixels=config.data.max_pixels,
    )


def _margin(size: int) -> int:
    """Return the pixels that are cut off at each side of the decoded square."""
    return round(size * (RESIZED - 1) / 2)
