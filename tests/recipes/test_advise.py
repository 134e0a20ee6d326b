"""`cnncli advise`: the case of a dataset, with evidence from probes and the learning curve, and a config to train."""

from __future__ import annotations

import json
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.cli import main
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.dataset.source import read_config
from cnncli.evaluation.cross_validation import Pool
from cnncli.evaluation.depth_probes import Probe, _features_at, depths_of, probe_pool
from cnncli.evaluation.learning_curve import measure_learning_curve
from cnncli.networks.backbone import build_backbone
from cnncli.networks.classifier import build_classifier
from cnncli.recipes.advise import BackboneResult, best_depth, choose_backbone, kind_of, recommend, size_of
from cnncli.recipes.crossval import frozen_network, load_pool
from cnncli.terminal.console import Console
from tests.evaluation.pools import draw_pool
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)
OPTIONS = {"filters": [4, 8, 8]}

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 80 images of stripes and dots for training and validation, and 8 for the test."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 30, 10, 4)


@pytest.fixture
def config(data: Path) -> Config:
    """Return the config of a frozen network with three blocks."""
    backbone = {"name": "ConvNet", "weights": "none", "options": OPTIONS}
    return tiny_config(data, name="tiny", training={}, backbone=backbone)


@pytest.fixture
def file(config: Config, tmp_path: Path) -> Path:
    """Write the config."""
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    return path


def probe(n_correct: int, n: int = 200, layer: str | None = None) -> Probe:
    """Return a probe whose first predictions are correct."""
    return Probe(layer, 8, None, np.arange(n) < n_correct)


def test_an_earlier_layer_must_be_significantly_better() -> None:
    """Images are different from ImageNet if McNemar's test shows that an earlier layer has better features."""
    last = probe(150)
    better, similar, worse = (probe(n, layer=f"layer{n}").against(last) for n in (170, 153, 120))

    assert better.p == pytest.approx(2 * 0.5**20)
    assert kind_of([worse, similar, last]) == "similar"
    assert kind_of([worse, better, similar, last]) == "different"
    assert best_depth([worse, better, similar, last]) == "layer170"
    assert best_depth([last]) is None


def test_the_fastest_of_the_best_backbones_is_chosen() -> None:
    """A fast backbone is chosen if its accuracy is not significantly lower than that of the best."""
    best = probe(190)
    compared = [
        BackboneResult("slow", "backbone=slow", best, 50.0, 100.0),
        BackboneResult("fast", "backbone=fast", probe(188).against(best), 5.0, 20.0),
        BackboneResult("poor", "backbone=poor", probe(150).against(best), 1.0, 5.0),
    ]

    assert choose_backbone(compared).name == "fast"


def test_a_dataset_is_large_if_a_head_has_enough_of_it() -> None:
    """With few images per class it is small, with very many large, between them as the learning curve says."""
    labels = np.arange(600) % 2
    steep = measure_learning_curve(draw_pool(labels[:80]), 5, 0)
    flat = measure_learning_curve(draw_pool(labels, separation=0), 5, 0)

    assert steep.would_help
    assert not flat.would_help
    assert [size_of(300, steep), size_of(300, flat)] == ["small", "large"]
    assert [size_of(10, flat), size_of(9_000, steep), size_of(300, None)] == ["small", "large", "small"]


def test_a_head_that_is_good_enough_is_recommended() -> None:
    """With 99 % accuracy, nothing slower than a linear head is recommended, whatever the case."""
    assert "fine-tuning" in recommend("large", "similar", [probe(197)])[0]
    assert "mode=feature-extraction" in recommend("large", "similar", [probe(198)])[1]
    assert recommend("large", "different", [probe(198)]) == recommend("small", "different", [probe(100)])


