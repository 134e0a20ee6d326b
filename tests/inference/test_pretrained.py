"""Published networks name the 1,000 classes of ImageNet without a run."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cnncli.catalogue.imagenet import imagenet_classes
from cnncli.errors import ConfigError, WeightsError
from cnncli.inference.prediction import Prediction
from cnncli.inference.pretrained import load_pretrained
from cnncli.networks.backend import import_keras
from cnncli.recipes.predict import predict_imagenet
from tests.support.drawing import draw_image


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files of a folder without messages."""

    def log_message(self, format: str, *args: object) -> None:
        """Suppress messages on stderr."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Return a folder from which the weights of MobileNet are downloaded."""
    from keras.src.applications import mobilenet

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(mobilenet, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{server.server_port}/")
        yield tmp_path
        server.shutdown()


def test_there_are_a_thousand_different_classes() -> None:
    """Row 44: the classes are those of ILSVRC in its order, and no name occurs twice."""
    classes = imagenet_classes()

    assert len(set(classes)) == 1000
    assert [classes[place] for place in (0, 1, 151, 207, 281, 285, 999)] == [
        *("tench", "goldfish", "Chihuahua", "golden retriever", "tabby", "Egyptian cat", "toilet tissue"),
    ]


def test_a_network_without_published_top_is_refused() -> None:
    """ConvNet has no published weights, and an unknown name is reported with a suggestion."""
    with pytest.raises(ConfigError) as without:
        load_pretrained("ConvNet")
    with pytest.raises(ConfigError) as unknown:
        load_pretrained("MobilNet")

    assert without.value.code == "weights-no-top"
    assert unknown.value.code == "config-unknown-name"


def test_weights_that_cannot_be_downloaded_are_an_error(served: Path) -> None:
    """Offline, the error names the file, its URL, and where to put it."""
    with pytest.raises(WeightsError) as caught:
        predict_imagenet("MobileNet", [draw_image("dots", 1)])

    assert caught.value.code == "weights-download-failed"
    assert str(caught.value.facts["url"]).endswith("mobilenet_1_0_224_tf.h5")
    assert caught.value.facts["path"].name == "mobilenet_1_0_224_tf.h5"


@pytest.mark.slow
def test_a_network_of_keras_predicts_what_keras_predicts(served: Path) -> None:
    """Rows 44 and 216: with downloaded weights, probabilities of the center equal those of Keras's network."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet(weights=None)
    network.save_weights(served / "all.weights.h5")
    (served / "all.weights.h5").rename(served / "mobilenet_1_0_224_tf.h5")
    pixels = draw_image("dots", 1, size=256)
    expected = network.predict(pixels[None, 16:240, 16:240] / 127.5 - 1, verbose=0)[0]

    (found,) = predict_imagenet("MobileNet", [pixels], top=1000)

    assert isinstance(found, Prediction)
    probabilities = dict(zip(found.labels, found.probabilities, strict=True))
    np.testing.assert_allclose([probabilities[name] for name in imagenet_classes()], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_installed_weights_include_their_top() -> None:
    """Row 44: EfficientNetLite0 names classes without download; probabilities add up to 1, the most probable first."""
    (found,) = predict_imagenet("EfficientNetLite0", [draw_image("stripes", 2, size=224)], top=1000)

    assert isinstance(found, Prediction)
    assert sum(found.probabilities) == pytest.approx(1)
    assert list(found.probabilities) == sorted(found.probabilities, reverse=True)
    assert set(found.labels) == set(imagenet_classes())


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("label", "first", "last", "least"), [("cats", 281, 287, 0.78), ("dogs", 151, 275, 0.98)])
def test_photographs_of_cats_and_dogs_are_named(label: str, first: int, last: int, least: float, shared: Path) -> None:
    """Row 44: at least 78 % of the cats are classes 281–287, and 98 % of the dogs 151–275."""
    folder = shared / "data" / "dogs-vs-cats" / "test" / label
    found = list(predict_imagenet("EfficientNetLite0", [str(folder)], top=1))
    names = imagenet_classes()[first : last + 1]

    known = [one.labels[0] in names for one in found if isinstance(one, Prediction)]
    assert len(known) == len(list(folder.iterdir()))
    assert np.mean(known) >= least
