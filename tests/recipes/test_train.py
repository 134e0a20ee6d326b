"""The content of a finished run, and failures that do not lose a trained model."""

from __future__ import annotations

import csv
import json
import logging
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnncli.errors import CacheError, ConfigError, DataError, TrainingError
from cnncli.features.eviction import Cleared
from cnncli.features.store import FeatureStore
from cnncli.inference import saved_run
from cnncli.inference.prediction import Prediction
from cnncli.recipes.cache import clear_cache, list_cache
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import predict
from cnncli.recipes.train import train
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run
from cnncli.storage.cache_dir import cache_dir
from cnncli.terminal.console import Console
from tests.features.storing import KEY, digests_of, features_of
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.logged import codes_in, message_in

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots, and one damaged file."""
    folder = draw_dataset(tmp_path_factory.mktemp("data"), 6, 3, 3)
    (folder / "train" / "dots" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def _config(data: Path, **changes: Any) -> Any:
    settings = {"data": {"path": data, "image_size": 32, "on_bad_image": "skip"}, "training": {"epochs": 1}}
    return tiny_config(data, **{**settings, **changes})


def test_an_evaluation_that_fails_does_not_lose_the_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If an evaluation fails, its error is raised, but the run is finished, records the reason, and predicts."""
    compute = saved_run.compute_outputs

    def fails_on_test(predictor: Any, rows: Any, *more: Any, **cache: Any) -> Any:
        if rows[0].split == "test":
            raise DataError(["a.png: has gone", "b.png: has gone"])
        return compute(predictor, rows, *more, **cache)

    monkeypatch.setattr(saved_run, "compute_outputs", fails_on_test)
    with pytest.raises(DataError, match=r"b\.png"):
        train(_config(data), tmp_path, CONSOLE)
    run = open_run(None, tmp_path)
    facts = run.read_facts()

    assert (facts["state"], facts["reason"], list(facts["metrics"])) == ("finished", "a.png: has gone", ["validation"])
    assert list(json.loads(run.metrics.read_text())) == ["validation"]
    assert message_in(caplog, "training-evaluation-incomplete").facts["reason"] == "a.png: has gone"
    assert len(json.loads(run.stages.read_text())) == 1
    assert isinstance(next(iter(predict(run, [data / "test" / "dots"]))), Prediction)


