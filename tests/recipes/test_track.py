"""Runs in MLflow: read back through its client, from a store next to the runs and from a real server on 127.0.0.1.

The server is the program that `CNNCLI_MLFLOW` names; without it, its tests are skipped.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cnncli
from cnncli.cli import main
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.writer import plain_settings
from cnncli.errors import RunError
from cnncli.recipes.resume import resume
from cnncli.recipes.track import track
from cnncli.recipes.train import train
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.runs.tracking import EXPERIMENT, URI, MlflowRun, history_of, import_mlflow, without_credentials
from cnncli.terminal.console import Console
from tests.support.drawing import tiny_config
from tests.support.interrupted import dying_after
from tests.support.logged import codes_in

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("default")  # of MLflow, pandas and SQLAlchemy
CONSOLE = Console(quiet=True)
SERVER = os.environ.get("CNNCLI_MLFLOW")
START_S = 90.0


def free_port() -> int:
    """Return a port of 127.0.0.1 at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def serve(folder: Path) -> Iterator[str]:
    """Run an MLflow server on a folder, and yield its address."""
    if SERVER is None or not Path(SERVER).is_file():
        pytest.skip("CNNCLI_MLFLOW names no MLflow server")
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", f"{folder}/artifacts"]
    words = [SERVER, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store]
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": ""}
    with (folder / "log").open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env=variables, start_new_session=True)
    try:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "log").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="module", params=["store", pytest.param("server", marks=pytest.mark.slow)])
