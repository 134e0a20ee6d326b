"""Networks of keras.applications are built as Keras builds them, without a download."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.networks.architectures import NetworkSpec
from cnncli.networks.architectures.keras_applications import build, build_for_imagenet
from cnncli.networks.backend import import_keras
from cnncli.storage.download import PublishedFile
from tests.networks.filled import features


def _mobilenet(height: int, width: int) -> NetworkSpec:
    return NetworkSpec(NETWORKS["MobileNet"], (height, width, 3), {"alpha": 0.25})


def test_network_is_the_one_keras_builds() -> None:
    """With the same seed, the features equal those of the `keras.applications` model."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    ours = build(_mobilenet(32, 32)).model
    keras.utils.set_random_seed(1)
    plain = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3))
    np.testing.assert_array_equal(features(ours, 32), features(plain, 32))


def test_published_file_is_the_one_keras_knows() -> None:
    """URL, name and hash of the weights file equal those in the installed Keras."""
    _, published = build_for_imagenet(NetworkSpec(NETWORKS["VGG16"], (32, 32, 3)))
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    base = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    assert published == PublishedFile(name, base + name, "6d6bbae143d832006294945121d1f1fc")


def test_published_file_without_a_hash_has_none() -> None:
    """For MobileNet, Keras has no hash, and its warning about image sizes is suppressed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, published = build_for_imagenet(_mobilenet(48, 32))
    assert published.name == "mobilenet_2_5_224_tf_no_top.h5"
    assert published.digest is None


def test_keras_downloads_and_loads_again_afterwards() -> None:
    """Functions of Keras that were disabled are restored, even if the network cannot be built."""
    from keras.src.models import Functional
    from keras.src.utils import file_utils

    before = file_utils.get_file, Functional.load_weights
    build_for_imagenet(_mobilenet(32, 32))
    with pytest.raises(ValueError, match="at least 32x32"):
        build_for_imagenet(_mobilenet(8, 8))
    assert (file_utils.get_file, Functional.load_weights) == before