def test_curves_that_cannot_be_drawn_are_a_warning(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any exception from matplotlib becomes a warning, and the run is finished."""

    def fails(*_: Any) -> None:
        raise ZeroDivisionError("no fonts")

    monkeypatch.setattr("cnncli.recipes.train.draw_curves", fails)
    run = train(_config(data), tmp_path, CONSOLE)

    assert message_in(caplog, "training-curves-not-drawn").facts["reason"] == "ZeroDivisionError: no fonts"
    assert run.folder.read_facts()["state"] == "finished"


def test_images_left_out_and_those_that_look_alike_are_in_the_run(data: Path, tmp_path: Path) -> None:
    """The run lists images left out with the reason, and pairs of similar images, if there are any."""
    run = train(_config(data), tmp_path / "some", CONSOLE).folder
    with run.skipped.open(newline="") as file:
        (row,) = csv.DictReader(file)
    alike = draw_dataset(tmp_path / "data", 4, 2, 2)
    source, copy = alike / "train" / "dots" / "dots-00.png", alike / "test" / "dots" / "copy.jpg"
    Image.open(source).save(copy, quality=90)
    other = train(_config(alike), tmp_path / "others", CONSOLE).folder
    with other.near_duplicates.open(newline="") as file:
        pairs = {(pair["path"], pair["path_2"]) for pair in csv.DictReader(file)}

    assert row["path"] == str(data / "train" / "dots" / "broken.png")
    assert row["reason"]
    assert (str(source), str(copy)) in pairs
    assert not other.skipped.exists()
    assert not run.near_duplicates.exists()


def test_the_log_begins_with_the_messages_before_the_run(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's log includes the messages about the images."""
    caplog.set_level(logging.INFO)
    log = train(_config(data), tmp_path, CONSOLE).folder.log.read_text()

    assert f"INFO {message_in(caplog, 'data-skipped-images')}" in log


@pytest.mark.parametrize(
    ("mode", "engine"),
    [pytest.param("feature-extraction", "openvino", marks=pytest.mark.slow), ("from-scratch", "keras")],
)
def test_a_run_names_the_engine_that_ran(data: Path, tmp_path: Path, mode: str, engine: str) -> None:
    """If nothing is frozen, the run names Keras as its engine."""
    run = train(_config(data, mode=mode, engine="openvino"), tmp_path, CONSOLE)
    facts = run.folder.read_facts()

    assert (facts["engine"], facts["precision"]) == (engine, "float32")


def test_stages_that_cannot_be_trained_are_all_named_before_a_run_appears(data: Path, tmp_path: Path) -> None:
    """All stages are checked before the first one is trained."""
    stages = [
        {"name": "head", "epochs": 1},
        {"name": "deep", "unfreeze": 9, "epochs": 1},
        {"name": "deeper", "unfreeze": "nowhere", "epochs": 1},
    ]
    with pytest.raises(ConfigError) as caught:
        train(_config(data, training={"stages": stages}), tmp_path / "runs", CONSOLE)

    assert [problem.facts["stage"] for problem in caught.value.problems] == ["deep", "deeper"]
    assert not (tmp_path / "runs").exists()


def test_a_cache_that_cannot_be_written_leaves_no_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache directory that is not writable is an error before a run is created."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "graphs").touch()
    with pytest.raises(CacheError) as caught:
        train(_config(data), tmp_path / "runs", CONSOLE)

    assert caught.value.code == "cache-not-writable"
    assert not (tmp_path / "runs").exists()


def test_the_stage_report_is_written_stage_by_stage(data: Path, tmp_path: Path) -> None:
    """The report of a stage is kept if the next stage fails."""
    stages = [
        {"name": "head", "epochs": 1},
        {"name": "wild", "unfreeze": 1, "epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-60}},
    ]
    with pytest.raises(TrainingError):
        train(_config(data, training={"stages": stages}), tmp_path, CONSOLE)
    (path,) = tmp_path.iterdir()

    assert [entry["name"] for entry in json.loads(RunFolder(path).stages.read_text())] == ["head"]


def test_a_cap_evicts_first_what_no_run_uses(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Features of the run itself are evicted only at its end, and the last message reports how much."""
    store = cache_dir() / "features"
    with FeatureStore(store) as earlier:
        earlier.write(KEY, digests_of(50), features_of(50))
    run = train(_config(data, cache={"max_gb": 1e-6}), tmp_path, CONSOLE).folder

    assert "cache-over-cap" in codes_in(caplog)
    assert run.read_facts()["state"] == "finished"
    assert list_cache(cache_dir()).features_bytes <= 1000
    assert codes_in(caplog)[-1] == "cache-evicted"
    assert message_in(caplog, "cache-evicted") in run.log.read_text()


@pytest.mark.parametrize("first", ["train", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_features_are_listed_by_the_names_of_their_network_and_cut(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Features are listed with network and cut, whichever command stored them first."""
    run = train(_config(data), tmp_path / "runs", CONSOLE).folder
    if first == "evaluate":
        monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
        evaluate(run, CONSOLE)

    (listed,) = list_cache(cache_dir()).features
    assert (listed.network, listed.cut, listed.in_use) == ("ConvNet", "head_avg_pool", False)


@pytest.mark.slow
def test_nothing_is_cached_at_the_end_if_features_did_not_fit(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If training features did not fit into the cache, features of the final evaluation are not cached either."""
    settings = {"backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [64]}}}
    head = {"pooling": "flatten"}
    fits = 6 * 15 * 15 * 64 * 4
    screen = StringIO()
    small = train(
        _config(data, **settings, head=head, cache={"max_gb": fits / 1e9}), tmp_path, Console(screen, live=False)
    )
    roomy = train(_config(data, **settings, head=head), tmp_path, CONSOLE)

    assert message_in(caplog, "cache-features-do-not-fit").facts["cached"] == "pixels"
    assert screen.getvalue().count("evaluating: 6 images") == 2
    assert "cache-over-cap" not in codes_in(caplog)
    assert small.features.computed == 18
    assert small.metrics == roomy.metrics


def test_test_images_are_not_cached_if_they_do_not_fit_in_addition(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Features of test images are not cached if the cache would exceed its cap."""
    screen = StringIO()
    settings = {"head": {"pooling": "flatten"}, "cache": {"max_gb": 26_000 / 1e9}}
    run = train(_config(data, **settings), tmp_path, Console(screen, live=False))

    assert run.features.computed == 12 + 6
    assert screen.getvalue().count("evaluating: 6 images") == 1
    assert "cache-over-cap" not in codes_in(caplog)


def test_clearing_the_cache_disturbs_no_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and the converted graph of a run are kept until it has finished."""
    cleared: list[Cleared] = []
    save = saved_run.save_model

    def clear_and_save(*arguments: Any) -> None:
        cleared.append(clear_cache(cache_dir()))
        save(*arguments)

    monkeypatch.setattr("cnncli.recipes.train.save_model", clear_and_save)
    run = train(_config(data), tmp_path, CONSOLE).folder

    assert cleared[0].pinned_bytes > 0
    assert isinstance(next(iter(predict(run, [data / "test" / "dots"]))), Prediction)
    assert clear_cache(cache_dir()).freed_bytes >= cleared[0].pinned_bytes
