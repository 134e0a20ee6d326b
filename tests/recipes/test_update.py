"""`cnncli update`: classes and images are added on cached features, without the old image files."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.cli import main
from cnncli.dataset.manifest import Manifest
from cnncli.errors import ConfigError, DataError
from cnncli.evaluation.calibration import Calibration
from cnncli.inference.predictor import load_predictor
from cnncli.recipes.calibrate import calibrate
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.report import report
from cnncli.recipes.resume import resume
from cnncli.recipes.train import Run, train
from cnncli.recipes.update import update
from cnncli.runs.folder import RunFolder
from cnncli.terminal.console import Console
from tests.support.drawing import CLASSES, draw_dataset, draw_image, tiny_config

CONSOLE = Console(quiet=True)
N_TRAIN, N_VALIDATION, N_TEST = 20, 8, 16

pytestmark = pytest.mark.usefixtures("shared_cache")


def _draw_gradients(folder: Path, n: int, seed: int = 100) -> Path:
    """Draw n images of a third class: a bright corner on a dark ground, with noise."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[0:32, 0:32] / 31
    for number in range(n):
        rng = np.random.default_rng(seed + number)
        light = rng.uniform(120, 250, 3) * (x * y)[..., None] + rng.normal(0, 12, (32, 32, 3))
        Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def parent(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a run of two classes, and delete its images."""
    data = draw_dataset(tmp_path_factory.mktemp("old") / "data", N_TRAIN, N_VALIDATION, N_TEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        run = train(tiny_config(data, name="two", training={}), tmp_path_factory.mktemp("runs"), CONSOLE)
    shutil.rmtree(data)
    return run


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 40 images of a third class, without splits."""
    folder = tmp_path_factory.mktemp("new")
    _draw_gradients(folder / "gradients", 40)
    return folder


def test_a_class_is_added_without_the_old_images(parent: Run, gradients: Path, tmp_path: Path) -> None:
    """The new run knows three classes, and the accuracy of the old ones stays within its interval."""
    found = update(parent.folder, gradients, tmp_path, CONSOLE)
    manifest = Manifest.from_csv(found.run.folder.manifest)
    *old, new = found.classes

    assert manifest.classes == ("dots", "gradients", "stripes")
    assert [one.name for one in found.classes] == ["dots", "stripes", "gradients"]
    for one in old:
        assert one.n == N_TEST
        assert one.before_ci95 is not None
        assert one.after is not None
        assert one.before_ci95[0] <= one.after <= one.before_ci95[1]
        assert (one.n_train, one.n_train_before) == (N_TRAIN, N_TRAIN)
    assert (new.before, new.n_train_before) == (None, 0)
    assert new.after is not None
    assert new.after > 0.7
    assert found.test is not None
    assert found.test.n == 2 * N_TEST
    assert found.run.folder.read_facts()["parent"] == str(parent.path)
    assert found.run.layers == 0, "fine-tuning, which needs the old images, would be suggested"


def test_the_result_is_that_of_training_on_all_images(parent: Run, tmp_path: Path) -> None:
    """The head equals the one that `train` solves on old and new images together."""
    new = tmp_path / "new"
    for split, n, seed in (("train", 12, 300), ("validation", 4, 400), ("test", 4, 500)):
        _draw_gradients(new / split / "gradients", n, seed)
    every = draw_dataset(tmp_path / "every", N_TRAIN, N_VALIDATION, N_TEST)
    shutil.copytree(new, every, dirs_exist_ok=True)
    updated = update(parent.folder, new, tmp_path / "runs", CONSOLE).run.folder
    together = train(tiny_config(every, training={}), tmp_path / "runs", CONSOLE).folder

    one, other = (np.load(run.engine / "tail.npz") for run in (updated, together))
    np.testing.assert_array_equal(one["kernel"], other["kernel"])
    np.testing.assert_array_equal(one["bias"], other["bias"])


def test_an_updated_run_predicts_and_is_updated_again(parent: Run, gradients: Path, tmp_path: Path) -> None:
    """The model is complete: it answers in plain Keras like the engine, and is the parent of further updates."""
    import keras

    first = update(parent.folder, gradients, tmp_path / "runs", CONSOLE).run.folder
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(gradients.rglob("*.png"))[:4]])
    model = keras.saving.load_model(first.model)
    predictor = load_predictor(first.engine, first.model)
    np.testing.assert_allclose(predictor.probabilities(pixels), model(pixels.astype(np.float32)), atol=1e-5)

    _draw_gradients(tmp_path / "more" / "gradients", 30, seed=700)
    second = update(first, tmp_path / "more", tmp_path / "runs", CONSOLE)
    assert [one.name for one in second.classes] == ["dots", "gradients", "stripes"]
    assert second.run.folder.read_facts()["name"] == "two-updated"
    (gained,) = (one for one in second.classes if one.name == "gradients")
    assert gained.n_train > gained.n_train_before > 0
    assert gained.before is not None