def test_probes_have_the_features_of_backbones_that_end_there(config: Config) -> None:
    """Each probed layer can be the output layer of a backbone, whose pooled features are those of the probe."""
    with frozen_network(config, "advise", CONSOLE) as frozen:
        pool = Pool.load(frozen)
        classifier = build_classifier(config, 2)
        tensors = depths_of(classifier)
        features = _features_at(tensors, classifier, frozen.context, pool)
    layers = [tensor._keras_history.operation.name for tensor in tensors]
    sizes = [tensor.shape[1] for tensor in tensors]

    assert sizes == sorted(set(sizes), reverse=True)
    assert len(layers) >= 2
    for layer, found in zip(layers, features, strict=True):
        backbone = config.backbones[0].model_copy(update={"output_layer": layer})
        expected = load_pool(config.model_copy(update={"backbone": backbone}), "crossval", CONSOLE).views[0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_probe_is_a_cross_validation(config: Config, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last probe has the accuracy of `crossval`."""
    found = probe_pool(load_pool(config, "advise", CONSOLE), 5)
    assert main(["crossval", str(file), "--folds", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert found.accuracy == document["accuracy"]
    assert list(found.ci95) == document["ci95"]


def test_the_advice_is_a_document_and_a_config(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The written config is valid and trains what is recommended; few images make the dataset small."""
    out = tmp_path / "advised.yaml"
    assert main(["advise", str(file), "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    advised = read_config(out)
    layers = [one["layer"] for one in document["probes"]]
    ways = [one["way"] for one in document["times"]]

    assert (document["n"], document["n_classes"], document["size"]) == (80, 2, "small")
    assert document["config"] == out.read_text()
    assert f"path: {relpath(advised.data.path, tmp_path)}\n" in document["config"]
    assert advised.mode == "feature-extraction"
    assert advised.backbones[0].output_layer in (layers if document["kind"] == "different" else [None])
    assert layers[-1] is None
    assert len(set(layers)) == len(layers) >= 3
    assert ways == ["linear head", "fine-tuning, last 3 layers", "fine-tuning, all layers"]
    assert all(one["total_s"] > 0 for one in document["times"])
    assert document["learning_curve"]["points"]
    assert not list(tmp_path.glob("**/run.json"))


def test_the_text_ends_with_the_config(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of four cases has one mark, and the printed config can be read."""
    assert main(["advise", str(file)]) == 0
    text = capsys.readouterr().out
    head, _, config = text.partition("# Recommended by ")
    copy = file.with_name("copy.yaml")
    copy.write_text(f"# {config}")

    assert head.count("→ ") == 1
    assert "Recommended: " in head
    assert read_config(copy).name == "tiny"


def test_backbones_are_compared(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of weights in a folder are compared; one that fits no network is reported, and the rest is used."""
    folder = tmp_path / "weights"
    folder.mkdir()
    backbone = BackboneConfig(name="LeNet5", weights="none")
    build_backbone(backbone, (32, 32, 3), 0).save_weights(folder / "LeNet5_a.weights.h5")
    (folder / "LeNet5_b.weights.h5").write_bytes(b"damaged")
    (folder / "unknown.h5").write_bytes(b"")
    text = file.read_text()
    assert main(["advise", str(file), "--weights", str(folder), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    results = {one["name"]: one for one in document["backbones"]}

    assert "LeNet5_a.weights.h5" in results
    assert "LeNet5_b.weights.h5" not in results
    assert "unknown.h5" not in results
    assert document["problems"]
    assert all(one["ms_per_image"] > 0 and one["mb"] > 0 for one in results.values())
    accuracies = [one["accuracy"] for one in document["backbones"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert file.read_text() == text


def test_a_config_that_trains_more_than_a_head_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The probes need one linear layer, and weights come from a folder that exists."""
    assert main(["advise", str(file), "--weights", str(file.with_name("absent"))]) == 2
    assert "[usage-value-invalid]" in capsys.readouterr().err
    assert main(["advise", str(file), "mode=from-scratch", "training.solver=gradient"]) == 2
    assert "[config-not-exact]" in capsys.readouterr().err
