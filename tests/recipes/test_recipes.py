"""The recipes, end to end, on tiny images: all files of a run, and consistent metrics."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cnncli
from cnncli.augmentation.perturbations import PERTURBATIONS
from cnncli.dataset.manifest import Manifest
from cnncli.errors import (
    CacheError,
    CnncliError,
    ConfigError,
    DataError,
    ImageError,
    MinimumMissedError,
    RunError,
    WeightsError,
)
from cnncli.images.decode import decode
from cnncli.inference.prediction import Prediction
from cnncli.metrics.classification import wilson_interval
from cnncli.recipes.cache import list_cache
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.finetune import FinetuneSettings, finetune, plan
from cnncli.recipes.predict import predict
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

SCORES = ("balanced_accuracy", "mean_average_precision", "macro_f1", "roc_auc")
SCORES += ("log_loss", "brier_score", "calibration_error")
"""Names of the further results of a classifier of two classes."""
CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run in float32, with the cache that it filled."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        return train(tiny_config(data), folder / "runs", CONSOLE)


@pytest.fixture
def warm(run: Run, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a copy of the finished run, with the cache that it filled."""
    monkeypatch.setenv("CNNCLI_CACHE", str(run.path.parent.parent / "cache"))
    return run.folder


def test_a_run_holds_everything_about_a_training(run: Run) -> None:
    """A run contains config, images, classes, environment, log, history, stage report, curves, model and engine."""
    folder = run.folder
    files = [
        folder.config,
        folder.manifest,
        folder.classes,
        folder.facts,
        folder.environment,
        folder.log,
        folder.history,
        folder.stages,
        folder.metrics,
        folder.curves,
        folder.tensorboard / "train",
        folder.tensorboard / "validation",
        folder.model,
        folder.engine / "trunk.xml",
        folder.engine / "tail.xml",
        folder.engine / "scoring.json",
    ]

    assert [file for file in files if not file.exists()] == []
    assert json.loads(folder.classes.read_text()) == ["dots", "stripes"]
    assert folder.read_facts()["state"] == "finished"


def test_the_summary_has_the_documented_keys(run: Run) -> None:
    """`train --json` prints exactly the documented keys."""
    document = run.to_dict()

    assert set(document) == {"run", "metrics", "seconds", "features"}
    assert set(document["metrics"]) == {"validation", "test"}
    assert set(document["metrics"]["test"]) == {"n", "loss", "top1", "top1_ci95", *SCORES}
    assert document["features"] == {"computed": 48, "reused": 0}
    assert Path(document["run"]).is_absolute()


def test_evaluate_finds_what_training_reported(warm: RunFolder, run: Run) -> None:
    """`evaluate` reproduces the metrics of the training run from cached features, without computing any."""
    for split in ("validation", "test"):
        assert evaluate(warm, CONSOLE, split).metrics == run.metrics[split]


def test_evaluate_keeps_to_the_cap_of_this_machine(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache limit in the environment replaces the one of the run, and the metrics do not change."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path))
    monkeypatch.setenv("CNNCLI_CACHE__MAX_GB", "1e-9")

    assert evaluate(run.folder, CONSOLE).metrics == run.metrics["test"]
    assert list_cache(tmp_path).features == ()


def test_images_that_are_gone_are_evaluated_by_their_cached_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted images count with their features; without these, one message has their number and a remedy."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    images = draw_dataset(tmp_path / "data", 4, 2, 3)
    trained = train(tiny_config(images, training={"epochs": 1}), tmp_path / "runs", CONSOLE)
    for number in range(2):
        (images / "test" / "dots" / f"dots-{number:02}.png").unlink()
    assert evaluate(trained.folder, CONSOLE).metrics == trained.metrics["test"]
    with pytest.raises(DataError) as of_crops:
        evaluate(trained.folder, CONSOLE, crops=5)
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "another"))
    with pytest.raises(DataError) as caught:
        evaluate(trained.folder, CONSOLE)

    assert of_crops.value.codes == ("data-image-changed", "data-image-changed", "data-images-changed")
    assert caught.value.codes == ("data-images-gone",)
    assert (caught.value.facts["n"], caught.value.facts["total"]) == (2, 6)
    assert evaluate(trained.folder, CONSOLE, "validation").metrics.n == 4


