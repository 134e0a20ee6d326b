"""Resuming runs: after an interruption, with more epochs, and when it is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.overrides import read_epochs
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.errors import ConfigError, DataError, RunError
from cnncli.recipes.resume import newest_unfinished, resume
from cnncli.recipes.train import train
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import read_history
from cnncli.storage.atomic import write_atomically
from cnncli.storage.locks import Lock
from cnncli.terminal.console import Console
from tests.fault_injection.trainings import weights_digest
from tests.support.drawing import tiny_config
from tests.support.interrupted import dying_after
from tests.support.logged import codes_in, message_in

CONSOLE = Console(quiet=True)
SETTINGS: dict[str, Any] = {
    "head": {"layers": [{"dense": 4}, {"dropout": 0.3}]},
    "augmentation": {"horizontal_flip": True, "views": 2},
}


@pytest.fixture(scope="module")
def place(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of two epochs, and one that is interrupted after the first."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        train(_config(data, 2), folder / "finished", CONSOLE)
        patch.setattr(Checkpoints, "save", dying_after(2, Checkpoints.save))
        with pytest.raises(KeyboardInterrupt):
            train(_config(data, 2), folder / "stopped", CONSOLE)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, place: Path) -> RunFolder:
    """Train a run of four epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(place / "cache"))
        return train(_config(data, 4), place / "whole", CONSOLE).folder


def _config(data: Path, epochs: int) -> Config:
    return tiny_config(data, name="tiny", training={"epochs": epochs}, **SETTINGS)