def tracked_run(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunFolder]:
    """Train three epochs with an interruption after the first, and resume from its checkpoint."""
    folder = tmp_path_factory.mktemp("tracked")
    server = serve(folder) if request.param == "server" else iter([None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        patch.delenv(URI, raising=False)
        if (uri := next(server)) is not None:
            patch.setenv(URI, uri.replace("://", "://ada:secret@"))
        patch.setenv(EXPERIMENT, "stripes")
        run = interrupted(config_for(data, 3), folder / "runs")
        assert remote(run).info.status == "KILLED"
        # On a slow machine checkpoints are rarer than epochs.
        assert [step for step, _ in steps(run, "loss")] in ([1, 2], [1, 2, 3])
        shutil.rmtree(max(Checkpoints(run.state).folders()))  # so that it trains the second epoch again
        resume(run, CONSOLE)
        yield run
    next(server, None)


def interrupted(config: Config, runs_dir: Path) -> RunFolder:
    """Train until the checkpoint after the second epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", dying_after(3, Checkpoints.save))
        with pytest.raises(KeyboardInterrupt):
            train(config, runs_dir, CONSOLE)
    (run,) = run_folders(runs_dir)
    return run


def config_for(data: Path, epochs: int) -> Config:
    """Return a config with MLflow."""
    return tiny_config(data, tracking="mlflow").model_copy(
        update={"training": tiny_config(data).training.model_copy(update={"epochs": epochs})}
    )


def facts(run: RunFolder) -> dict[str, str]:
    """Return what run.json has about MLflow."""
    return dict(run.read_facts()["mlflow"])


def client_of(run: RunFolder) -> Any:
    """Return MLflow's own client for the store of a run."""
    return import_mlflow().MlflowClient(facts(run)["uri"])


def remote(run: RunFolder) -> Any:
    """Return the MLflow run."""
    return client_of(run).get_run(facts(run)["run_id"])


def steps(run: RunFolder, key: str) -> list[tuple[int, float]]:
    """Return all values of a metric with their steps."""
    return [(one.step, one.value) for one in client_of(run).get_metric_history(facts(run)["run_id"], key)]


def test_the_run_is_in_its_experiment_with_tags(tracked_run: RunFolder) -> None:
    """The MLflow run has the name of the run directory, is finished, and has tags for what made it."""
    found = remote(tracked_run)
    experiment = client_of(tracked_run).get_experiment(found.info.experiment_id)

    assert (found.info.run_name, found.info.status, experiment.name) == (tracked_run.path.name, "FINISHED", "stripes")
    assert found.data.tags["cnncli.mode"] == "feature-extraction"
    assert found.data.tags["cnncli.path"] == str(tracked_run.path)
    assert len(client_of(tracked_run).search_runs([found.info.experiment_id])) == 1


def test_every_setting_is_a_parameter(tracked_run: RunFolder) -> None:
    """The parameters are all settings of the config by dotted key."""
    parameters = remote(tracked_run).data.params

    assert set(parameters) == set(plain_settings(load_resolved(tracked_run.config)))
    assert parameters["training.epochs"] == "3"
    assert parameters["data.image_size"] == "32"
    assert parameters["tracking"] == "mlflow"


def test_each_epoch_is_one_step(tracked_run: RunFolder) -> None:
    """The steps are the epochs of history.csv, none of them twice, although the run was interrupted and resumed."""
    with tracked_run.history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    for key in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        assert steps(tracked_run, key) == [(int(row["epoch"]), float(row[key])) for row in rows], key
    assert len(rows) == 3


def test_results_have_their_intervals(tracked_run: RunFolder) -> None:
    """The results of each split are those of metrics.json, with number of images and 95 % interval."""
    found = remote(tracked_run).data.metrics
    for split, expected in json.loads(tracked_run.metrics.read_text()).items():
        assert found[f"{split}_accuracy"] == expected["top1"]
        assert found[f"{split}_loss"] == pytest.approx(expected["loss"])
        assert found[f"{split}_n"] == expected["n"]
        bounds = [found[f"{split}_accuracy_ci95_{end}"] for end in ("low", "high")]
        assert bounds == pytest.approx(expected["top1_ci95"])


def test_files_and_figures_are_artifacts(tracked_run: RunFolder) -> None:
    """Config, history, report, model card and figures are the same files in MLflow."""
    client, run_id = client_of(tracked_run), facts(tracked_run)["run_id"]
    names = {one.path for one in client.list_artifacts(run_id)}
    figures = {one.path for one in client.list_artifacts(run_id, "figures")}

    assert names >= {"config.yaml", "history.csv", "metrics.json", "report.html", "README.md", "figures"}
    assert "figures/curves.png" in figures
    copy = Path(client.download_artifacts(run_id, "report.html"))
    assert copy.read_bytes() == tracked_run.report.read_bytes()


def test_the_model_predicts_from_raw_pixels(tracked_run: RunFolder, data: Path) -> None:
    """The model is loaded by MLflow: raw RGB of the signature in, the probabilities of `predict` out."""
    mlflow = import_mlflow()
    mlflow.set_tracking_uri(facts(tracked_run)["uri"])
    (output,) = remote(tracked_run).outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    (inputs,), (outputs,) = model.metadata.signature.inputs, model.metadata.signature.outputs
    images = sorted((data / "test").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])

    assert (inputs.type, inputs.shape) == (np.dtype("uint8"), (-1, 32, 32, 3))
    assert outputs.shape == (-1, 2)
    assert model.metadata.metadata["classes"] == ["dots", "stripes"]
    found = model.predict(pixels)
    predicted = cnncli.predict(images, run=tracked_run.path, top=2)
    for row, one in zip(found, predicted, strict=True):
        expected = dict(zip(one.labels, one.probabilities, strict=True))
        assert row == pytest.approx([expected["dots"], expected["stripes"]], abs=1e-3)


def test_a_second_sending_adds_nothing(tracked_run: RunFolder) -> None:
    """`cnncli track` of a run that MLflow has neither doubles steps nor adds a model."""
    before, n_models = steps(tracked_run, "loss"), len(remote(tracked_run).outputs.model_outputs)
    assert main(["track", str(tracked_run.path)]) == 0
    assert steps(tracked_run, "loss") == before
    assert len(remote(tracked_run).outputs.model_outputs) == n_models == 1
    assert remote(tracked_run).info.status == "FINISHED"


def test_a_run_that_was_deleted_in_mlflow_is_sent_anew(tracked_run: RunFolder) -> None:
    """`cnncli track` does not insist on the id in run.json."""
    losses, deleted = steps(tracked_run, "loss"), facts(tracked_run)["run_id"]
    client_of(tracked_run).delete_run(deleted)

    assert main(["track", str(tracked_run.path)]) == 0
    assert facts(tracked_run)["run_id"] != deleted
    assert {step for step, _ in steps(tracked_run, "loss")} == {step for step, _ in losses}
    assert remote(tracked_run).info.status == "FINISHED"


def test_an_unreachable_server_is_one_error_before_work_starts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nothing listens at MLFLOW_TRACKING_URI, training does not start, and nothing is written."""
    monkeypatch.setenv(URI, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RunError) as caught:
        train(config_for(data, 1), tmp_path / "runs", CONSOLE)

    assert caught.value.codes == ("run-tracking-unreachable",)
    assert "Connection refused" in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://ada:secret@db.example/runs", "postgresql://db.example/runs"),
        ("postgresql://ada:se/c:r@et@db.example:5432/runs", "postgresql://db.example:5432/runs"),
        ("mysql+pymysql://db.example/runs?password=secret", "mysql+pymysql://db.example/runs"),
        ("https://token@example.org/mlflow", "https://example.org/mlflow"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////home/ada@work/a:b@c/mlflow.db", "sqlite:////home/ada@work/a:b@c/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_credentials(uri: str, expected: str) -> None:
    """User, password and query are removed, and nothing else."""
    assert without_credentials(uri) == expected


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_errors_have_no_password(scheme: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the message nor the facts of an error repeat the password in MLFLOW_TRACKING_URI."""
    monkeypatch.setenv(URI, f"{scheme}://ada:secret@127.0.0.1:{free_port()}/runs")
    with pytest.raises(RunError) as caught:
        train(config_for(data, 1), tmp_path / "runs", CONSOLE)

    assert caught.value.codes == ("run-tracking-unreachable",)
    assert "secret" not in f"{caught.value} {caught.value.facts}"


def test_the_run_directory_has_no_password(tracked_run: RunFolder) -> None:
    """No file of a run has the password of the server."""
    assert not [path for path in tracked_run.path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_without_mlflow_the_error_names_the_extra(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If MLflow is not installed, the error has the command that installs it."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RunError) as caught:
        train(config_for(data, 1), tmp_path / "runs", CONSOLE)

    assert caught.value.codes == ("run-tracking-not-installed",)
    assert "pip install 'cnncli[tracking]'" in str(caught.value)


@pytest.mark.parametrize("method", ["log_epochs", "log_results"])
def test_a_failure_of_mlflow_never_loses_the_run(
    method: str,
    tracked_run: RunFolder,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If MLflow fails during or after the training, the run is finished, and `cnncli track` sends the rest."""
    runs = tracked_run.path.parent
    with monkeypatch.context() as patch:
        patch.setattr(MlflowRun, method, _fail)
        run = train(config_for(data, 2), runs, CONSOLE).folder
    assert run.read_facts()["state"] == "finished"
    assert set(codes_in(caplog)) >= {"run-tracking-incomplete"}
    assert remote(run).info.status == "RUNNING"

    assert track(run).id == facts(run)["run_id"]
    assert [step for step, _ in steps(run, "loss")] == [1, 2]
    assert math.isfinite(remote(run).data.metrics["test_accuracy"])
    assert remote(run).info.status == "FINISHED"
    shutil.rmtree(run.path)


def test_an_interrupt_after_the_training_is_recorded(
    tracked_run: RunFolder, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the figures are drawn ends the MLflow run as killed, as it does during training."""
    runs = tracked_run.path.parent

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cnncli.recipes.train.draw_figures", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config_for(data, 1), runs, CONSOLE)
    (run,) = (one for one in run_folders(runs) if one.path != tracked_run.path)

    assert remote(run).info.status == "KILLED"
    shutil.rmtree(run.path)


def test_the_steps_that_mlflow_has_are_asked_for_once(tracked_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history of metrics, which grows with every epoch, is not fetched again after each of them."""
    client, asked = type(client_of(tracked_run)), []
    fetch = client.get_metric_history

    def counted(*words: Any) -> Any:
        asked.append(words)
        return fetch(*words)

    monkeypatch.setattr(client, "get_metric_history", counted)
    found, history = MlflowRun(tracked_run), history_of(tracked_run)
    for n in range(1, len(history) + 1):
        found.log_epochs(history[:n])
    found.end("FINISHED")

    assert len(asked) == 1


def _fail(*_: object) -> None:
    raise ConnectionResetError(104, "Connection reset by peer")
