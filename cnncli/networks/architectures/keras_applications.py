"""Networks of keras.applications, without preprocessing, and their ImageNet weights files."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cnncli.catalogue.networks import NetworkInfo
from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.backend import import_keras
from cnncli.networks.weights.download import fetch, weights_folder
from cnncli.networks.weights.load import load_file
from cnncli.storage.download import PublishedFile

if TYPE_CHECKING:
    import keras


LAYERS = {
    "keras.src.applications.convnext": frozenset({"LayerScale"}),
    "keras.src.applications.inception_resnet_v2": frozenset({"CustomScaleLayer"}),
}


def build(spec: NetworkSpec) -> Network:
    """Build a network of keras.applications; see `architectures`."""
    if not spec.imagenet:
        return Network(_call(spec, weights=None))
    model, file = build_for_imagenet(spec)
    return Network(model, load_imagenet=lambda: load_file(model, fetch(file), spec.info))


def build_for_imagenet(spec: NetworkSpec) -> tuple[keras.Model, PublishedFile]:
    """Build a network as Keras builds it for its ImageNet weights; return it with the file of these weights.

    Keras's function is called with weights="imagenet", but with downloading and loading disabled. The graph is thus the
    one for these weights (EfficientNetB has one more layer), and URL, file name and hash are those of the installed
    Keras. With top, images must have the network's default size.
    """
    with _no_download() as requested:
        model = _call(spec, weights="imagenet")
    return model, requested[0]


def has_local_weights(info: NetworkInfo) -> bool:
    """Return whether Keras's ImageNet weights have been downloaded."""
    return info.weights_file is not None and (weights_folder() / info.weights_file).is_file()


def _call(spec: NetworkSpec, weights: str | None) -> keras.Model:
    function = getattr(import_keras().applications, spec.info.name)
    arguments = dict(spec.options)
    if "include_preprocessing" in inspect.signature(function).parameters:
        arguments["include_preprocessing"] = False
    with warnings.catch_warnings():
        # "Weights for input shape (224, 224) will be loaded as the default": known from the catalogue.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square", category=UserWarning)
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        return function(include_top=spec.top, weights=weights, input_shape=spec.input_shape, **arguments)


@contextmanager
def _no_download() -> Iterator[list[PublishedFile]]:
    """Record the file that Keras would download, without downloading or loading it, inside the block."""
    from keras.src.models import Functional
    from keras.src.utils import file_utils

    requested: list[PublishedFile] = []

    def record(fname: str, origin: str, file_hash: str | None = None, **_settings: str) -> str:
        requested.append(PublishedFile(fname, origin, file_hash))
        return fname

    before = file_utils.get_file, Functional.load_weights
    file_utils.get_file, Functional.load_weights = record, lambda *_: None
    try:
        yield requested
    finally:
        file_utils.get_file, Functional.load_weights = before