def test_evaluate_names_the_images_that_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed images are named although features of the old ones are cached; other splits are ignored."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    images = draw_dataset(tmp_path / "data", 4, 2, 3)
    folder = train(tiny_config(images, training={"epochs": 1}), tmp_path / "runs", CONSOLE).folder
    changed, touched = (images / "test" / "dots" / f"dots-{number:02}.png" for number in (1, 2))
    changed.write_bytes(touched.read_bytes())
    os.utime(touched)
    with pytest.raises(DataError) as caught:
        evaluate(folder, CONSOLE)

    assert caught.value.codes == ("data-image-changed", "data-images-changed")
    assert caught.value.facts["path"] == changed
    assert evaluate(folder, CONSOLE, "validation").metrics.n == 4


def test_every_look_at_the_test_images_is_counted(warm: RunFolder) -> None:
    """Each evaluation is recorded in the run with its time."""
    before = len(warm.evaluations.read_text().splitlines()) if warm.evaluations.exists() else 0
    evaluate(warm, CONSOLE)

    assert len(warm.evaluations.read_text().splitlines()) == before + 1


def test_predict_gives_the_probabilities_of_evaluate(warm: RunFolder, data: Path) -> None:
    """`predict` gives the probabilities of `evaluate` and of the saved model in bare Keras, to 1e-5 in float32."""
    import keras

    images = sorted((data / "test").rglob("*.png"))
    results = list(predict(warm, images, top=2))
    model = keras.saving.load_model(warm.model, safe_mode=True)
    spec = _predictor(warm).spec.pixels
    pixels = np.stack([decode(path, spec) for path in images])
    by_name = [dict(zip(r.labels, r.probabilities, strict=True)) for r in results if isinstance(r, Prediction)]
    ours = [[found["dots"], found["stripes"]] for found in by_name]

    np.testing.assert_allclose(ours, model(pixels.astype(np.float32)), atol=1e-5)
    np.testing.assert_allclose(ours, _predictor(warm).probabilities(pixels), atol=1e-5)


def _predictor(folder: RunFolder) -> Any:
    from cnncli.inference.predictor import load_predictor

    return load_predictor(folder.engine, folder.model)


def test_the_keras_engine_scores_the_same(data: Path, tmp_path: Path, run: Run) -> None:
    """A run with the Keras engine has the same metrics, up to the last digits of float32."""
    other = train(tiny_config(data, engine="keras"), tmp_path, CONSOLE)

    assert not (other.folder.engine / "trunk.xml").exists()
    assert other.metrics["test"].loss == pytest.approx(run.metrics["test"].loss, rel=1e-4)


def test_finetune_names_its_parent_and_starts_from_its_weights(warm: RunFolder, tmp_path: Path) -> None:
    """A fine-tuned run records its parent, starts from its weights, and selects its own best epoch."""
    child = finetune(warm, FinetuneSettings(unfreeze=1, epochs=2), tmp_path, CONSOLE)
    (entry,) = json.loads(child.folder.stages.read_text())
    parent_loss = json.loads(warm.metrics.read_text())["validation"]["loss"]

    assert child.folder.read_facts()["parent"] == str(warm.path)
    assert entry["start_val_loss"] == pytest.approx(parent_loss, abs=1e-4)
    assert entry["trained_layers"] == ["block2_conv", "head_logits"]
    assert entry["learning_rate"] == pytest.approx(1e-4)


def test_a_plan_says_what_would_train_and_does_nothing(warm: RunFolder) -> None:
    """A plan lists the layers, their parameters and the shapes at the cut, and trains nothing."""
    before = sorted(warm.path.parent.iterdir())
    found = plan(warm, FinetuneSettings(unfreeze=1))

    assert found.trained_layers == ("block2_conv", "head_logits")
    assert found.layer_parameters == (4 * 8 * 9 + 8, 18)
    assert found.crossing == (("block1_pool", (15, 15, 4)),)
    assert found.trainable_parameters == 4 * 8 * 9 + 8 + 18
    assert sorted(warm.path.parent.iterdir()) == before


