"""Several frozen backbones whose features are concatenated: cached per network, solved, trained, resumed, predicted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.reader import config_from_mapping, load_resolved
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.keras import KerasEngine
from cnncli.engines.linear import as_vectors
from cnncli.errors import EXIT_USER, ConfigError
from cnncli.evaluation import cross_validation
from cnncli.features.extract import Counts, FeatureSet, extract
from cnncli.features.listing import list_keys
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import extraction_of
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor
from cnncli.networks.backbone import build_backbone
from cnncli.networks.classifier import build_classifier, load_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.finetune import FinetuneSettings, finetune
from cnncli.recipes.predict import predict
from cnncli.recipes.resume import resume
from cnncli.recipes.summary import summarize_config
from cnncli.recipes.train import Run, train
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.storage.cache_dir import FEATURES
from cnncli.terminal.console import Console
from cnncli.training import exact_head
from cnncli.training.inputs import CachedFeatures
from cnncli.training.solvers.problem import HeadProblem
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.interrupted import dying_after

CONSOLE = Console(quiet=True)
N_IMAGES = 2 * (8 + 4 + 4)
FIRST = {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}, "preprocessing": "scale"}
WARM = """
import sys
from pathlib import Path
from cnncli.config.reader import load_resolved
from cnncli.recipes.train import train
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import predict
from cnncli.terminal.console import Console

run = train(load_resolved(sys.argv[1]), Path(sys.argv[2]), Console(quiet=True))
evaluate(run.folder, Console(quiet=True))
predict(run.folder, [Path(sys.argv[3])])
print(*sorted(name for name in ("tensorflow", "keras", "scipy", "sklearn") if name in sys.modules))
"""


pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 4, 4)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the same network as `FIRST` with other weights, from a file, and other preprocessing."""
    path = tmp_path_factory.mktemp("weights") / "second.weights.h5"
    build_backbone(BackboneConfig.model_validate(FIRST), (32, 32, 3), seed=5).save_weights(path)
    return {**FIRST, "weights": str(path), "preprocessing": "torch"}


@pytest.fixture(scope="module")
def runs(
    data: Path, second: dict[str, Any], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run, Run]:
    """Train a run with each network, and then one with both."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        single, other, both = (
            train(tiny_config(data, training={}, backbone=backbone), folder, CONSOLE)
            for backbone in (FIRST, second, [FIRST, second])
        )
    return single, other, both


@pytest.fixture
def fused(runs: tuple[Run, Run, Run]) -> Run:
    """Return the run with both networks."""
    return runs[2]


def _config(data: Path, second: dict[str, Any], **changes: Any) -> Config:
    return tiny_config(data, **{"training": {}, "backbone": [FIRST, second], **changes})


def _pixels(data: Path) -> NDArray[np.uint8]:
    from PIL import Image

    return np.stack([np.asarray(Image.open(path)) for path in sorted((data / "test").rglob("*.png"))])


def test_features_of_runs_with_one_network_are_used(runs: tuple[Run, Run, Run]) -> None:
    """A run with two networks computes nothing that runs with one of them have cached."""
    assert [run.features.computed for run in runs[:2]] == [N_IMAGES, N_IMAGES]
    assert runs[2].features == Counts(0, 2 * N_IMAGES)


def test_runs_with_one_network_use_the_features_of_both(
    data: Path, second: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features that a run with two networks has cached are used by a run with one, and are listed by their network."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    fused = train(_config(data, second), tmp_path / "runs", CONSOLE)
    single = train(tiny_config(data, training={}, backbone=second), tmp_path / "runs", CONSOLE)

    assert (fused.features.computed, single.features) == (2 * N_IMAGES, Counts(0, N_IMAGES))
    keys = list_keys(tmp_path / "cache" / FEATURES)
    assert {(key.network, key.cut) for key in keys} == {("ConvNet", "head_avg_pool")}


def test_features_are_those_of_each_network_concatenated(runs: tuple[Run, Run, Run], data: Path, cache: Path) -> None:
    """Cached and computed features are the two arrays of the single runs, whose scores are those of their sum."""
    pixels = _pixels(data)
    one, two, both = (load_predictor(run.folder.engine, run.folder.model) for run in runs)
    expected = [trunk.run([pixels])[0] for trunk in (*one.trunks, *two.trunks)]
    rows = list(Manifest.from_csv(runs[2].folder.manifest).split("test"))
    with FeatureStore(cache / FEATURES) as store:
        (view,), counts = extract(FeatureSet(extraction_of(both), rows), store, CONSOLE)
        cached = view.rows(np.arange(len(rows)))

    assert counts.computed == 0
    by_path = sorted(range(len(rows)), key=lambda number: rows[number].path)
    np.testing.assert_array_equal(as_vectors(cached)[by_path], np.concatenate(expected, axis=1))
    source = CachedFeatures([row.digest for row in rows], np.zeros(len(rows)), 0, (view,))
    assert source.boundaries == (expected[0].shape[1],)
    arrays = np.load(runs[2].folder.engine / "tail.npz")
    logits = np.concatenate(expected, axis=1) @ arrays["kernel"] + arrays["bias"]
    np.testing.assert_allclose(both.logits_of_pixels(pixels), logits, atol=1e-5)


def test_the_solvers_scale_each_network_by_itself(
    data: Path, second: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and cross-validation know where the features of the second and the third network begin."""
    problems: list[HeadProblem] = []
    for module, name in ((exact_head, "solve_head"), (cross_validation, "solve_folds")):
        monkeypatch.setattr(module, name, partial(_recording, problems, getattr(module, name)))
    wide = {**FIRST, "options": {"filters": [4, 6]}}
    settings = {"path": data, "image_size": 32, "folds": 3}
    train(tiny_config(data, training={}, backbone=[FIRST, wide, second], data=settings), tmp_path, CONSOLE)

    assert [one.boundaries for one in problems] == [(8, 14), (8, 14)]


