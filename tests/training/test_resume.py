"""Training that is killed at any moment and resumed gives the same weights, history and stage report."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.schema import Config
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import Message, NonFiniteError, RunError
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from cnncli.runs.checkpoints import Checkpoint
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import RunWriter
from cnncli.training.steps import EpochTotals, TrainStep
from cnncli.training.trainer import Trainer
from tests.support.drawing import tiny_config
from tests.support.logged import codes_in, message_in
from tests.training.contexts import context_for

TIMES = ("seconds", "images_per_s")
SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}
EVERYTHING: dict[str, Any] = {
    "head": {"layers": [{"dense": 8}, {"dropout": 0.4}, {"batch_norm": True}]},
    "augmentation": {"rotation_range": 20.0, "horizontal_flip": True, "views": "fresh", "mixup": 0.4},
    "training": {
        "batch_size": 8,
        "optimizer": {"name": "adam", "learning_rate": 0.02},
        "reduce_on_plateau": {"patience": 1, "factor": 0.5},
        "early_stopping": {"patience": 3},
        "stages": [
            {"name": "head", "epochs": 3},
            {
                "name": "all",
                "unfreeze": "all",
                "epochs": 4,
                "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
            },
        ],
    },
}
BFLOAT16 = pytest.param(
    "bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
)


class KilledError(BaseException):
    """The simulated process was killed."""


class KilledAfter(RunWriter):
    """A writer that simulates a kill after a number of checkpoints."""

    def __init__(self, folder: Path, saves: int) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(RunFolder(folder))
        self.left = saves

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint, and raise KilledError after the last one."""
        super().save_checkpoint(checkpoint)
        self.left -= 1
        if self.left == 0:
            raise KilledError


@dataclass(frozen=True)
class Ended:
    """Results of training without times."""

    weights: str
    history: tuple[tuple[Any, ...], ...]
    stages: tuple[dict[str, Any], ...]
    best: dict[str, Any]


