"""Networks of keras.applications: built without top and without preprocessing, and the file their weights are in."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class PublishedFile:
    """A file of ImageNet weights as Keras would ask for it.

    Attributes:
        name: under $KERAS_HOME/models.
        url: where Keras fetches it.
        digest: MD5 or SHA-256 in hexadecimal digits; None where Keras knows none.
    """

    name: str
    url: str
    digest: str | None


def build_application(name: str, input_shape: tuple[int, int, int], options: Mapping[str, Any]) -> keras.Model:
    """A network of keras.applications without top, with random weights.

    Args:
        name: of the function in keras.applications.
        input_shape: (height, width, 3).
        options: further arguments of the function.
    """
    return _call(name, input_shape, options, weights=None)


def build_imagenet_application(
    name: str, input_shape: tuple[int, int, int], options: Mapping[str, Any]
) -> tuple[keras.Model, PublishedFile]:
    """The network as Keras builds it for its ImageNet weights, and the file that they are in; nothing is fetched.

    Keras's function is called with weights="imagenet" while its download and its loading stand still: so the graph is
    the one for these weights (EfficientNetB has a layer more than without), and address, file name and hash are what
    the installed Keras has, whatever its version.
    """
    with _no_download() as asked:
        model = _call(name, input_shape, options, weights="imagenet")
    return model, asked[0]


def _call(name: str, input_shape: tuple[int, int, int], options: Mapping[str, Any], weights: str | None) -> keras.Model:
    keras = import_keras()
    function = getattr(keras.applications, name)
    arguments = dict(options)
    if "include_preprocessing" in inspect.signature(function).parameters:
        arguments["include_preprocessing"] = False
    with warnings.catch_warnings():
        # "Weights for input shape (224, 224) will be loaded as the default": known, the catalogue says the same.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square", category=UserWarning)
        return function(include_top=False, weights=weights, input_shape=input_shape, pooling=None, **arguments)


@contextmanager
def _no_download() -> Iterator[list[PublishedFile]]:
    """Inside, what Keras would download is noted and nothing is loaded."""
    from keras.src.models import Functional
    from keras.src.utils import file_utils

    asked: list[PublishedFile] = []

    def note(fname: str, origin: str, cache_subdir: str, file_hash: str | None = None) -> str:  # noqa: ARG001
        asked.append(PublishedFile(fname, origin, file_hash))
        return fname

    def load_nothing(*_: Any) -> None:
        pass

    with _replaced(file_utils, "get_file", note), _replaced(Functional, "load_weights", load_nothing):
        yield asked


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
