"""What a run holds at its end, and what may fail on the way there without the training being lost."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnncli.errors import CacheError, ConfigError, DataError
from cnncli.features.store import FeatureStore
from cnncli.recipes import fit
from cnncli.recipes.cache import Cleared, clear_cache, list_cache
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import Prediction, predict
from cnncli.recipes.train import train
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run
from cnncli.storage.cache_dir import cache_dir
from cnncli.terminal.console import Console
from tests.features.storing import KEY, digests_of, features_of
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes and dots, and one image that is none."""
    folder = draw_dataset(tmp_path_factory.mktemp("data"), 6, 3, 3)
    (folder / "train" / "dots" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def _config(data: Path, **changes: Any) -> Any:
    settings = {"data": {"path": data, "image_size": 32, "on_bad_image": "skip"}, "training": {"epochs": 1}}
    return tiny_config(data, **{**settings, **changes})


def test_scores_that_cannot_be_had_do_not_throw_the_training_away(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised; the run is finished, says why, keeps the figures it has, and predicts."""
    score = fit.score_rows

    def fails_on_test(scorer: Any, manifest: Any, rows: Any, *more: Any) -> Any:
        if rows[0].split == "test":
            raise DataError(["a.png: has gone", "b.png: has gone"])
        return score(scorer, manifest, rows, *more)

    monkeypatch.setattr(fit, "score_rows", fails_on_test)
    screen = StringIO()
    with pytest.raises(DataError, match=r"b\.png"):
        train(_config(data), tmp_path, Console(screen, live=False))
    run = open_run(None, tmp_path)
    facts = run.read_facts()

    assert (facts["state"], facts["reason"], list(facts["metrics"])) == ("finished", "a.png: has gone", ["validation"])
    assert list(json.loads(run.metrics.read_text())) == ["validation"]
    assert "warning: the model is saved, but not all of its figures could be had: a.png: has gone" in screen.getvalue()
    assert len(json.loads(run.ledger.read_text())) == 1
    assert isinstance(next(predict(run, [data / "test" / "dots"])), Prediction)


def test_curves_that_cannot_be_drawn_are_a_warning(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library that draws them raises."""

    def fails(*_: Any) -> None:
        raise ZeroDivisionError("no fonts")

    monkeypatch.setattr(fit, "draw_curves", fails)
    screen = StringIO()
    run = train(_config(data), tmp_path, Console(screen, quiet=True))

    assert screen.getvalue().endswith("warning: the curves could not be drawn (ZeroDivisionError: no fonts)\n")
    assert run.folder.read_facts()["state"] == "finished"


def test_images_left_out_and_those_that_look_alike_are_in_the_run(data: Path, tmp_path: Path) -> None:
    """Each with its reason, or with what it looks like; where there is none, there is no such file."""
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


def test_the_log_begins_with_what_was_said_before_the_run(data: Path, tmp_path: Path) -> None:
    """The line about the images is in it."""
    log = train(_config(data), tmp_path, CONSOLE).folder.log.read_text()

    assert "INFO images: 2 classes · train 12, validation 6, test 6" in log
    assert "INFO unreadable images left out: 1" in log


@pytest.mark.parametrize(("mode", "engine"), [("feature-extraction", "openvino"), ("from-scratch", "keras")])
def test_a_run_names_the_engine_that_ran(data: Path, tmp_path: Path, mode: str, engine: str) -> None:
    """Where nothing is frozen, no trunk runs: all of it is Keras's."""
    run = train(_config(data, mode=mode, engine="openvino"), tmp_path, CONSOLE)
    facts = run.folder.read_facts()

    assert (facts["engine"], facts["precision"]) == (engine, "float32")


def test_stages_that_cannot_be_trained_are_all_named_before_a_run_appears(data: Path, tmp_path: Path) -> None:
    """Not after the stages before them."""
    stages = [
        {"name": "head", "epochs": 1},
        {"name": "deep", "unfreeze": 9, "epochs": 1},
        {"name": "deeper", "unfreeze": "nowhere", "epochs": 1},
    ]
    with pytest.raises(ConfigError) as caught:
        train(_config(data, training={"stages": stages}), tmp_path / "runs", CONSOLE)

    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["stage deep", "stage deeper"]
    assert not (tmp_path / "runs").exists()


def test_a_cache_that_cannot_be_written_leaves_no_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may fail for the folder's sake does so before the run appears."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "graphs").touch()
    with pytest.raises(CacheError, match=r"graphs: .+\. CNNCLI_CACHE names another folder for the cache\."):
        train(_config(data), tmp_path / "runs", CONSOLE)

    assert not (tmp_path / "runs").exists()


def test_the_ledger_is_written_stage_by_stage(data: Path, tmp_path: Path) -> None:
    """What a stage proved is kept, although the next one fails."""
    stages = [
        {"name": "head", "epochs": 1},
        {"name": "wild", "unfreeze": 1, "epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-60}},
    ]
    with pytest.raises(Exception, match="stage wild"):
        train(_config(data, training={"stages": stages}), tmp_path, CONSOLE)
    (path,) = tmp_path.iterdir()

    assert [entry["name"] for entry in json.loads(RunFolder(path).ledger.read_text())] == ["head"]


def test_a_cap_drives_out_what_no_run_uses(data: Path, tmp_path: Path) -> None:
    """Then what this one has used, at its end; the last line before its figures tells how much."""
    store = cache_dir() / "features"
    with FeatureStore(store) as earlier:
        earlier.write(KEY, digests_of(50), features_of(50))
    screen = StringIO()
    run = train(_config(data, cache={"max_gb": 1e-6}), tmp_path, Console(screen, live=False)).folder
    last = screen.getvalue().splitlines()[-1]

    assert "in use take" in screen.getvalue()
    assert run.read_facts()["state"] == "finished"
    assert list_cache(cache_dir()).features_bytes <= 1000
    assert re.fullmatch(r"to keep to the cap of 1\.0 kB, .+ kB of stored features were removed", last)
    assert last in run.log.read_text()


@pytest.mark.parametrize("first", ["train", "evaluate"])
def test_features_are_listed_by_the_names_of_their_network_and_cut(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Whichever command was the first to store any."""
    run = train(_config(data), tmp_path / "runs", CONSOLE).folder
    if first == "evaluate":
        monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
        evaluate(run, CONSOLE)

    (listed,) = list_cache(cache_dir()).features
    assert (listed.network, listed.cut, listed.in_use) == ("ConvNet", "head_avg_pool", False)


def test_nothing_is_stored_at_the_end_where_features_did_not_fit(data: Path, tmp_path: Path) -> None:
    """The figures' images alone would; what was said of the training holds for all of the run."""
    settings = {"backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [64]}}}
    head = {"pooling": "flatten"}
    fits = 6 * 15 * 15 * 64 * 4
    screen = StringIO()
    small = train(
        _config(data, **settings, head=head, cache={"max_gb": fits / 1e9}), tmp_path, Console(screen, live=False)
    )
    roomy = train(_config(data, **settings, head=head), tmp_path, CONSOLE)

    assert "decoded pixels are stored instead" in screen.getvalue()
    assert screen.getvalue().count("scoring: 6 images") == 2
    assert "in use take" not in screen.getvalue()
    assert small.features.computed == 18
    assert small.metrics == roomy.metrics


def test_test_images_are_not_stored_where_they_do_not_fit_beside_the_others(data: Path, tmp_path: Path) -> None:
    """The store does not outgrow its cap for what is looked at once."""
    screen = StringIO()
    settings = {"head": {"pooling": "flatten"}, "cache": {"max_gb": 26_000 / 1e9}}
    run = train(_config(data, **settings), tmp_path, Console(screen, live=False))

    assert run.features.computed == 12 + 6
    assert screen.getvalue().count("scoring: 6 images") == 1
    assert "in use take" not in screen.getvalue()


def test_clearing_the_cache_disturbs_no_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features and its converted graph stay until it has ended."""
    cleared: list[Cleared] = []
    save = fit._save

    def clear_and_save(*arguments: Any) -> None:
        cleared.append(clear_cache(cache_dir()))
        save(*arguments)

    monkeypatch.setattr(fit, "_save", clear_and_save)
    run = train(_config(data), tmp_path, CONSOLE).folder

    assert cleared[0].pinned_bytes > 0
    assert isinstance(next(predict(run, [data / "test" / "dots"])), Prediction)
    assert clear_cache(cache_dir()).freed_bytes >= cleared[0].pinned_bytes