@pytest.fixture(autouse=True)
def checkpoint_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint after every step, regardless of its duration."""
    _checkpoint_after_every_step(monkeypatch)


def _checkpoint_after_every_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cnncli.runs.records.CHECKPOINT_EVERY_S", 0.0)
    patch.setattr("cnncli.runs.records.MAX_CHECKPOINT_FRACTION", float("inf"))


def _writer(folder: Path) -> RunWriter:
    folder.mkdir(exist_ok=True)
    return RunWriter(RunFolder(folder))


def _train(config: Config, store: Path, writer: RunWriter | None = None) -> Ended:
    """Train as a new process would: only files are shared."""
    context, classifier = context_for(config, store), build_classifier(config, 2)
    with writer or _writer(store / f"run-{len(list(store.iterdir()))}") as writer:
        outcome = Trainer(classifier, context, writer).train()
    weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in classifier.model.weights)).hexdigest()
    history = tuple(tuple(v for name, v in row.to_dict().items() if name not in TIMES) for row in outcome.history)
    stages = tuple(report.to_dict() for report in outcome.stages)
    assert json.loads(writer.run.stages.read_text()) == json.loads(json.dumps(stages))
    return Ended(weights, history, stages, asdict(outcome.best))


def _newest(folder: Path) -> Checkpoint:
    """Return the newest checkpoint of a run."""
    found = _writer(folder).checkpoints.newest()
    assert found is not None
    return found


def _column(ended: Ended, name: str) -> list[Any]:
    """Return a column of the history."""
    names = ["stage", "epoch", "learning_rate"]
    return [row[names.index(name)] for row in ended.history]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Train `EVERYTHING` without an interruption."""
    return _train(tiny_config(data, **EVERYTHING), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def killed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train `EVERYTHING` with a checkpoint after every step, in a process that is killed in the first stage."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        _checkpoint_after_every_step(patch)
        with pytest.raises(KilledError):
            _train(tiny_config(data, **EVERYTHING), folder, KilledAfter(folder / "run", 8))
    return folder / "run"


@pytest.mark.parametrize("precision", ["float32", BFLOAT16])
def test_a_killed_training_ends_as_if_it_had_not_been_killed(
    data: Path, tmp_path: Path, precision: str, whole: Ended
) -> None:
    """Training with dropout, fresh views, MixUp, plateau, early stopping and two stages survives repeated kills."""
    config = tiny_config(data, precision=precision, **EVERYTHING)
    expected = whole if precision == "float32" else _train(config, tmp_path)
    for saves in (1, 9, 12):
        with pytest.raises(KilledError):
            _train(config, tmp_path, KilledAfter(tmp_path / "run", saves))

    assert _train(config, tmp_path, _writer(tmp_path / "run")) == expected


UPDATES = {
    "penalties": {"l1": 1e-3, "l2": 1e-2},
    "average": {"ema": 0.8},
    "accumulation": {"accumulation": 2},  # the third step of an epoch makes an update of its own
    "layer decay": {"layer_decay": 0.5},
}


@pytest.mark.parametrize("name", UPDATES)
def test_every_kind_of_update_survives_a_kill(data: Path, tmp_path: Path, name: str) -> None:
    """Killed in the middle of an epoch and at its end, training gives the same weights, which the setting changes."""
    common = {"epochs": 2, "batch_size": 8, "optimizer": SGD}

    def config(**training: Any) -> Config:
        return tiny_config(data, mode="from-scratch", training={**common, **training})

    expected = _train(config(**UPDATES[name]), tmp_path)
    for saves in (3, 2):
        with pytest.raises(KilledError):
            _train(config(**UPDATES[name]), tmp_path, KilledAfter(tmp_path / "run", saves))

    assert _train(config(**UPDATES[name]), tmp_path, _writer(tmp_path / "run")) == expected
    assert expected.weights != _train(config(), tmp_path).weights


def test_random_layers_of_a_saved_architecture_survive_a_kill(data: Path, tmp_path: Path) -> None:
    """Keras seeds their states from a global generator; attention keeps that of its dropout in a part of its own."""
    keras = import_keras()
    images = keras.Input((32, 32, 3))
    x = keras.layers.SpatialDropout2D(0.3)(keras.layers.LeakyReLU()(keras.layers.Conv2D(4, 8, 8)(images)))
    x = keras.layers.Reshape((16, 4))(x)
    x = keras.layers.MultiHeadAttention(2, 4, dropout=0.5)(x, x)
    keras.Model(images, keras.layers.Reshape((4, 4, 4))(x)).save(tmp_path / "random.keras")
    config = tiny_config(
        data,
        mode="from-scratch",
        backbone={"name": str(tmp_path / "random.keras"), "weights": "none"},
        training={"epochs": 2, "batch_size": 8},
    )
    whole = _train(config, tmp_path)
    with pytest.raises(KilledError):
        _train(config, tmp_path, KilledAfter(tmp_path / "run", 3))
    resumed = _train(config, tmp_path, _writer(tmp_path / "run"))

    assert resumed.weights == whole.weights


def test_inspected_layers_survive_a_kill(data: Path, tmp_path: Path) -> None:
    """Killed in the middle of an epoch and at its end, an inspected training ends with the same inspect.csv."""
    stages = [{"name": "head", "epochs": 1}, {"name": "all", "unfreeze": "all", "epochs": 2}]
    config = tiny_config(data, training={"batch_size": 8, "optimizer": SGD, "inspect": True, "stages": stages})
    expected = _train(config, tmp_path, _writer(tmp_path / "whole"))
    for saves in (3, 3, 3):
        with pytest.raises(KilledError):
            _train(config, tmp_path, KilledAfter(tmp_path / "run", saves))

    assert _train(config, tmp_path, _writer(tmp_path / "run")) == expected
    files = [RunFolder(tmp_path / name).inspection.read_text() for name in ("whole", "run")]
    assert files[0] == files[1]


@pytest.mark.slow
def test_every_checkpoint_leads_to_the_same_end(data: Path, tmp_path: Path, whole: Ended) -> None:
    """Killed after its first, second, third … checkpoint and resumed, training gives the same result."""
    config = tiny_config(data, **EVERYTHING)
    saves = 0
    while True:
        saves += 1
        folder = tmp_path / f"killed-{saves}"
        try:
            assert _train(config, tmp_path, KilledAfter(folder, saves)) == whole
            break
        except KilledError:
            assert _train(config, tmp_path, _writer(folder)) == whole
    assert saves > 20


def test_a_finished_training_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    """Resuming from the last checkpoint returns the result without training or writing another checkpoint."""
    config = tiny_config(data)
    first = _train(config, tmp_path, _writer(tmp_path / "run"))

    assert _train(config, tmp_path, KilledAfter(tmp_path / "run", 1)) == first


def test_resuming_reports_stage_epoch_and_step(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of an epoch, the number of completed steps is reported, too."""
    config = tiny_config(data, training={"epochs": 3, "batch_size": 8})
    with pytest.raises(KilledError):
        _train(config, tmp_path, KilledInSecondEpoch(tmp_path / "run"))
    _train(config, tmp_path, _writer(tmp_path / "run"))
    facts = message_in(caplog, "training-resumed").facts

    assert (facts["stage"], facts["epoch"], facts["step"]) == ("head", 2, 1)
    caplog.clear()
    _train(config, tmp_path, _writer(tmp_path / "run"))
    assert "training-resumed" in codes_in(caplog)


SLOW_PARTS = [pytest.param(part, marks=pytest.mark.slow) for part in ("random/", "weight/", "best/")]


@pytest.mark.parametrize("zeroed", ["optimizer/", *SLOW_PARTS])
def test_a_state_that_lacks_something_ends_elsewhere(
    data: Path, tmp_path: Path, zeroed: str, whole: Ended, killed: Path
) -> None:
    """If any one part of the saved state is missing, the result differs, so the comparison would detect it."""
    run = Path(shutil.copytree(killed, tmp_path / "run"))
    newest = _newest(run)
    arrays = {name: array * 0 if zeroed in name else array for name, array in newest.arrays.items()}
    _writer(run).save_checkpoint(Checkpoint(newest.document, arrays, newest.is_between_epochs))

    assert _train(tiny_config(data, **EVERYTHING), tmp_path, _writer(run)) != whole


def test_weights_that_are_nan_are_never_saved(data: Path, tmp_path: Path) -> None:
    """The newest checkpoint is from before the loss became NaN, and is finite."""
    config = tiny_config(data, training={"epochs": 3, "optimizer": {"name": "sgd", "learning_rate": 1e38}})
    with pytest.raises(NonFiniteError) as caught:
        _train(config, tmp_path, _writer(tmp_path / "run"))

    assert caught.value.code == "training-not-finite"
    assert str(caught.value.facts["where"]).startswith("stage head, epoch ")
    assert all(np.isfinite(array).all() for array in _newest(tmp_path / "run").arrays.values())


@pytest.mark.slow
def test_a_training_is_rolled_back_at_most_twice(data: Path, tmp_path: Path) -> None:
    """After two rollbacks, NaN is an error."""
    hopeless = {"epochs": 3, "on_nan": "rollback", "optimizer": {"name": "sgd", "learning_rate": 1e38}}
    with pytest.raises(NonFiniteError):
        _train(tiny_config(data, training=hopeless), tmp_path, _writer(tmp_path / "run"))

    assert len(_newest(tmp_path / "run").document["lowered"]) == 2


def _failing_once(epoch: str, after: bool) -> Callable[..., EpochTotals]:
    """Return a `train_epoch` that fails once, before or after training an epoch."""
    train_epoch, failures = TrainStep.train_epoch, [Message("training-not-finite", "The loss became NaN.")]

    def train(step: TrainStep, batches: Any, rates: Any, where: str, *more: Any) -> EpochTotals:
        if where.endswith(epoch) and failures and not after:
            raise NonFiniteError(failures.pop())
        totals = train_epoch(step, batches, rates, where, *more)
        if where.endswith(epoch) and failures:
            raise NonFiniteError(failures.pop())
        return totals

    return train


def test_a_rollback_repeats_the_epoch_with_a_tenth_of_the_learning_rate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The history contains the repeated epoch once, and earlier epochs are unchanged."""
    config = tiny_config(data, training={"epochs": 3, "on_nan": "rollback"})
    whole = _train(config, tmp_path)
    monkeypatch.setattr(TrainStep, "train_epoch", _failing_once("epoch 2", after=True))
    ended = _train(config, tmp_path, _writer(tmp_path / "run"))

    assert _column(ended, "epoch") == [1, 2, 3]
    assert _column(ended, "learning_rate") == pytest.approx([1e-3, 1e-4, 1e-4])
    assert ended.history[0] == whole.history[0]
    assert message_in(caplog, "training-rolled-back").facts["epoch"] == 2


class KilledInSecondEpoch(KilledAfter):
    """A writer that simulates a kill after the first checkpoint within the second epoch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, saves=10**9)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint, and raise KilledError if it is that one."""
        super().save_checkpoint(checkpoint)
        if checkpoint.document["stage"]["epoch"] == 2 and not checkpoint.is_between_epochs:
            raise KilledError


@pytest.mark.slow
def test_a_rollback_right_after_a_resume_lowers_the_learning_rate_of_no_earlier_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result does not depend on whether the process that meets NaN started the epoch itself."""
    config = tiny_config(data, training={"epochs": 3, "on_nan": "rollback", "batch_size": 8})
    with pytest.raises(KilledError):
        _train(config, tmp_path, KilledInSecondEpoch(tmp_path / "run"))
    monkeypatch.setattr(TrainStep, "train_epoch", _failing_once("epoch 2", after=False))
    ended = _train(config, tmp_path, _writer(tmp_path / "run"))

    assert _column(ended, "learning_rate") == pytest.approx([1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize("change", ["less", "more", "another shape", "no state"])
def test_a_checkpoint_of_another_training_is_refused(data: Path, tmp_path: Path, change: str, killed: Path) -> None:
    """A valid checkpoint that belongs to a different run or Keras version is refused."""
    config, folder = tiny_config(data, **EVERYTHING), Path(shutil.copytree(killed, tmp_path / "run"))
    newest = _newest(folder)
    name = "trainer/optimizer/0002"
    array = newest.arrays.pop(name)
    document = dict(newest.document)
    if change == "more":
        newest.arrays.update({name: array, "trainer/optimizer/0999": array})
    elif change == "another shape":
        newest.arrays[name] = np.zeros((2, 3, 5), np.float32)
    elif change == "no state":
        newest.arrays[name] = array
        document["stage"] = {"epoch": "many"}
    _writer(folder).save_checkpoint(Checkpoint(document, newest.arrays, newest.is_between_epochs))
    with pytest.raises(RunError) as caught:
        _train(config, tmp_path, _writer(folder))

    assert caught.value.code == "run-checkpoint-mismatch"


def test_a_checkpoint_of_the_format_before_resumes(data: Path, tmp_path: Path, whole: Ended) -> None:
    """A checkpoint in the previous format resumes with the same weights, history and stage report."""
    config = tiny_config(data, **EVERYTHING)
    with pytest.raises(KilledError):
        _train(config, tmp_path, KilledAfter(tmp_path / "run", 15))
    newest = _newest(tmp_path / "run")
    document = _as_format_1(dict(newest.document))
    assert document["ledger"], "the second stage is under way"
    _writer(tmp_path / "run").save_checkpoint(Checkpoint(document, newest.arrays, newest.is_between_epochs))

    assert _train(config, tmp_path, _writer(tmp_path / "run")) == whole


def _as_format_1(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the keys of format 1."""

    def report(values: dict[str, Any]) -> dict[str, Any]:
        plain = {**values, **values["plan"]}
        plain["handed_val_loss"] = plain.pop("inherited_val_loss")
        return {name: value for name, value in plain.items() if name != "plan"}

    def row(values: dict[str, Any]) -> dict[str, Any]:
        plain = {**values, **values["metrics"]}
        return {name: value for name, value in plain.items() if name != "metrics"}

    stage = dict(document["stage"])
    totals = stage.pop("totals")
    stage["sums"] = {**totals, "right": totals.pop("n_correct")}
    return {
        "format": 1,
        "history": [row(values) for values in document["history"]],
        "ledger": [report(values) for values in document["stages"]],
        "best": document["best"],
        "lowered": document["lowered"],
        "stage": stage,
    }