def _interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def _resume_until_training(run: RunFolder, monkeypatch: pytest.MonkeyPatch, epochs: int | None = None) -> None:
    """Resume a run, and interrupt it before the first step."""
    monkeypatch.setattr("cnncli.recipes.resume.train_run", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        resume(run, CONSOLE, epochs=epochs)


@pytest.fixture
def finished(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Copy the finished run, with the cache that it filled."""
    return _copy(place, "finished", tmp_path, monkeypatch)


@pytest.fixture
def stopped(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Copy the interrupted run."""
    return _copy(place, "stopped", tmp_path, monkeypatch)


def _copy(place: Path, name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("CNNCLI_CACHE", str(place / "cache"))
    (run,) = (place / name).iterdir()
    return RunFolder(Path(shutil.copytree(run, out / name / run.name)))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ended(run: RunFolder) -> tuple[Any, ...]:
    """Return the weights, the history without times, and the metrics."""
    history = [{**row.to_dict(), "seconds": 0, "images_per_s": 0} for row in read_history(run.history)]
    return weights_digest(run.model), history, json.loads(run.metrics.read_text())


def test_an_interrupted_run_ends_as_if_it_had_not_been_interrupted(stopped: RunFolder, finished: RunFolder) -> None:
    """Weights, history and metrics equal those of the uninterrupted run."""
    assert stopped.read_facts()["state"] == "stopped"
    resume(stopped, CONSOLE)

    assert stopped.read_facts()["state"] == "finished"
    assert _ended(stopped) == _ended(finished)


def test_a_finished_run_returns_its_metrics(finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resuming a finished run trains nothing and changes no file."""
    before = {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in finished.path.rglob("*") if path.is_file()
    }
    monkeypatch.setattr("cnncli.recipes.resume.train_run", lambda *_: pytest.fail("it was trained again"))
    run = resume(finished, CONSOLE)

    assert run.metrics["test"].n == 12
    changed = [path.name for path, digest in before.items() if _digest(path) != digest]
    assert changed in ([], ["lock"])


def test_a_finished_run_keeps_one_checkpoint(finished: RunFolder) -> None:
    """A finished run keeps the one checkpoint that is needed to train more epochs."""
    assert len(Checkpoints(finished.state).folders()) == 1


def test_a_pruned_run_cannot_be_extended(finished: RunFolder) -> None:
    """Extending a pruned run is an error, and its metrics can still be shown."""
    Checkpoints(finished.state).delete()
    before = {path: _digest(path) for path in finished.path.rglob("*") if path.is_file()}
    with pytest.raises(RunError) as caught:
        resume(finished, CONSOLE, epochs=4)

    assert caught.value.code == "run-pruned"
    assert resume(finished, CONSOLE).metrics["test"].n == 12
    changed = [path.name for path, digest in before.items() if _digest(path) != digest]
    assert changed in ([], ["lock"])


def test_more_epochs_end_like_a_training_that_had_them_from_the_beginning(
    finished: RunFolder, whole: RunFolder
) -> None:
    """Two epochs and two more give the result of four epochs, and the run's config then has four."""
    resume(finished, CONSOLE, epochs=4)

    assert _ended(finished) == _ended(whole)
    assert "epochs: 4" in finished.config.read_text()


def test_fewer_epochs_than_are_trained_are_refused(finished: RunFolder) -> None:
    """A run cannot be resumed with fewer epochs than it has trained."""
    with pytest.raises(RunError) as caught:
        resume(finished, CONSOLE, epochs=1)

    assert caught.value.code == "run-epochs-already-trained"
    assert (caught.value.facts["received"], caught.value.facts["expected"]) == (1, 2)


@pytest.mark.slow
def test_a_slip_in_the_number_of_epochs_can_be_taken_back(
    place: Path, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of epochs can be lowered again, down to the number of trained epochs."""
    as_it_was = _ended(finished)
    with monkeypatch.context() as patch:
        patch.setattr("cnncli.recipes.resume.train_run", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            resume(finished, CONSOLE, epochs=2000)
    assert "epochs: 2000" in finished.config.read_text()
    resume(finished, CONSOLE, epochs=2)

    assert finished.read_facts()["state"] == "finished"
    assert _ended(finished) == as_it_was


def test_a_kill_between_the_two_configs_of_an_extension_is_no_change(
    finished: RunFolder, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the process is killed between writing the two configs of an extension, the next call resumes the run."""
    written = [0]

    def one(path: Path, text: str) -> None:
        written[0] += 1
        if written[0] == 2:
            raise KeyboardInterrupt
        write_atomically(path, text)

    with monkeypatch.context() as patch:
        patch.setattr("cnncli.recipes.resume.write_atomically", one)
        with pytest.raises(KeyboardInterrupt):
            resume(finished, CONSOLE, epochs=4)
    assert "epochs: 2" in finished.config.read_text()
    resume(finished, CONSOLE)

    assert _ended(finished) == _ended(whole)


def test_a_stretched_schedule_is_a_warning(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning reports that a cosine schedule over one epoch is not the start of one over two."""
    config = tiny_config(data, training={"epochs": 1, "schedule": {"name": "cosine"}})
    run = train(config, tmp_path / "runs", CONSOLE)
    _resume_until_training(run.folder, monkeypatch, epochs=2)
    facts = message_in(caplog, "training-schedule-stretched").facts

    assert (facts["expected"], facts["received"]) == (1, 2)


@pytest.mark.parametrize("words", [["training.batch_size=8"], ["seed=1", "training.epochs=9"]])
def test_other_settings_beside_a_run_are_refused(words: list[str]) -> None:
    """The error lists the keys of the settings that cannot be changed."""
    with pytest.raises(ConfigError) as caught:
        read_epochs(words)

    assert (caught.value.codes, caught.value.facts["key"]) == (("usage-settings-of-run",), words[0].partition("=")[0])


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5", "true", "null"])
def test_epochs_that_are_no_number_are_refused(value: str) -> None:
    """A number of epochs that is not a positive integer is one problem."""
    with pytest.raises(ConfigError) as caught:
        read_epochs([f"training.epochs={value}"])

    assert len(caught.value.problems) == 1
    assert caught.value.facts["key"] == "training.epochs"


def test_a_config_that_was_edited_is_refused(stopped: RunFolder) -> None:
    """The error names each edited setting."""
    text = stopped.config.read_text().replace("\nseed: 0", "\nseed: 3").replace("dropout: 0.3", "dropout: 0.4")
    stopped.config.write_text(text)
    with pytest.raises(RunError) as caught:
        resume(stopped, CONSOLE)

    assert caught.value.codes == ("run-config-edited",)
    changes = caught.value.facts["changes"]
    assert [change.partition(":")[0] for change in changes] == ["seed", "head.layers.1.dropout"]


def test_images_that_changed_are_refused(stopped: RunFolder, data: Path, tmp_path: Path) -> None:
    """The error names each changed image, and nothing is trained."""
    images = Path(shutil.copytree(data, tmp_path / "data"))
    for file in (stopped.config, stopped.initial_config, stopped.manifest):
        file.write_text(file.read_text().replace(str(data), str(images)))
    one, other, *_ = sorted((images / "train" / "dots").iterdir())
    one.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match=f"{one.name}: has changed since the run was trained"):
        resume(stopped, CONSOLE)


def test_a_run_that_is_being_trained_is_refused_at_once(stopped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the process that is training the run; a stale lock is taken over."""
    monkeypatch.setattr("cnncli.recipes.resume.import_keras_meanwhile", lambda: pytest.fail("too late"))
    with Lock(stopped.lock) as held:
        assert held.try_alone()
        stopped.lock.write_text("4711\n")
        with pytest.raises(RunError, match="is being trained by process 4711"):
            resume(stopped, CONSOLE)
    with pytest.raises(pytest.fail.Exception, match="too late"):
        resume(stopped, CONSOLE)


def test_another_machine_is_a_warning(
    stopped: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning reports that the processor or number of threads differs, so the last bits may differ."""
    environment = json.loads(stopped.environment.read_text())
    environment["cpu"]["threads"] = -1
    stopped.environment.write_text(json.dumps(environment))
    _resume_until_training(stopped, monkeypatch)

    assert message_in(caplog, "run-machine-differs").facts["changes"][0].startswith("threads was -1")


def test_another_engine_is_a_warning(
    stopped: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning reports that the engine that `auto` selected at the start is no longer available."""
    facts = json.loads(stopped.facts.read_text())
    stopped.facts.write_text(json.dumps({**facts, "began_on": "keras bfloat16"}))
    _resume_until_training(stopped, monkeypatch)

    (change,) = message_in(caplog, "run-machine-differs").facts["changes"]
    assert change.startswith("engine was keras bfloat16, is ")


def test_a_batch_size_that_auto_found_matches_auto(stopped: RunFolder, data: Path) -> None:
    """A run whose config has the batch size that `auto` found matches a config with `auto`."""
    config = _config(data, 2)
    auto = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": "auto"})})

    assert newest_unfinished(auto, stopped.path.parent) == stopped


def test_the_newest_unfinished_run_of_a_config_is_found(stopped: RunFolder, data: Path) -> None:
    """The newest unfinished run with the same settings is found."""
    assert newest_unfinished(_config(data, 2), stopped.path.parent) == stopped


def test_differences_of_an_unfinished_run_are_reported(
    stopped: RunFolder, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the settings of an unfinished run differ, they are logged and the run is not resumed."""
    config = _config(data, 2).model_copy(update={"seed": 5})

    assert newest_unfinished(config, stopped.path.parent) is None
    (change,) = message_in(caplog, "run-settings-differ").facts["changes"]
    assert change.startswith("seed: was 0, is 5")


def test_a_finished_run_is_not_found_as_unfinished(finished: RunFolder, data: Path) -> None:
    """A finished run is not found, even if all settings are equal."""
    assert newest_unfinished(_config(data, 2), finished.path.parent) is None


def test_the_checkpoint_before_a_damaged_one_is_used(stopped: RunFolder, finished: RunFolder) -> None:
    """If the newest checkpoint is damaged, the run resumes from the one before and ends with the same weights."""
    newest = max(path for path in stopped.state.iterdir() if path.name.isdecimal())
    arrays = newest / "arrays.npz"
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(data)
    resume(stopped, CONSOLE)

    assert _ended(stopped) == _ended(finished)


def test_a_run_of_an_earlier_version_needs_no_second_config(
    stopped: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a second config, the run's config is used without a comparison."""
    stopped.initial_config.unlink()
    _resume_until_training(stopped, monkeypatch)

    assert load_resolved(stopped.initial_config) == load_resolved(stopped.config)


@pytest.mark.slow
def test_the_same_training_comes_out_the_same_from_a_cold_and_a_warm_cache(
    data: Path, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cold and a warm cache, weights and metrics are equal bit for bit."""
    warm = train(_config(data, 2), tmp_path / "warm", CONSOLE)
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "empty"))
    cold = train(_config(data, 2), tmp_path / "cold", CONSOLE)

    assert (warm.features.computed, cold.features.computed > 0) == (0, True)
    assert _ended(warm.folder) == _ended(cold.folder) == _ended(finished)


@pytest.mark.slow
def test_features_that_were_cleared_are_computed_again_and_compared(
    stopped: RunFolder,
    finished: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Deleted features are computed again, with a warning only if they differ."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "empty"))
    copy = RunFolder(Path(shutil.copytree(stopped.path, tmp_path / "copy")))
    resume(stopped, CONSOLE)
    assert "training-features-differ" not in codes_in(caplog)
    assert _ended(stopped) == _ended(finished)

    monkeypatch.setattr("cnncli.training.inputs.CachedFeatures.checksums", lambda _: ["others"])
    resume(copy, CONSOLE)
    assert message_in(caplog, "training-features-differ").facts["stage"] == "head"