def _recording(problems: list[HeadProblem], solve: Callable[[HeadProblem], Any], problem: HeadProblem) -> Any:
    problems.append(problem)
    return solve(problem)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": {"pooling": "flatten"}},
        {"head": {"layers": [{"dense": 5}, {"dropout": 0.2}], "pooling": "max"}, "training": {"epochs": 2}},
        {"engine": "keras", "training": {"epochs": 1}},
        {"engine": "keras"},
    ],
    ids=["exact", "flatten", "gradient", "keras-gradient", "keras-exact"],
)
def test_bare_keras_gives_the_probabilities_of_the_run(
    data: Path, second: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    """`model.keras`, loaded in safe mode, holds all networks; `predict` and `evaluate` agree with it to 1e-5."""
    import keras

    run = train(_config(data, second, **changes), tmp_path, CONSOLE)
    paths = sorted((data / "test").rglob("*.png"))
    scores = np.asarray(keras.saving.load_model(run.folder.model)(_pixels(data).astype(np.float32)))
    predictor = load_predictor(run.folder.engine, run.folder.model)
    predicted = [one for one in predict(run.folder, paths, top=2) if isinstance(one, Prediction)]
    found = [dict(zip(one.labels, one.probabilities, strict=True)) for one in predicted]

    np.testing.assert_allclose(predictor.probabilities(_pixels(data)), scores, atol=1e-5)
    np.testing.assert_allclose([[one[name] for name in predictor.spec.classes] for one in found], scores, atol=1e-5)
    assert evaluate(run.folder, CONSOLE).metrics.summary() == run.metrics["test"].summary()


def test_a_warm_run_needs_no_keras(data: Path, second: dict[str, Any], fused: Run, tmp_path: Path) -> None:
    """With everything in the cache, training, evaluation and prediction import neither TensorFlow nor SciPy."""
    (tmp_path / "config.yaml").write_text(dump_config(_config(data, second, head={"l2": 0.1})))
    image = next((data / "test").rglob("*.png"))
    words = [sys.executable, "-c", WARM, str(tmp_path / "config.yaml"), str(tmp_path / "runs"), str(image)]
    result = subprocess.run(words, check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_mirror_images_are_averaged_in_each_network(
    data: Path, second: dict[str, Any], fused: Run, tmp_path: Path
) -> None:
    """With views at test time, only the mirror images are computed, and a mirrored image gets the same scores."""
    run = train(_config(data, second, evaluation={"tta": "flip"}), tmp_path, CONSOLE)
    predictor, pixels = load_predictor(run.folder.engine, run.folder.model), _pixels(data)

    assert run.features == Counts(2 * N_IMAGES, 2 * N_IMAGES)
    np.testing.assert_allclose(
        predictor.probabilities(pixels), predictor.probabilities(pixels[:, :, ::-1].copy()), atol=1e-6
    )


@pytest.mark.parametrize("cache_gb", [1.0, 1e-9], ids=["cached", "streamed"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    data: Path, second: dict[str, Any], cache_gb: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head with a dense layer, trained by gradients, resumes to the same weights, also without cached features."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    changes = {"augmentation": {"horizontal_flip": True, "views": 2}, "cache": {"max_gb": cache_gb}}
    config = _config(data, second, head={"layers": [{"dense": 4}]}, training={"epochs": 3}, **changes)
    whole = train(config, tmp_path / "whole", CONSOLE)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", dying_after(2, Checkpoints.save))
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "stopped", CONSOLE)
    (stopped,) = (RunFolder(path) for path in (tmp_path / "stopped").iterdir())
    resume(stopped, CONSOLE)

    first, second_model = (load_classifier(run.model, pretrained=True).model for run in (whole.folder, stopped))
    for one, other in zip(first.get_weights(), second_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert stopped.read_facts()["metrics"] == whole.folder.read_facts()["metrics"]


def test_a_run_shows_all_of_its_networks(data: Path, second: dict[str, Any], fused: Run) -> None:
    """run.json, the record of the stage and the summary of the config name each network, and the name of a run too."""
    facts = fused.folder.read_facts()
    (stage,) = json.loads(fused.folder.stages.read_text())
    names = [layer.name for layer in summarize_config(_config(data, second)).layers]

    assert facts["backbone"] == "ConvNet + ConvNet"
    assert "convnet-convnet-feature-extraction" in fused.path.name
    assert [name for name, _ in stage["crossing"]] == ["backbone_0_head_avg_pool", "backbone_1_head_avg_pool"]
    assert {name[:11] for name in names} >= {"backbone_0_", "backbone_1_"}
    assert len(set(names)) == len(names)


def test_a_run_with_several_networks_is_not_fine_tuned(fused: Run, tmp_path: Path) -> None:
    """Its backbones stay frozen, so `finetune` refuses it by name, with the exit code of a user's mistake."""
    with pytest.raises(ConfigError) as caught:
        finetune(fused.folder, FinetuneSettings(unfreeze=2), tmp_path, CONSOLE)

    assert (caught.value.code, caught.value.facts["key"]) == ("config-contradiction-fusion", "backbone")
    assert caught.value.exit_code == EXIT_USER
    assert fused.layers == 0


def test_a_list_of_one_is_the_single_network(data: Path) -> None:
    """A list of one backbone gives an equal config, and the config of a run is read as it was."""
    single, listed = (tiny_config(data, backbone=backbone) for backbone in (FIRST, [FIRST]))

    assert listed == single
    assert dump_config(listed) == dump_config(single)


def test_a_resolved_config_of_several_networks_is_read_again(data: Path, second: dict[str, Any], fused: Run) -> None:
    """The config in the run directory gives the same networks."""
    assert load_resolved(fused.folder.config).backbones == _config(data, second).backbones


def test_networks_of_a_list_are_overridden_by_number(data: Path, second: dict[str, Any]) -> None:
    """`backbone.N.KEY` changes one network, from the command line and from the environment."""
    settings = {"data": {"path": str(data)}, "backbone": [FIRST, {"name": "VGG16"}]}
    variables = {"CNNCLI_BACKBONE__0__PREPROCESSING": "torch"}
    config = config_from_mapping(settings, [f"backbone.1.weights={second['weights']}"], environment=variables)

    assert [one.preprocessing for one in config.backbones] == ["torch", None]
    assert [one.weights for one in config.backbones] == ["none", second["weights"]]


def test_a_saved_model_of_several_networks_is_a_backbone(data: Path, fused: Run, tmp_path: Path) -> None:
    """`backbone.name: model.keras` of such a run is one backbone, which can be fine-tuned."""
    settings = {
        "data": {"path": str(data), "image_size": 32},
        "backbone": {"name": str(fused.folder.model)},
        "precision": "float32",
    }
    config = config_from_mapping(settings, environment={})
    cut = cut_classifier(build_classifier(config, 2), 0)
    images = _pixels(data).astype(np.float32)

    assert [name for name, _ in cut.crossing] == ["concatenate"]
    theirs = cut_classifier(load_classifier(fused.folder.model, pretrained=True), 0)
    expected = np.concatenate([KerasEngine(trunk, "float32").run([images])[0] for trunk in theirs.trunks], axis=1)
    np.testing.assert_allclose(KerasEngine(cut.trunks[0], "float32").run([images])[0], expected, atol=1e-5)
    assert train(config, tmp_path, CONSOLE).layers == 4
