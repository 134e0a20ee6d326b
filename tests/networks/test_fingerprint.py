"""Fingerprints identify what a graph computes: equal for equal graphs, different after any change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import fingerprint, hash_weights
from tests.support.drawing import tiny_config


def _trunk(seed: int = 0, **changes: Any) -> Any:
    cut = cut_classifier(build_classifier(tiny_config(Path("unused"), seed=seed, **changes), 2), 0)
    return cut.trunk


def test_graphs_built_apart_from_the_same_config_agree() -> None:
    """Graphs built from the same config have equal fingerprints, even if Keras generated different tensor names."""
    assert fingerprint(_trunk()) == fingerprint(_trunk())


def test_the_head_does_not_show_in_the_trunk() -> None:
    """Changing the head does not change the fingerprint of the trunk."""
    assert fingerprint(_trunk()) == fingerprint(_trunk(head={"layers": [{"dense": 9}]}))


def test_weights_size_and_pooling_show() -> None:
    """Changes of weights, image size or pooling change the fingerprint."""
    larger = _trunk(data={"path": Path("unused"), "image_size": 36})
    others = [_trunk(seed=1), larger, _trunk(head={"pooling": "max"})]

    assert len({fingerprint(trunk) for trunk in [_trunk(), *others]}) == 4


def test_a_single_changed_weight_shows() -> None:
    """A single changed weight changes the hash of the weights and the fingerprint."""
    trunk = _trunk()
    before, weights_before = fingerprint(trunk), hash_weights(trunk.layers)
    kernel = trunk.weights[0]
    kernel.assign(kernel.numpy() + (kernel.numpy() == kernel.numpy().max()) * 1e-6)

    assert fingerprint(trunk) != before
    assert hash_weights(trunk.layers) != weights_before