def test_evaluating_another_folder_matches_classes_by_name(warm: RunFolder, tmp_path: Path) -> None:
    """A folder that lacks a class is an error that names the class, unless missing classes are allowed."""
    other = draw_dataset(tmp_path / "other", train=0, validation=0, test=3)
    assert evaluate(warm, CONSOLE, data=other).metrics.n == 6
    for image in (other / "test" / "dots").iterdir():
        image.unlink()
    (other / "test" / "dots").rmdir()
    with pytest.raises(DataError, match="dots"):
        evaluate(warm, CONSOLE, data=other)
    metrics = evaluate(warm, CONSOLE, data=other, allow_missing=True).metrics

    assert metrics.n == 3
    assert metrics.classes == ("dots", "stripes")
    assert metrics.confusion_matrix[0] == (0, 0)


def test_another_folder_is_looked_at_as_the_run_looked_at_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's pixel limit and its setting for unreadable images apply; images left out are reported."""
    settings = {"path": data, "image_size": 32, "max_pixels": 40 * 40}
    runs = {
        how: train(
            tiny_config(data, data={**settings, "on_bad_image": how}, training={"epochs": 1}), tmp_path / how, CONSOLE
        )
        for how in ("error", "skip")
    }
    other = draw_dataset(tmp_path / "other", train=0, validation=0, test=3)
    Image.new("RGB", (41, 41)).save(other / "test" / "dots" / "large.png")
    screen = StringIO()
    monkeypatch.chdir(tmp_path)
    found = evaluate(runs["skip"].folder, Console(screen, live=False), data=Path("other"))

    with pytest.raises(DataError, match=r"large\.png"):
        evaluate(runs["error"].folder, CONSOLE, data=other)
    assert found.metrics.n == 6
    assert found.to_dict()["data"] == str(other)
    assert "checking images: 7 images" in screen.getvalue()
    assert "unreadable images left out: 1" in screen.getvalue()
    assert "evaluate    test 6 · openvino float32" in screen.getvalue()


def test_a_split_of_another_folder_is_refused(warm: RunFolder, data: Path) -> None:
    """`split` and `data` cannot be used together from Python either."""
    with pytest.raises(ConfigError) as caught:
        cnncli.evaluate(warm, split="validation", data=data)

    assert caught.value.code == "usage-options-conflict"


def test_a_minimum_is_a_gate(warm: RunFolder) -> None:
    """An accuracy equal to the minimum passes, a lower one raises."""
    found = evaluate(warm, CONSOLE)
    found.require(found.metrics.top1)
    with pytest.raises(MinimumMissedError) as caught:
        found.require(1.01)

    assert caught.value.code == "metrics-minimum-missed"
    assert caught.value.facts == {"split": "test", "received": found.metrics.top1, "expected": 1.01}


def test_one_bad_image_stops_no_other(warm: RunFolder, data: Path, tmp_path: Path) -> None:
    """An unreadable image is returned as an error in its position, and the others are predicted."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    good = data / "test" / "dots" / "dots-00.png"
    first, second, third = predict(warm, [good, bad, good])

    assert isinstance(first, Prediction)
    assert isinstance(second, ImageError)
    assert first == third


def test_folders_and_patterns_are_expanded(warm: RunFolder, data: Path) -> None:
    """The order is stable, and a pattern or folder without images is an error that names it."""
    by_folder = [result.path for result in predict(warm, [data / "test"])]
    by_pattern = [result.path for result in predict(warm, [f"{data}/test/*/*.png"])]

    assert by_folder == by_pattern == [str(path) for path in sorted((data / "test").rglob("*.png"))]
    assert [str(result) for result in predict(warm, ["nothing-*.png"])] == ["nothing-*.png: matches no file"]


def test_a_pattern_may_match_folders(warm: RunFolder, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that matches a folder selects its images; `**` matches the files inside, so each is selected once."""
    monkeypatch.chdir(data)
    images = [str(path.relative_to(data)) for path in sorted((data / "test").rglob("*.png"))]

    for pattern in ("tes[t]/*", "tes[t]", "tes[t]/**"):
        assert [result.path for result in predict(warm, [pattern])] == images


