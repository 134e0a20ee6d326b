"""A run whose head is solved exactly: cold and warm, without Keras, resumed, fine-tuned."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.errors import ConfigError, RunError, TrainingError
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor
from cnncli.networks.classifier import build_classifier, save_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.head import LOGITS
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.finetune import FinetuneSettings, finetune
from cnncli.recipes.predict import predict
from cnncli.recipes.resume import resume
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import read_history
from cnncli.storage.cache_dir import GRAPHS
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.logged import codes_in

CONSOLE = Console(quiet=True)
WARM = """
import sys
from pathlib import Path
from cnncli.config.reader import load_resolved
from cnncli.recipes.train import train
from cnncli.recipes.evaluate import evaluate
from cnncli.terminal.console import Console

run = train(load_resolved(sys.argv[1]), Path(sys.argv[2]), Console(quiet=True))
evaluate(run.folder, Console(quiet=True))
print(*sorted(name for name in ("tensorflow", "keras", "scipy", "sklearn") if name in sys.modules))
"""


pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 4, 4)


@pytest.fixture(scope="module")
def cold(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train the first run, which fills the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        return train(_config(data), tmp_path_factory.mktemp("runs"), CONSOLE)


def _config(data: Path, **changes: Any) -> Config:
    return tiny_config(data, **{"training": {}, **changes})


def _members(path: Path) -> dict[str, Any]:
    """Return the parts of a .keras file without the date, and without the addresses of shared objects."""
    with zipfile.ZipFile(path) as archive:
        parts: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(parts["metadata.json"])
    del metadata["date_saved"]
    return {**parts, "metadata.json": metadata, "config.json": _without_addresses(json.loads(parts["config.json"]))}


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_addresses(one) for name, one in value.items() if name != "shared_object_id"}
    return [_without_addresses(one) for one in value] if isinstance(value, list) else value


def _engine_files(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.engine.iterdir() if path.suffix != ".npz"}


def test_a_warm_run_equals_a_cold_one(data: Path, cold: Run, tmp_path: Path) -> None:
    """With features and template in the cache, model, graphs, metrics and reports are the same."""
    warm = train(_config(data), tmp_path, CONSOLE)

    assert _members(warm.folder.model) == _members(cold.folder.model)
    assert _engine_files(warm.folder).keys() == _engine_files(cold.folder).keys()
    assert {name: one.summary() for name, one in warm.metrics.items()} == {
        name: one.summary() for name, one in cold.metrics.items()
    }
    assert warm.folder.stages.read_text() == cold.folder.stages.read_text()
    assert (cold.features.reused, warm.features.computed) == (0, 0)


@pytest.mark.parametrize(("l2", "expected"), [(0.0, True), (0.01, False)])
def test_a_head_without_an_optimum_is_reported(
    data: Path, cold: Run, tmp_path: Path, l2: float, expected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a penalty, a head that separates its images has no finite optimum, with a warning."""
    with caplog.at_level("WARNING", logger="cnncli"):
        train(_config(data, head={"l2": l2}), tmp_path, CONSOLE, is_trial=True)

    assert ("training-no-optimum" in codes_in(caplog)) == expected


