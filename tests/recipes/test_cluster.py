"""Work on a Ray cluster of two nodes: a node is lost, a worker is lost, the driver is lost. Minutes on two cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cnncli.cluster.machines import machines_at
from cnncli.config.writer import dump_config
from cnncli.errors import ClusterError
from cnncli.features.extract import Compute, FeatureSet
from cnncli.recipes.extract import extract_features
from cnncli.recipes.train import train
from cnncli.runs.folder import run_folders
from cnncli.runs.records import read_history
from cnncli.terminal.console import Console
from tests.recipes.on_cluster import two_nodes
from tests.recipes.test_extract import features_in
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.two_devices import SGD, difference, weights_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CONSOLE = Console(quiet=True)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Start a cluster of two nodes."""
    with two_nodes() as started:
        yield started


@pytest.mark.filterwarnings("ignore")  # of Ray
def test_extraction_survives_the_loss_of_a_node(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a node killed after the first results, the features are those of one process, bit by bit."""
    monkeypatch.setattr("cnncli.cluster.extraction.TASK_IMAGES", 8)
    config = tiny_config(draw_dataset(tmp_path / "data", 40, 10, 10), training={})
    lost = next(node for node in cluster.list_all_nodes() if not node.head)
    n_answers = 0

    def counting(compute: Compute) -> Compute:
        def count(features: FeatureSet, missing: Any) -> Any:
            nonlocal n_answers
            for answer in compute(features, missing):
                n_answers += 1
                if n_answers == 3:
                    cluster.remove_node(lost, allow_graceful=False)
                yield answer

        return count

    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "here"))
    extract_features(config, CONSOLE)
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cluster"))
    with machines_at(cluster.address) as machines:
        found = extract_features(config, CONSOLE, machines=replace(machines, compute=counting(machines.compute)))

    assert found.features.computed == len(features_in(tmp_path / "here"))
    assert n_answers > 10
    assert features_in(tmp_path / "cluster") == features_in(tmp_path / "here")


def _kill_the_worker(*_arguments: object) -> None:
    os._exit(1)


def _lack_a_package(*_arguments: object) -> None:
    raise ModuleNotFoundError("No module named 'cnncli'")


@pytest.mark.filterwarnings("ignore")  # of Ray
def test_a_task_that_always_fails_is_an_error(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that fails, or kills its worker each time, ends the extraction; the caller's connection stays open."""
    import ray

    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    config = tiny_config(draw_dataset(tmp_path / "data", 4, 2, 2), training={})
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        for fail in (_lack_a_package, _kill_the_worker):
            monkeypatch.setattr("cnncli.cluster.extraction.compute_task", fail)
            with pytest.raises(ClusterError) as caught, machines_at(cluster.address) as machines:
                extract_features(config, CONSOLE, machines=machines)
            assert caught.value.code == "cluster-task-failed"
            assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # of Ray
def test_two_workers_train_like_one_process(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, one of which is killed and replaced, end with the weights of one process."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    training = {"epochs": 12, "batch_size": 8, "optimizer": SGD, "early_stopping": None}
    backbone = {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}}
    data = draw_dataset(tmp_path / "data", 11, 4, 4)
    config = tiny_config(data, mode="from-scratch", backbone=backbone, training=training)
    one = train(config, tmp_path / "one", CONSOLE)
    killed = threading.Thread(target=_kill_a_worker, args=(tmp_path / "two",), daemon=True)
    killed.start()
    with machines_at(cluster.address) as machines:
        two = train(config, tmp_path / "two", CONSOLE, machines=machines)
    killed.join(timeout=1)

    assert not killed.is_alive()
    assert difference(weights_of(one.folder), weights_of(two.folder)) < 1e-4
    assert [row.epoch for row in read_history(two.folder.history)] == list(range(1, 13))


def _kill_a_worker(runs: Path) -> None:
    """Kill a worker of Ray Train as soon as a run has trained three epochs."""
    import psutil

    while not any(len(path.read_text().splitlines()) > 3 for path in runs.glob("*/history.csv")):
        time.sleep(0.5)
    workers = [one for one in psutil.Process().children(recursive=True) if "TrainWorker" in " ".join(one.cmdline())]
    workers[-1].kill()
    print(f"killed {workers[-1].pid} of {len(workers)}")


SWEEP = """
import sys
from cnncli.cli import main
sys.exit(main(["sweep", *sys.argv[1:], "--json", "-q"]))
"""


def test_a_sweep_continues_after_its_driver_was_killed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of a sweep is killed during its first runs; the same command finishes all of them."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    training = {"epochs": 30, "batch_size": 8, "early_stopping": None}
    backbone = {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}}
    data = draw_dataset(tmp_path / "data", 11, 4, 4)
    config = tiny_config(data, mode="from-scratch", backbone=backbone, training=training, name="swept")
    (tmp_path / "swept.yaml").write_text(dump_config(config))
    command = [sys.executable, "-c", SWEEP, str(tmp_path / "swept.yaml"), "--cluster", cluster.address]
    command += ["training.optimizer.learning_rate=1e-4,1e-2,1e-1", "--runs-dir", str(tmp_path / "runs")]
    driver = subprocess.Popen(command)
    while not any(len(path.read_text().splitlines()) > 2 for path in tmp_path.glob("runs/*/history.csv")):
        assert driver.poll() is None
        time.sleep(0.2)
    driver.kill()
    driver.wait()
    n_before = len(list(run_folders(tmp_path / "runs")))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    runs = list(run_folders(tmp_path / "runs"))
    epochs = sorted(len(read_history(run.history)) for run in runs)

    assert done.returncode == 0, done.stderr
    assert 1 <= n_before <= len(runs) == 3
    assert epochs[-1] == 30
    assert "finished" in {run.read_facts()["state"] for run in runs}
    print(f"epochs of the runs: {epochs}")


def test_a_missing_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without a cluster is reported."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'cnncli[cluster]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError) as caught, machines_at("auto"):
        pass

    assert caught.value.code == "cluster-not-found"