@pytest.mark.parametrize(("paths", "top", "what"), [([""], 5, "empty"), (["a.png"], 0, "top: received 0")])
def test_what_predict_cannot_mean_is_refused_at_once(warm: RunFolder, paths: list[str], top: int, what: str) -> None:
    """An empty path is not the current folder, and at least one class must be requested."""
    with pytest.raises(ConfigError, match=what):
        predict(warm, paths, top)
    with pytest.raises(ConfigError, match=what):
        cnncli.predict(paths, run=warm, top=top)


def test_a_run_that_was_moved_still_predicts(warm: RunFolder, data: Path, tmp_path: Path) -> None:
    """A moved run predicts, because it contains no absolute path that prediction needs."""
    import shutil

    image = data / "test" / "dots" / "dots-00.png"
    elsewhere = RunFolder(Path(shutil.copytree(warm.path, tmp_path / "moved")))

    assert list(predict(elsewhere, [image])) == list(predict(warm, [image]))


def test_an_error_before_training_writes_no_run(data: Path, tmp_path: Path) -> None:
    """Unreadable weights are one error, and not even the folder of the runs is created."""
    weights = tmp_path / "broken.weights.h5"
    weights.write_bytes(b"not HDF5")
    backbone = {"name": "ConvNet", "weights": str(weights), "options": {"filters": [4, 8]}}
    with pytest.raises(WeightsError):
        train(tiny_config(data, backbone=backbone), tmp_path / "runs", CONSOLE)

    assert not (tmp_path / "runs").exists()


def test_a_cache_that_is_a_file_stops_every_verb_at_once(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache path that is a file is an error before images are read, and no run is left behind."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "file"))
    runs, screen = tmp_path / "runs", StringIO()
    console = Console(screen, live=False)
    verbs: list[Callable[[], object]] = [
        lambda: train(tiny_config(data), runs, console),
        lambda: finetune(run.folder, FinetuneSettings(unfreeze=1), runs, console),
        lambda: evaluate(run.folder, console),
    ]
    for verb in verbs:
        with pytest.raises(CacheError) as caught:
            verb()
        assert caught.value.code == "cache-folder-unusable"

    assert screen.getvalue() == ""
    assert not runs.exists()


def test_a_failed_training_leaves_a_run_that_says_so(data: Path, tmp_path: Path) -> None:
    """run.json records the reason, and the run can be neither evaluated nor fine-tuned."""
    training = {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-60}}
    with pytest.raises(CnncliError):
        train(tiny_config(data, training=training), tmp_path, CONSOLE)
    (folder,) = [RunFolder(path) for path in tmp_path.iterdir()]

    assert folder.read_facts()["state"] == "failed"
    with pytest.raises(RunError, match="not finished"):
        evaluate(folder, CONSOLE)


@pytest.mark.parametrize(
    ("color", "activation", "classes"),
    [
        ("grayscale", "softmax", 2),
        pytest.param("rgb", "sigmoid", 2, marks=pytest.mark.slow),
        pytest.param("rgb", "sigmoid", 3, marks=pytest.mark.slow),
        ("rgb", "linear", 6),
    ],
)
def test_colors_heads_and_numbers_of_classes(tmp_path: Path, color: str, activation: str, classes: int) -> None:
    """Training, evaluation and prediction agree for each combination; more than five classes have a top-5 accuracy."""
    names = tuple(["stripes", "dots", "c", "d", "e", "f"][:classes])
    data = draw_dataset(tmp_path / "data", 4, 2, 2, classes=names)
    config = tiny_config(
        data,
        data={"path": data, "image_size": 32, "color": color},
        head={"activation": activation},
        training={"epochs": 1},
    )
    run = train(config, tmp_path / "runs", CONSOLE)
    found = evaluate(run.folder, CONSOLE).metrics
    results = [result for result in predict(run.folder, [data / "test"], top=classes) if isinstance(result, Prediction)]
    right = sum(Path(result.path).parent.name == result.labels[0] for result in results)

    assert found.top1 == right / found.n
    assert (found.top5 is not None) == (classes > 5)
    assert json.loads(run.folder.stages.read_text())[0]["end_val_loss"] == pytest.approx(
        run.metrics["validation"].loss, rel=1e-5
    )