def test_an_updated_run_is_evaluated_and_reported_without_the_old_images(
    parent: Run, gradients: Path, tmp_path: Path
) -> None:
    """Every split has the metrics of the training, from cached features, and the report is complete."""
    run = update(parent.folder, gradients, tmp_path, CONSOLE).run
    report(run.folder, CONSOLE, explain=False)

    assert {split: evaluate(run.folder, CONSOLE, split).metrics for split in run.metrics} == run.metrics
    assert evaluate(run.folder, CONSOLE, "train").metrics.n == len(
        Manifest.from_csv(run.folder.manifest).split("train")
    )
    assert "finds labels that are probably wrong" not in run.folder.report.read_text()  # they cannot be looked at


def test_the_coverage_of_a_calibration_is_kept(
    parent: Run, gradients: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The updated run answers the fraction that was chosen for its parent; confidences of another head are not kept."""
    folder = RunFolder(Path(shutil.copytree(parent.path, tmp_path / parent.path.name)))
    calibrate(folder, coverage=0.5, costs={load_predictor(folder.engine, folder.model).spec.classes[0]: 5})
    updated = update(folder, gradients, tmp_path / "runs", CONSOLE).run.folder
    calibration = Calibration.load(updated.engine, 3)

    assert calibration is not None
    assert calibration.coverage == 0.5
    assert not calibration.min_confidences
    assert "data-update-calibration" in [getattr(record.msg, "code", "") for record in caplog.records]


def test_known_images_keep_their_split(parent: Run, gradients: Path, tmp_path: Path) -> None:
    """Images of the run that are among the new ones are not moved, so that no test image is trained on."""
    old = draw_dataset(tmp_path / "old", N_TRAIN, N_VALIDATION, N_TEST)
    new = tmp_path / "new"
    shutil.copytree(gradients, new)
    shutil.copytree(old / "test" / "dots", new / "dots")
    found = update(parent.folder, new, tmp_path / "runs", CONSOLE)
    splits = {row.digest: row.split for row in Manifest.from_csv(parent.folder.manifest).rows}
    after = {row.digest: row.split for row in Manifest.from_csv(found.run.folder.manifest).rows}

    assert splits.items() <= after.items()
    assert len(after) == len(splits) + 40


def _draw_patients(root: Path, patients: range, first_seed: int, splits: tuple[str, ...] = ("",)) -> Path:
    """Draw two images of each patient in each class; with several splits, patients are in them in turn."""
    for place, patient in enumerate(patients):
        for label in CLASSES:
            folder = root / splits[place % len(splits)] / label
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(2):
                seed = first_seed + 4 * patient + 2 * CLASSES.index(label) + number
                Image.fromarray(draw_image(label, seed)).save(folder / f"patient{patient:02}-{seed}.png")
    return root


@pytest.fixture(scope="module")
def patients(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Train a run on twelve patients without split folders, and delete its images."""
    data = _draw_patients(tmp_path_factory.mktemp("patients") / "data", range(12), 1000)
    settings = {"path": data, "image_size": 32, "groups": {"regex": "patient[0-9]+"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        config = tiny_config(data, data=settings, training={})
        run = train(config, tmp_path_factory.mktemp("runs"), CONSOLE).folder
    shutil.rmtree(data)
    return run


def _splits_of_groups(run: RunFolder) -> dict[str, set[str]]:
    found = defaultdict(set)
    for row in Manifest.from_csv(run.manifest).rows:
        found[row.group].add(row.split)
    return found


def test_groups_of_the_run_stay_in_their_split(patients: RunFolder, tmp_path: Path) -> None:
    """New images of known patients are in the split of these, so that no patient is on both sides of a split."""
    new = _draw_patients(tmp_path / "new", range(6, 18), 2000)
    before = _splits_of_groups(patients)
    after = _splits_of_groups(update(patients, new, tmp_path / "runs", CONSOLE).run.folder)

    assert len(after) == 18
    assert all(len(splits) == 1 for splits in after.values())
    assert before.items() <= after.items()


def test_one_more_image_of_a_group_is_enough(patients: RunFolder, tmp_path: Path) -> None:
    """If all new images belong to groups of the run, nothing is drawn, and no class is too small."""
    new = _draw_patients(tmp_path / "new", range(1), 2000)
    after = update(patients, new, tmp_path / "runs", CONSOLE).run.folder

    assert _splits_of_groups(after) == _splits_of_groups(patients)


def test_split_folders_that_divide_a_group_of_the_run_are_refused(patients: RunFolder, tmp_path: Path) -> None:
    """Split folders that put known patients into another split are an error, and no run is created."""
    new = _draw_patients(tmp_path / "new", range(12), 2000, ("train", "validation", "test"))
    known = {group: split for group, (split,) in _splits_of_groups(patients).items()}
    divided = [group for n, group in enumerate(sorted(known)) if known[group] != ("train", "validation", "test")[n % 3]]

    with pytest.raises(DataError) as caught:
        update(patients, new, tmp_path / "runs", CONSOLE)
    assert [one.code for one in caught.value.problems] == ["data-update-groups-divided"]
    assert caught.value.facts["n"] == len(divided) > 0
    assert caught.value.facts["group"] in divided
    assert not (tmp_path / "runs").exists()


def test_copies_of_images_of_the_run_stay_in_their_split(tmp_path: Path) -> None:
    """Darker copies of old images are in the split of these, although the old files were deleted."""
    data, rng = tmp_path / "data", np.random.default_rng(0)
    for number in range(36):
        blocks = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        split, label = ("train", "train", "validation", "test")[number % 4], CLASSES[number % 3 == 0]
        for folder, pixels in ((data / split, blocks), (tmp_path / "new", blocks * 0.95)):
            (folder / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{split}-{number}.png")
    time.sleep(0.1)  # files that changed a moment ago are not remembered
    run = train(tiny_config(data, training={}), tmp_path / "runs", CONSOLE).folder
    shutil.rmtree(data)
    after = update(run, tmp_path / "new", tmp_path / "runs", CONSOLE).run.folder
    copies = [row for row in Manifest.from_csv(after.manifest).rows if "new" in row.path.parts]

    assert len(copies) == 36
    assert all(row.path.name.startswith(row.split) for row in copies)


def test_images_with_another_label_are_refused(parent: Run, tmp_path: Path) -> None:
    """An image that the run knows under another label is named with both."""
    old = draw_dataset(tmp_path / "old", N_TRAIN, N_VALIDATION, N_TEST)
    shutil.copytree(old / "train" / "dots", tmp_path / "new" / "spots")

    with pytest.raises(DataError) as caught:
        update(parent.folder, tmp_path / "new", tmp_path / "runs", CONSOLE)
    assert caught.value.problems[0].code == "data-update-other-label"
    assert caught.value.problems[0].facts["expected"] == "dots"
    assert caught.value.problems[-1].facts["n"] == N_TRAIN
    assert not (tmp_path / "runs").exists()


def test_nothing_new_is_refused(parent: Run, tmp_path: Path) -> None:
    """A folder whose images the run has already is refused."""
    old = draw_dataset(tmp_path / "old", N_TRAIN, N_VALIDATION, N_TEST)

    with pytest.raises(DataError) as caught:
        update(parent.folder, old, tmp_path / "runs", CONSOLE)
    assert caught.value.code == "data-update-nothing-new"


def test_lost_features_are_an_error_before_anything_is_written(
    parent: Run, gradients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without cached features and image files, the number of lost images is reported, and no run is created."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "empty"))

    with pytest.raises(DataError) as caught:
        update(parent.folder, gradients, tmp_path / "runs", CONSOLE)
    assert caught.value.code == "data-images-gone"
    assert caught.value.facts["n"] == 2 * (N_TRAIN + N_VALIDATION)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "key"), [({"mode": "from-scratch"}, "mode"), ({"head": {"layers": [{"dense": 4}]}}, "head.layers")]
)
def test_other_heads_are_refused_by_name(changes: dict[str, Any], key: str, gradients: Path, tmp_path: Path) -> None:
    """A run whose training needs pixels, or more than a linear layer, is refused with the setting."""
    data = draw_dataset(tmp_path / "data", 4, 2, 2)
    run = train(tiny_config(data, **{"training": {"epochs": 1}, **changes}), tmp_path / "runs", CONSOLE).folder

    with pytest.raises(ConfigError) as caught:
        update(run, gradients, tmp_path / "runs", CONSOLE)
    assert (caught.value.code, caught.value.facts["key"]) == ("config-not-exact", key)


def test_a_head_that_was_trained_by_gradients_is_solved(gradients: Path, tmp_path: Path) -> None:
    """A linear head with epochs is updated as well, by the exact solver; its engine may be Keras."""
    data = draw_dataset(tmp_path / "data", 10, 4, 4)
    run = train(tiny_config(data, engine="keras", training={"epochs": 2}), tmp_path / "runs", CONSOLE).folder
    shutil.rmtree(data)
    found = update(run, gradients, tmp_path / "runs", CONSOLE)

    assert len(found.classes) == 3
    assert (found.run.folder.engine / "tail.npz").is_file()


def test_all_views_of_old_images_are_used(gradients: Path, tmp_path: Path) -> None:
    """The augmented views of old images come from the cache, too; those of new images are rendered."""
    data = draw_dataset(tmp_path / "data", 8, 4, 4)
    config = tiny_config(data, training={}, augmentation={"horizontal_flip": True, "views": 3})
    run = train(config, tmp_path / "runs", CONSOLE).folder
    shutil.rmtree(data)
    found = update(run, gradients, tmp_path / "runs", CONSOLE).run

    assert found.features.computed >= 2 * 28  # two more views of each new training image


def test_several_labels_are_added(tmp_path: Path) -> None:
    """With several labels per image, a new label is learned, and old images count as images without it."""
    settings = {"labels": {"separator": "_"}, "image_size": 32}
    data = draw_dataset(tmp_path / "data", 10, 4, 6, classes=("stripes_red", "dots_red", "dots"))
    config = tiny_config(data, data={"path": data, **settings}, head={"activation": "sigmoid"}, training={}, seed=1)
    run = train(config, tmp_path / "runs", CONSOLE).folder
    shutil.rmtree(data)
    _draw_gradients(tmp_path / "new" / "gradients_red", 40)
    found = update(run, tmp_path / "new", tmp_path / "runs", CONSOLE)

    assert [one.name for one in found.classes] == ["dots", "red", "stripes", "gradients"]
    assert found.run.folder.read_facts()["state"] == "finished"


def test_an_interrupted_update_is_resumed(
    parent: Run, gradients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed update resumes without the old images, and ends like one that was not killed."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    whole = update(parent.folder, gradients, tmp_path / "whole", CONSOLE).run.folder
    with monkeypatch.context() as patch:
        patch.setattr("cnncli.recipes.train.save_solved_model", killed)
        with pytest.raises(KeyboardInterrupt):
            update(parent.folder, gradients, tmp_path / "killed", CONSOLE)
    (run,) = (RunFolder(path) for path in (tmp_path / "killed").iterdir())
    resume(run, CONSOLE)

    one, other = (np.load(folder.engine / "tail.npz") for folder in (run, whole))
    np.testing.assert_array_equal(one["kernel"], other["kernel"])


def test_the_config_of_an_updated_run_names_the_command(
    parent: Run, gradients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training from the config of an updated run would lack the added images, so the command is shown instead."""
    run = update(parent.folder, gradients, tmp_path / "runs", CONSOLE).run.folder

    assert main(["train", str(run.config)]) == 2
    assert f"cnncli update {parent.path} --data {gradients}" in " ".join(capsys.readouterr().err.split())


def test_the_command_prints_each_class_before_and_after(
    parent: Run, gradients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has a row for each class, and --json the same facts."""
    words = ["update", str(parent.path), "--data", str(gradients), "--runs-dir", str(tmp_path)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    rows = {line.split()[0]: line for line in lines if line.split() and line.split()[0] in ("dots", "gradients")}
    assert f"{N_TRAIN} + 0" in rows["dots"]
    assert "–" in rows["gradients"]
    assert any(line.startswith("old classes: ") for line in lines)
    assert [one["name"] for one in document["classes"]] == ["dots", "stripes", "gradients"]
    assert document["classes"][2]["before"] is None
    assert document["test"]["n"] == 2 * N_TEST