def test_a_warm_run_and_its_evaluation_need_no_keras(data: Path, cold: Run, tmp_path: Path) -> None:
    """A process that trains and evaluates with everything in the cache imports neither TensorFlow nor SciPy."""
    (tmp_path / "config.yaml").write_text(dump_config(_config(data, head={"l2": 0.1})))
    words = [sys.executable, "-c", WARM, str(tmp_path / "config.yaml"), str(tmp_path / "runs")]
    result = subprocess.run(words, check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


@pytest.mark.parametrize(
    "head", [{}, {"l2": 0.25}, {"activation": "sigmoid"}, {"activation": "linear"}], ids=lambda head: str(head)
)
def test_the_saved_model_is_what_keras_would_save(data: Path, cold: Run, head: dict[str, Any], tmp_path: Path) -> None:
    """The file made from a template equals, part by part, the one that Keras writes for the same weights."""
    config = _config(data, head=head, seed=3)
    run = train(config, tmp_path, CONSOLE).folder
    arrays = np.load(run.engine / "tail.npz")
    classifier = build_classifier(config, 2)
    cut_classifier(classifier, 0, "train")
    classifier.model.get_layer(LOGITS).set_weights([arrays["kernel"], arrays["bias"]])
    save_classifier(classifier, tmp_path / "keras.keras")

    assert _members(run.model) == _members(tmp_path / "keras.keras")


def _pixels(run: RunFolder, data: Path) -> NDArray[np.uint8]:
    from PIL import Image

    return np.stack([np.asarray(Image.open(path)) for path in sorted((data / "test").rglob("*.png"))])


def test_bare_keras_gives_the_probabilities_of_the_run(data: Path, cold: Run) -> None:
    """The saved model in Keras's safe mode agrees with the run's own predictions to 1e-5."""
    import keras

    pixels = _pixels(cold.folder, data)
    model = keras.saving.load_model(cold.folder.model)
    predictor = load_predictor(cold.folder.engine, cold.folder.model)

    np.testing.assert_allclose(predictor.probabilities(pixels), model(pixels.astype(np.float32)), atol=1e-5)


def test_the_head_is_scikit_learns(data: Path, cold: Run) -> None:
    """The classes predicted by the run are those of logistic regression on the features of the frozen network."""
    from sklearn.linear_model import LogisticRegression

    from tests.support.scaling import ParetoScaler

    predictor = load_predictor(cold.folder.engine, cold.folder.model)
    images = [np.asarray(image) for image in _pixels(cold.folder, data)]
    train_pixels = np.stack([_read(path) for path in sorted((data / "train").rglob("*.png"))])
    labels = np.array([path.parent.name for path in sorted((data / "train").rglob("*.png"))])
    (features,) = predictor.trunks[0].run([train_pixels])
    scaler = ParetoScaler().fit(features.astype(np.float64))
    l2 = json.loads(cold.folder.stages.read_text())[-1]["solution"]["l2"]
    oracle = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-10, max_iter=10_000)
    oracle.fit(scaler.transform(features), labels)
    (tests,) = predictor.trunks[0].run([np.stack(images)])

    expected = oracle.predict_proba(scaler.transform(tests))
    np.testing.assert_allclose(predictor.probabilities(np.stack(images)), expected, atol=1e-3)


def _read(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(path))


def test_the_history_has_one_row_and_the_report_the_strengths(cold: Run) -> None:
    """The only epoch has no learning rate; stages.json tells how the strength was chosen; the figure shows it."""
    (row,) = read_history(cold.folder.history)
    (report,) = json.loads(cold.folder.stages.read_text())
    tried = report["solution"]["strengths"]

    assert (row.epoch, row.learning_rate) == (1, None)
    assert row.metrics["val_loss"] == pytest.approx(cold.metrics["validation"].loss, abs=1e-5)
    assert report["solution"]["l2"] == min(tried, key=lambda one: one["loss"])["l2"]
    assert cold.folder.curves.stat().st_size > 10_000


