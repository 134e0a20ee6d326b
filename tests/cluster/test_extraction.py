"""Tasks of an extraction, run in this process as a node would run them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.cluster.extraction import SentExtraction, compute_task
from cnncli.dataset.build import build_manifest
from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.features.extract import Computed, Extraction, FeatureSet, Trunk, compute_here
from cnncli.images.decode import PixelSpec
from cnncli.networks.backend import import_keras
from tests.support.drawing import draw_dataset, tiny_config


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    """Return the features of a few images behind a convolution."""
    keras = import_keras()
    pixels = keras.Input((16, 16, 3))
    model = keras.Model([pixels], keras.layers.Conv2D(2, 3)(pixels))
    convert_graph(model, tmp_path / "trunk.xml", pixels=True)
    trunk = Trunk(OpenVinoEngine(tmp_path / "trunk.xml", "float32", 2), "convolution")
    images = build_manifest(tiny_config(draw_dataset(tmp_path / "data", 3, 3, 3)).data, 0).split("train")
    return FeatureSet(Extraction((trunk,), PixelSpec(16, 16)), images)


def answer_of(sent: SentExtraction, features: FeatureSet) -> Any:
    """Return the result of a task that computes all features."""
    return compute_task(sent, features.images, [set(features.digests)])


def rows_of(computed: list[Computed]) -> dict[str, np.ndarray]:
    """Return the features of each image by its digest."""
    return {digest: row for _, digests, (rows,) in computed for digest, row in zip(digests, rows, strict=True)}


@pytest.mark.parametrize("package", ["cnncli", "opencv", "pillow", "libjpeg", "decoder"])
def test_a_node_with_other_versions_computes_nothing(features: FeatureSet, package: str) -> None:
    """A node whose decoder, or a package that determines pixels, has another version names it and computes nothing."""
    sent = SentExtraction.of(features)
    other = replace(sent, versions={**sent.versions, package: "0.0.1"})
    computed, errors, (difference,) = answer_of(other, features)

    assert (computed, errors) == ([], [])
    assert difference == f"{package} is {sent.versions[package]}, not 0.0.1"


def test_a_task_leaves_no_files(features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task computes the features of this machine, and the files of its graph are deleted at once."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    computed, errors, differences = answer_of(SentExtraction.of(features), features)
    expected = [one for found, _ in compute_here(features, [set(features.digests)]) for one in found]

    assert (errors, differences) == ([], [])
    assert rows_of(computed).keys() == set(features.digests)
    assert all((row == rows_of(expected)[digest]).all() for digest, row in rows_of(computed).items())
    assert not list((tmp_path / "temporary").iterdir())