def test_the_api_takes_paths_names_and_runs(data: Path, tmp_path: Path) -> None:
    """The functions of `import cnncli` take paths, names and runs, with defaults for notebooks."""
    settings: dict[str, object] = {
        "data": {"path": str(data), "image_size": 32},
        "mode": "from-scratch",
        "backbone": {"name": "ConvNet", "options": {"filters": [4]}},
    }
    run = cnncli.train(settings, {"training.epochs": 1}, runs_dir=tmp_path)
    image = data / "test" / "dots" / "dots-00.png"

    assert cnncli.evaluate(run).metrics == run.metrics["test"]
    assert cnncli.predict(image, run=run)[0] == cnncli.predict([image], run=str(run.path))[0]
    (alone,) = cnncli.predict(image, run=run)
    among = next(one for one in cnncli.predict(data / "test", run=run) if one.path == str(image))
    assert among.labels == alone.labels
    assert among.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    assert cnncli.load(run).model.input_shape == (None, 32, 32, 3)
    assert open_run(None, tmp_path).path == run.path


def test_evaluating_on_training_images_causes_a_warning(warm: RunFolder, data: Path) -> None:
    """Training images are recognized by their digests, wherever their files are."""
    screen = io.StringIO()
    evaluate(warm, Console(screen, quiet=True), data=_flat_copy(data / "train"))

    (line,) = screen.getvalue().splitlines()
    assert "24 of these 24" in line
    assert line.endswith("[metrics-known-images]")


def _flat_copy(classes: Path) -> Path:
    return Path(shutil.copytree(classes, classes.parent.parent / "copy", dirs_exist_ok=True))


@pytest.mark.parametrize("names", [("shift", "noise")])
def test_perturbed_images_are_evaluated_over_the_strength(warm: RunFolder, run: Run, names: tuple[str, ...]) -> None:
    """Rows 202 and 203. Strength 0 is the plain evaluation; others are those of images perturbed before prediction."""
    found = evaluate(warm, Console(quiet=True, stream=StringIO()), perturb=names)
    plain = evaluate(warm, Console(quiet=True, stream=StringIO()))
    assert found.metrics == plain.metrics
    assert [one.perturbation for one in found.robustness] == list(names)
    assert "robustness" not in plain.to_dict()
    predictor, manifest = _predictor(warm), Manifest.from_csv(warm.manifest)
    rows = manifest.split("test")
    labels = manifest.labels(rows)
    images = np.stack([decode(row.path, predictor.spec.pixels) for row in rows])
    unchanged = predictor.probabilities(images).argmax(axis=1)
    for one in found.robustness:
        start = next(point for point in one.points if point.strength == 0)
        assert (start.accuracy, start.ci95, start.unchanged) == (plain.metrics.top1, plain.metrics.top1_ci95, 1.0)
        last = one.points[-1]
        change = PERTURBATIONS[one.perturbation]
        moved = np.stack([change(p, last.strength, row.digest) for p, row in zip(images, rows, strict=True)])
        probabilities = predictor.probabilities(moved)
        assert last.accuracy == np.mean(probabilities.argmax(axis=1) == labels)
        assert last.ci95 == wilson_interval(round(last.accuracy * len(rows)), len(rows))
        assert last.unchanged == np.mean(probabilities.argmax(axis=1) == unchanged)
        assert last.probability == pytest.approx(probabilities[np.arange(len(rows)), labels].mean(), abs=1e-4)
        with Image.open(warm.path / "figures" / f"robustness-{one.perturbation}.png") as figure:
            assert figure.format == "PNG"