def test_a_damaged_template_is_made_again(data: Path, cold: Run, cache: Path, tmp_path: Path) -> None:
    """A flipped bit in a template is noticed, and the classifier is built by Keras again."""
    for template in (cache / GRAPHS).glob("template-*/model.keras"):
        damaged = bytearray(template.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        template.write_bytes(damaged)

    run = train(_config(data), tmp_path, CONSOLE)
    assert _members(run.folder.model) == _members(cold.folder.model)


def test_an_interrupted_run_is_solved_again(
    data: Path, cold: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed before its model is saved resumes, and ends like one that was not."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cnncli.recipes.train.save_solved_model", killed)
        with pytest.raises(KeyboardInterrupt):
            train(_config(data), tmp_path, CONSOLE)
    (run,) = (RunFolder(path) for path in tmp_path.iterdir())
    resume(run, CONSOLE)

    assert _members(run.model) == _members(cold.folder.model)


def test_features_that_do_not_fit_into_memory_are_an_error(
    data: Path, cold: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the solver runs out of memory, the error says what to change."""

    def too_large(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cnncli.training.exact_head.solve_head", too_large)
    with pytest.raises(TrainingError) as caught:
        train(_config(data), tmp_path, CONSOLE)
    assert caught.value.problems[0].code == "training-exact-out-of-memory"


def test_there_are_no_epochs_to_add(cold: Run) -> None:
    """More epochs for a solved head are refused."""
    with pytest.raises(RunError) as caught:
        resume(cold.folder, CONSOLE, epochs=5)
    assert caught.value.problems[0].code == "run-has-no-epochs"


def test_a_solved_run_predicts_evaluates_and_is_fine_tuned(data: Path, cold: Run, tmp_path: Path) -> None:
    """Everything that follows training works as for a head that was trained by gradients."""
    image = next((data / "test").rglob("*.png"))
    (prediction,) = predict(cold.folder, [image])
    tuned = finetune(cold.folder, FinetuneSettings(unfreeze="all", epochs=1), tmp_path, CONSOLE)

    assert isinstance(prediction, Prediction)
    assert evaluate(cold.folder, CONSOLE).metrics.summary() == cold.metrics["test"].summary()
    assert len(read_history(tuned.folder.history)) == 1


@pytest.mark.parametrize("settings", [{"head": {"activation": "sigmoid"}}, {"training": {"loss": "hinge"}}])
def test_other_heads_are_solved(data: Path, cold: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    """A sigmoid with one unit and a support vector machine separate the drawn classes."""
    changes = {**settings, **({"head": {"activation": "linear"}} if "training" in settings else {})}
    run = train(_config(data, **changes), tmp_path, CONSOLE)

    assert run.metrics["validation"].top1 > 0.7


def test_views_are_rows_of_the_problem(data: Path, cold: Run, tmp_path: Path) -> None:
    """With augmentation, all views of an image count, and the result is another one."""
    run = train(_config(data, augmentation={"horizontal_flip": True, "views": 3}), tmp_path, CONSOLE)

    assert run.features.computed == 2 * 16
    assert run.folder.stages.read_text() != cold.folder.stages.read_text()


@pytest.fixture(scope="module")
def mirrored(data: Path, cache: Path, cold: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train with features averaged over mirror images, after a run that has cached those of the images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        return train(_config(data, evaluation={"tta": "flip"}), tmp_path_factory.mktemp("runs"), CONSOLE)


def test_mirror_images_are_averaged_everywhere(data: Path, cold: Run, mirrored: Run) -> None:
    """Only mirrors are computed; probabilities are those of the mean features, in `predict` and in `evaluate`."""
    pixels = _pixels(mirrored.folder, data)
    predictor, plain = (load_predictor(run.folder.engine, run.folder.model) for run in (mirrored, cold))
    both = [predictor.trunks[0].run([np.ascontiguousarray(one)])[0] for one in (pixels, pixels[:, :, ::-1])]

    assert mirrored.features.computed == 2 * (8 + 4 + 4)
    expected = predictor.logits([(both[0] + both[1]) / 2])
    np.testing.assert_allclose(predictor.logits_of_pixels(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(
        predictor.probabilities(pixels), predictor.probabilities(pixels[:, :, ::-1].copy()), atol=1e-6
    )
    assert not np.allclose(plain.probabilities(pixels), plain.probabilities(pixels[:, :, ::-1].copy()), atol=1e-6)
    assert evaluate(mirrored.folder, CONSOLE).metrics.summary() == mirrored.metrics["test"].summary()


def test_gradient_training_uses_the_averaged_features(data: Path, mirrored: Run, tmp_path: Path) -> None:
    """A head trained by gradients reads the cached features of images and mirrors, and predicts with both."""
    config = _config(data, evaluation={"tta": "flip"}, training={"epochs": 1})
    run = train(config, tmp_path, CONSOLE)
    pixels = _pixels(run.folder, data)
    predictor = load_predictor(run.folder.engine, run.folder.model)

    assert run.features.computed == 0
    np.testing.assert_allclose(
        predictor.probabilities(pixels), predictor.probabilities(pixels[:, :, ::-1].copy()), atol=1e-6
    )
    assert evaluate(run.folder, CONSOLE).metrics.summary() == run.metrics["test"].summary()


def test_a_run_with_mirror_images_is_not_fine_tuned(mirrored: Run, tmp_path: Path) -> None:
    """Fine-tuning would train layers below the averaged features, so it is refused by name."""
    with pytest.raises(ConfigError) as caught:
        finetune(mirrored.folder, FinetuneSettings(epochs=1), tmp_path, CONSOLE)
    assert (caught.value.code, caught.value.facts["key"]) == ("config-contradiction-tta", "evaluation.tta")
