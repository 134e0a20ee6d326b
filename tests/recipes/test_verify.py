"""A run verifies itself: new processes load what it saved, and faults that are planted there are caught."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from cnncli.cli import main
from cnncli.dataset.manifest import Manifest
from cnncli.errors import CnncliError, ParityError
from cnncli.evaluation.parity import require_parity
from cnncli.recipes import verify as recipe
from cnncli.recipes.resume import resume
from cnncli.recipes.train import Run, conclude, train
from cnncli.recipes.verify import VERIFIED, verify, verifying
from cnncli.runs.folder import RunFolder
from cnncli.storage.checksums import update_checksum
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.logged import codes_in

CONSOLE = Console(quiet=True)
NETWORK = {
    "name": "ConvNet",
    "weights": "none",
    "options": {"filters": [4, 8], "batch_norm": True},
}

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a head on oblong images, which `stretch` and `crop` resize differently, with batch normalization."""
    data = draw_dataset(tmp_path_factory.mktemp("data"), 12, 8, 6, size=64)
    for path in data.rglob("*.png"):
        with Image.open(path) as image:
            image.crop((0, 0, 64, 40)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        return train(tiny_config(data, backbone=NETWORK, training={}), tmp_path_factory.mktemp("runs"), CONSOLE)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> RunFolder:
    """Copy the run, so that a fault can be planted in it."""
    return RunFolder(Path(shutil.copytree(run.path, tmp_path / run.path.name)))


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file of an engine folder, and its checksum."""
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    if path.parent.name == "engine":
        update_checksum(path)


def change_model(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description of the layers in a .keras file, by their names."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(parts["config.json"])
    change({layer["name"]: layer for layer in description["config"]["layers"]})
    parts["config.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def another_resize(run: RunFolder) -> None:
    """Let the prediction path crop the images instead of stretching them."""
    change_json(run.engine / "scoring.json", lambda facts: facts.update(fit="crop"))


def swapped_classes(run: RunFolder) -> None:
    """Exchange the names of two classes of the engine."""
    change_json(run.engine / "scoring.json", lambda facts: facts["classes"].reverse())


def truncated_weights(run: RunFolder) -> None:
    """Lose the second half of the weights of the head."""
    arrays = dict(np.load(run.engine / "tail.npz"))
    arrays["kernel"][len(arrays["kernel"]) // 2 :] = 0
    np.savez(run.engine / "tail.npz", **arrays)
    update_checksum(run.engine / "tail.npz")


def wrong_preprocessing(run: RunFolder) -> None:
    """Let the Keras model scale pixels to 0-2 instead of 0-1."""

    def change(layers: dict[str, Any]) -> None:
        (layer,) = (one for one in layers.values() if one["class_name"] == "Rescaling")
        layer["config"]["scale"] *= 2

    change_model(run.model, change)


def batch_norm_in_training_mode(run: RunFolder) -> None:
    """Let the Keras model normalize by the statistics of each batch."""

    def change(layers: dict[str, Any]) -> None:
        for layer in layers.values():
            if layer["class_name"] == "BatchNormalization":
                layer["config"]["trainable"] = True  # a frozen layer ignores the mode
                layer["inbound_nodes"][0]["kwargs"]["training"] = True

    change_model(run.model, change)


def swapped_names(run: RunFolder) -> None:
    """Exchange the names of two classes in classes.json, which belongs to the Keras model."""
    change_json(run.classes, lambda names: names.reverse())


def truncated_model(run: RunFolder) -> None:
    """Lose the end of the Keras model's file."""
    run.model.write_bytes(run.model.read_bytes()[:-2000])


IN_PREDICT = (another_resize, swapped_classes, truncated_weights)
IN_KERAS = (
    batch_norm_in_training_mode,
    *(pytest.param(one, marks=pytest.mark.slow) for one in (wrong_preprocessing, swapped_names, truncated_model)),
)


def test_an_unchanged_run_agrees_everywhere(run: Run) -> None:
    """The prediction path, the engine and plain Keras give the reported results."""
    found = verify(run.folder, "validation")
    require_parity(found)

    assert {one.where: one.n for one in found} == {"predict": 16, "engine": 16, "keras": 16}
    assert all(one.accuracy == run.metrics["validation"].top1 for one in found)


def test_images_that_are_gone_are_verified_by_their_features(run: Run) -> None:
    """The engine gets all images whose features are cached, the other ways those whose files are there."""
    gone = [row.path for row in Manifest.from_csv(run.folder.manifest).split("validation")[:4]]
    kept = {path: path.read_bytes() for path in gone}
    for path in gone:
        path.unlink()
    try:
        found = verify(run.folder, "validation")
    finally:
        for path, data in kept.items():
            path.write_bytes(data)

    assert {one.where: one.n for one in found} == {"predict": 12, "engine": 16, "keras": 12}


@pytest.mark.parametrize("plant", IN_PREDICT, ids=lambda plant: plant.__name__)
def test_a_fault_of_the_prediction_path_fails_the_run(
    plant: Callable[[RunFolder], None], copy: RunFolder, run: Run, tmp_path: Path
) -> None:
    """After training, the fault is caught without Keras, and the run is failed."""
    (tmp_path / VERIFIED).touch()
    plant(copy)
    with pytest.raises(ParityError) as caught, verifying(copy, run.metrics, template=tmp_path):
        pass

    assert {error.facts["where"] for error in caught.value.problems} <= {"predict", "engine"}
    assert caught.value.facts["where"] == "predict"
    assert copy.read_facts()["state"] == "failed"
    assert copy.read_facts()["reason"] == str(caught.value.problems[0])


@pytest.mark.parametrize("plant", IN_KERAS)
def test_a_fault_of_the_keras_model_fails_the_run(
    plant: Callable[[RunFolder], None], copy: RunFolder, run: Run
) -> None:
    """After training, plain Keras finds the fault."""
    plant(copy)
    with pytest.raises(ParityError) as caught, verifying(copy, run.metrics):
        pass

    assert [error.facts["where"] for error in caught.value.problems] == ["keras"]
    assert copy.read_facts()["state"] == "failed"


def test_other_metrics_than_in_training_fail_the_run(copy: RunFolder, run: Run, tmp_path: Path) -> None:
    """If the saved classifier does not reach the validation loss of training, the run is failed."""
    (tmp_path / VERIFIED).touch()
    header, row = copy.history.read_text().splitlines()
    names, values = header.split(","), row.split(",")
    values[names.index("val_loss")] = "0.987"
    copy.history.write_text(f"{header}\n{','.join(values)}\n")
    with pytest.raises(ParityError) as caught, verifying(copy, run.metrics, template=tmp_path):
        pass

    assert (caught.value.facts["where"], caught.value.facts["expected"]) == ("training", 0.987)


def test_the_command_exits_with_code_3(copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """`evaluate --verify` prints the metrics, then the differences, and fails if one is too large."""
    wrong_preprocessing(copy)

    assert main(["evaluate", str(copy.path), "--verify"]) == 3
    out = capsys.readouterr().out
    assert out.index("accuracy") < out.index("verified")
    assert [line.split()[-1] for line in out.splitlines()[-3:]] == ["yes", "yes", "NO"]


def test_a_run_that_ends_verifies_itself(copy: RunFolder, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of training verifies the run, asks plain Keras once per template, and records what it found."""
    monkeypatch.setattr("cnncli.recipes.train.verifying", verifying)
    assert run.template is not None
    again = replace(run, folder=copy)
    shown: list[Run] = []
    conclude(again, shown.append)
    first = copy.read_facts()["verified"]
    conclude(again)

    assert shown == [again]
    assert set(first) == {"predict", "engine", "keras"}
    assert set(copy.read_facts()["verified"]) == {"predict", "engine"}
    assert (run.template / VERIFIED).exists()
    assert copy.read_facts()["state"] == "finished"


def _killed(*_: object) -> NoReturn:
    """Stand in for a verification during which the process is killed."""
    raise KeyboardInterrupt


def test_a_run_killed_while_it_was_verified_is_verified_by_train(
    copy: RunFolder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train RUN` verifies a finished run that was killed while it was verified, and does so only once."""
    monkeypatch.setattr("cnncli.recipes.train.verifying", _killed)
    with pytest.raises(KeyboardInterrupt):
        conclude(replace(run, folder=copy))
    assert copy.read_facts()["state"] == "finished"

    monkeypatch.setattr("cnncli.recipes.train.verifying", verifying)
    resume(copy, Console(quiet=True))
    assert {"predict", "engine"} <= set(copy.read_facts()["verified"])

    monkeypatch.setattr("cnncli.recipes.train.verifying", lambda *_: pytest.fail("it was verified again"))
    assert resume(copy, Console(quiet=True)).metrics == run.metrics


def test_verification_is_announced_between_the_metrics_and_the_next_commands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train` prints that the run is being verified, then its path and time, and then the commands that can follow."""
    monkeypatch.setattr("cnncli.recipes.train.verifying", verifying)

    assert main(["train", str(run.folder.config), "--runs-dir", str(tmp_path)]) == 0

    lines = capsys.readouterr().err.splitlines()
    (folder,) = tmp_path.iterdir()
    announced, path, *suggested = (line for line in lines if folder.name in line)
    assert ("new processes" in announced, "results after" in path) == (True, True)
    assert [line.split()[1] for line in suggested][:2] == ["predict", "evaluate"]


def test_it_can_be_switched_off(copy: RunFolder, run: Run) -> None:
    """With `evaluation.verify: false`, no process is started."""
    text = copy.config.read_text()
    assert "verify: true" in text
    copy.config.write_text(text.replace("verify: true", "verify: false"))
    truncated_model(copy)
    with verifying(copy, run.metrics):
        pass

    assert copy.read_facts()["verified"] is None


def test_a_process_that_is_stopped_says_nothing_about_the_run(copy: RunFolder, tmp_path: Path) -> None:
    """If a new process is killed, for example for lack of memory, that is no mismatch."""
    started = recipe.Verification.start(copy, tmp_path, "validation", 4, 0)
    started.children[0].process.kill()
    with pytest.raises(recipe.StoppedError):
        started.finish()


def test_images_that_changed_say_nothing_about_the_run(
    copy: RunFolder, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """If images for plain Keras have changed since training, the run stays finished, with a warning."""
    paths = [row.path for row in Manifest.from_csv(copy.manifest).split("validation")]
    kept = {path: path.read_bytes() for path in paths}
    try:
        for path in paths:
            Image.new("RGB", (20, 20)).save(path)
        with verifying(copy, run.metrics):
            pass
    finally:
        for path, content in kept.items():
            path.write_bytes(content)

    assert codes_in(caplog) == ["metrics-not-verified"]
    assert copy.read_facts()["state"] == "finished"


def test_a_split_that_was_not_evaluated_cannot_be_verified(run: Run) -> None:
    """Without reported results, there is nothing to compare."""
    with pytest.raises(CnncliError) as caught:
        verify(run.folder, "train")
    assert caught.value.code == "run-split-missing"
