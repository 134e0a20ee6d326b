"""`cnncli lr-find`: the loss over growing learning rates, and the rate that it suggests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.cli import main
from cnncli.config.writer import dump_config
from cnncli.training import batch_size
from cnncli.training.rate_range import RateRange
from tests.support.drawing import draw_dataset, tiny_config

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 48 training images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 24, 4, 2)


def write(data: Path, folder: Path, **changes: Any) -> str:
    """Write the config of a tiny network that is trained by gradients, and return its path."""
    path = folder / "config.yaml"
    path.write_text(dump_config(tiny_config(data, **{"mode": "from-scratch", **changes})))
    return str(path)


def find(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the document of a range test."""
    assert main(["lr-find", *words, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


SGD = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "sgd", "learning_rate": 0.01}}


def test_rates_grow_until_the_loss_diverges(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rates are a geometric series, the suggested one is in the useful range, and the result is reproducible."""
    words = [write(data, tmp_path, training=SGD), "--from", "1e-3", "--to", "1e4", "--steps", "70"]
    found = find([*words, "--out", str(tmp_path / "rates.png")], capsys)
    rates = [point["learning_rate"] for point in found["points"]]

    assert found["diverged"]
    assert len(rates) < 70
    assert rates == pytest.approx(np.geomspace(1e-3, 1e4, 70)[: len(rates)].tolist())
    assert found["low"] <= found["suggested"] <= found["high"] < rates[-1]
    assert found["setting"] == {"key": "training.optimizer.learning_rate", "value": found["suggested"]}
    assert (found["stage"], found["optimizer"], found["batch_size"]) == ("scratch", "sgd", 8)
    assert (tmp_path / "rates.png").stat().st_size > 5_000
    assert find(words, capsys) == found


def test_the_first_step_is_that_of_a_training(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With all images in a batch, the first loss is that of the initial weights, as a training reports it."""
    training = {**SGD, "batch_size": 48}
    words = [write(data, tmp_path, training=training), "--from", "1e-9", "--to", "1e-8", "--steps", "10"]
    found = find(words, capsys)
    optimizer = {"name": "sgd", "learning_rate": 1e-9}
    path = write(
        data, tmp_path, name="still", training={**training, "optimizer": optimizer, "best": {"monitor": "last"}}
    )
    main(["train", path, "--runs-dir", str(tmp_path / "runs")])
    (history,) = (tmp_path / "runs").glob("*/history.csv")
    row = dict(zip(*(line.split(",") for line in history.read_text().splitlines()[:2]), strict=True))

    assert found["suggested"] is None  # hardly anything changes
    assert found["points"][0]["loss"] == pytest.approx(float(row["loss"]), rel=1e-5)


def test_the_last_stage_is_tested_after_those_before_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fine-tuning starts from the trained head, and its rate is a tenth of the setting's; no run is written."""
    training = {"epochs": 8, "batch_size": 8, "unfreeze": 1, "optimizer": {"name": "adam", "learning_rate": 0.05}}
    path = write(data, tmp_path, mode="fine-tuning", training=training)
    words = [path, "--from", "1e-5", "--to", "10", "--steps", "40"]
    tuned, head = find(words, capsys), find([*words, "--stage", "head"], capsys)

    assert (tuned["stage"], head["stage"]) == ("fine-tune", "head")
    assert tuned["points"][0]["loss"] < head["points"][0]["loss"]
    assert tuned["learning_rate"] == pytest.approx(0.005)
    assert tuned["setting"]["key"] == "training.optimizer.learning_rate"
    if tuned["suggested"] is not None:
        assert tuned["setting"]["value"] == pytest.approx(10 * tuned["suggested"])
    assert not list(tmp_path.glob("**/run.json"))


@pytest.mark.parametrize(
    ("changes", "words", "code"),
    [
        ({"mode": "feature-extraction", "training": {}}, [], "config-no-learning-rate"),
        ({}, ["--stage", "haed"], "usage-stage-unknown"),
        ({}, ["--from", "1", "--to", "0.1"], "usage-value-invalid"),
        ({}, ["--out", "rates.txt"], "usage-suffix"),
    ],
)
def test_what_cannot_be_tested_is_refused_at_once(
    data: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    words: list[str],
    code: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A head that is solved exactly has no learning rate, and wrong options are reported before anything is built."""
    assert main(["lr-find", write(data, tmp_path, **changes), *words]) == 2
    assert f"[{code}]" in capsys.readouterr().err


def test_a_batch_that_cannot_fit_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outputs of the convolutions alone need more memory than there is: TensorFlow would crash."""
    path = write(data, tmp_path, training=SGD)
    monkeypatch.setattr(batch_size, "gpus", tuple)
    monkeypatch.setattr(batch_size, "available_bytes", lambda: 10_000)

    assert main(["lr-find", path]) == 2
    assert "[training-out-of-memory]" in capsys.readouterr().err


def test_the_text_compares_the_configs_rate_with_the_range(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output ends with the setting to copy."""
    words = [write(data, tmp_path, training=SGD), "--from", "1e-3", "--to", "1e4", "--steps", "40"]
    assert main(["lr-find", *words]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[-1].startswith("training.optimizer.learning_rate=")
    assert any("useful range" in line for line in lines)


def test_no_rate_is_suggested_without_a_fall() -> None:
    """A loss that only grows or stays has no useful range."""
    rates = np.geomspace(1e-3, 1, 20)

    assert RateRange.of(rates, np.full(20, 0.7), diverged=False).suggested is None
    assert RateRange.of(rates, np.linspace(0.7, 3, 20), diverged=True).suggested is None
    assert RateRange.of(rates, np.empty(0), diverged=True).points == ()
