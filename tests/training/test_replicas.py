"""Training on several devices: two logical CPUs of a new process against one, and devices that do not exist."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.reader import config_from_mapping
from cnncli.dataset.build import build_manifest
from cnncli.errors import ConfigError
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.replicas import ONE_DEVICE, build_replicas
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.two_devices import CASES

pytestmark = pytest.mark.timeout(1200)  # half a minute of a process that imports TensorFlow, on an idle machine
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the differences between one and two devices in all cases."""
    folder = tmp_path_factory.mktemp("two")
    data = draw_dataset(folder / "data", 11, 4, 4)
    command = [sys.executable, "-m", "tests.training.two_devices", str(data), str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("case", [*CASES, "the second alone"])
def test_two_devices_train_like_one(found: dict[str, Any], case: str) -> None:
    """Weights, losses and predictions are those of one device, with uneven last batches and batch normalization."""
    differences = found[case]

    assert differences["moved"] > 0.01
    assert differences["weights"] < 1e-6
    assert differences["n_correct"] == 0
    assert max(differences["loss"], differences["logits"], differences["evaluated"]) < 1e-4


def test_one_device_can_be_any(found: dict[str, Any]) -> None:
    """A list of one number trains on that device, not on the first."""
    assert [place[-5:] for place in found["places"]["the second alone"]] == ["CPU:1"]


def test_devices_drop_other_units(found: dict[str, Any]) -> None:
    """Dropout differs between the devices, and a loaded state continues with the same bits on each of them."""
    assert found["dropout"] == {"parts_differ": True, "resumed": 0.0}


def test_a_run_on_two_devices_resumes_exactly(found: dict[str, Any]) -> None:
    """A run on two devices ends with the weights of one device, and interrupted with the same bits as otherwise."""
    assert found["runs"]["weights"] < 1e-4
    assert (found["runs"]["state"], found["runs"]["resumed"]) == ("stopped", 0.0)


@pytest.mark.parametrize(("devices", "number"), [(9, 1), ([0, 5], 5)])
def test_missing_devices_are_refused(tmp_path: Path, devices: Any, number: int) -> None:
    """A device that this machine lacks is refused before the run is created."""
    config = tiny_config(tmp_path, mode="from-scratch", training={"epochs": 1, "devices": devices})
    with pytest.raises(ConfigError) as caught:
        build_replicas(config)

    assert caught.value.code == "training-device-missing"
    assert caught.value.facts["received"] == number


def test_a_device_cannot_be_named_twice() -> None:
    """A list with the same number twice is an error of the config."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"data": {"path": "."}, "training": {"devices": [0, 0]}}, environment={})

    assert caught.value.facts["key"] == "training.devices"


@pytest.mark.parametrize("devices", [1, "all", [0]])
def test_one_device_needs_no_strategy(tmp_path: Path, devices: Any) -> None:
    """A single device is used without tf.distribute."""
    config = tiny_config(tmp_path, mode="from-scratch", training={"epochs": 1, "devices": devices})

    assert build_replicas(config) is ONE_DEVICE


def test_a_solved_head_needs_no_devices(tmp_path: Path) -> None:
    """A head that is solved exactly stays in one process, whatever devices are named."""
    config = tiny_config(draw_dataset(tmp_path / "data", 4, 2, 2), training={"devices": 4})
    manifest = build_manifest(config.data, 0)

    assert TrainingContext.for_this_machine(config, manifest, Console(quiet=True)).replicas is ONE_DEVICE
