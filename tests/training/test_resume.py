"""A training that is killed at any moment and resumed ends with the same weights, history and ledger."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.modes import stages_of
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.engines.engine import EngineChoice
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import NonFiniteError, RunError
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import build_classifier
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.runs.records import HistoryRow
from cnncli.terminal.console import Console
from cnncli.training.context import Workshop
from cnncli.training.steps import Sums, TailTrainer
from cnncli.training.trainer import train_stages
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.rows import Rows

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


class Killed(BaseException):
    """The process is gone."""


class KilledAfter(Checkpoints):
    """Checkpoints of a process that is killed once so many of them were written."""

    def __init__(self, folder: Path, saves: int) -> None:
        super().__init__(folder)
        self.left = saves

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it, and die where it was the last."""
        super().save(checkpoint)
        self.left -= 1
        if self.left == 0:
            raise Killed


@dataclass(frozen=True)
class Ended:
    """What a training ends with, but for times."""

    weights: str
    history: tuple[tuple[Any, ...], ...]
    ledger: tuple[dict[str, Any], ...]
    best: dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four images to train on, twelve to validate."""
    return draw_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def checkpoint_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the steps are."""
    monkeypatch.setattr("cnncli.training.trainer.EVERY_S", 0.0)
    monkeypatch.setattr("cnncli.training.trainer.MOST_OF_THE_TIME", float("inf"))


def _train(config: Config, store: Path, checkpoints: Checkpoints | None) -> Ended:
    """Train in what might be a new process: nothing is shared but the files."""
    shop = Workshop(
        config=config,
        manifest=build_manifest(config.data, config.seed),
        pixels=PixelSpec(32, 32, config.data.color, "stretch", 10**6),
        choice=EngineChoice("openvino", "bfloat16" if config.precision == "bfloat16" else "float32"),
        store=FeatureStore(store / "features"),
        graphs=store / "graphs",
        console=Console(quiet=True),
    )
    classifier, rows = build_classifier(config, 2), Rows()
    outcome = train_stages(classifier, stages_of(config), shop, rows, checkpoints=checkpoints)
    weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in classifier.model.weights)).hexdigest()
    history = tuple(tuple(v for name, v in asdict(row).items() if name not in TIMES) for row in rows.rows)
    assert list(outcome.ledger) == rows.ledger
    return Ended(weights, history, tuple(entry.to_dict() for entry in outcome.ledger), asdict(outcome.best))


@pytest.mark.parametrize("precision", ["float32", BFLOAT16])
def test_a_killed_training_ends_as_if_it_had_not_been(data: Path, tmp_path: Path, precision: str) -> None:
    """Killed again and again: with dropout, fresh renderings, MixUp, plateau, early stopping and two stages in play."""
    config = tiny_config(data, precision=precision, **EVERYTHING)
    whole = _train(config, tmp_path, None)
    kills = 0
    for saves in (1, 2, 3, 5, 4, 7, 6):
        with pytest.raises(Killed):
            _train(config, tmp_path, KilledAfter(tmp_path / "state", saves))
        kills += 1

    assert _train(config, tmp_path, Checkpoints(tmp_path / "state")) == whole
    assert kills == 7


@pytest.mark.slow
def test_every_checkpoint_leads_to_the_same_end(data: Path, tmp_path: Path) -> None:
    """Killed after the first one, the second, the third … of a whole training."""
    config = tiny_config(data, **EVERYTHING)
    whole, saves = _train(config, tmp_path, None), 0
    while True:
        saves += 1
        state = tmp_path / f"state-{saves}"
        try:
            assert _train(config, tmp_path, KilledAfter(state, saves)) == whole
            break
        except Killed:
            assert _train(config, tmp_path, Checkpoints(state)) == whole
    assert saves > 20


def test_a_finished_training_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    """Killed after its last checkpoint it only gives back what it has, and writes no other."""
    config = tiny_config(data)
    first = _train(config, tmp_path, Checkpoints(tmp_path / "state"))

    assert _train(config, tmp_path, KilledAfter(tmp_path / "state", 1)) == first


@pytest.mark.parametrize("left_out", ["optimizer/", "random/", "weight/", "best/"])
def test_a_state_that_lacks_something_ends_elsewhere(
    data: Path, tmp_path: Path, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: without this part of the state, it does."""
    config = tiny_config(data, **EVERYTHING)
    whole = _train(config, tmp_path, None)
    with pytest.raises(Killed):
        _train(config, tmp_path, KilledAfter(tmp_path / "state", 8))
    _, newest = (checkpoints := Checkpoints(tmp_path / "state")), Checkpoints(tmp_path / "state").newest()
    assert newest is not None
    fresh = {name: array * 0 if left_out in name else array for name, array in newest.arrays.items()}
    monkeypatch.setattr(Checkpoints, "newest", lambda *_, **__: Checkpoint(newest.document, fresh, False))

    assert _train(config, tmp_path, checkpoints) != whole


def test_a_loss_that_is_no_number_is_never_kept(data: Path, tmp_path: Path) -> None:
    """The newest checkpoint is from before it, made of numbers."""
    config = tiny_config(data, training={"epochs": 3, "optimizer": {"name": "sgd", "learning_rate": 1e38}})
    with pytest.raises(NonFiniteError, match=r"stage head, epoch \d, (step \d|validation)"):
        _train(config, tmp_path, Checkpoints(tmp_path / "state"))
    newest = Checkpoints(tmp_path / "state").newest()

    assert newest is not None
    assert all(np.isfinite(array).all() for array in newest.arrays.values())


def test_rolling_back_lowers_the_rate_twice_at_most(data: Path, tmp_path: Path) -> None:
    """One that is beyond help is an error after that."""
    hopeless = {"epochs": 3, "on_nan": "rollback", "optimizer": {"name": "sgd", "learning_rate": 1e38}}
    with pytest.raises(NonFiniteError):
        _train(tiny_config(data, training=hopeless), tmp_path, Checkpoints(tmp_path / "state"))
    newest = Checkpoints(tmp_path / "state").newest()

    assert newest is not None
    assert len(newest.document["lowered"]) == 2


def test_rolling_back_trains_the_epoch_anew_at_a_tenth_of_the_rate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that failed once is in the history once, and those before it as they were."""
    train_epoch, failures = TailTrainer.train_epoch, ["stage head, epoch 2: the loss became nan."]

    def failing(trainer: TailTrainer, batches: Any, rates: Any, where: str, *more: Any) -> Sums:
        sums = train_epoch(trainer, batches, rates, where, *more)
        if where.endswith("epoch 2") and failures:
            raise NonFiniteError(failures.pop())
        return sums

    settings: dict[str, Any] = {"epochs": 3, "on_nan": "rollback"}
    whole = _train(tiny_config(data, training=settings), tmp_path, None)
    monkeypatch.setattr(TailTrainer, "train_epoch", failing)
    ended = _train(tiny_config(data, training=settings), tmp_path, Checkpoints(tmp_path / "state"))
    names = [field.name for field in fields(HistoryRow) if field.name not in TIMES]
    epochs, rates = ([row[names.index(name)] for row in ended.history] for name in ("epoch", "learning_rate"))

    assert (epochs, failures) == ([1, 2, 3], [])
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4])
    assert ended.history[0] == whole.history[0]


class KilledWithinTheSecondEpoch(Checkpoints):
    """Checkpoints of a process that is killed as soon as one was written in the midst of its second epoch."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it, and die where it is that one."""
        super().save(checkpoint)
        if checkpoint.document["stage"]["epoch"] == 2 and not checkpoint.is_between_epochs:
            raise Killed


def test_rolling_back_right_after_a_resume_lowers_the_rate_of_no_epoch_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the process that meets the loss has trained that epoch from its beginning or not."""
    config = tiny_config(data, training={"epochs": 3, "on_nan": "rollback", "batch_size": 8})
    with pytest.raises(Killed):
        _train(config, tmp_path, KilledWithinTheSecondEpoch(tmp_path / "state"))
    train_epoch, failures = TailTrainer.train_epoch, ["stage head, epoch 2, step 2: the loss became nan."]

    def failing(trainer: TailTrainer, batches: Any, rates: Any, where: str, *more: Any) -> Sums:
        if where.endswith("epoch 2") and failures:
            raise NonFiniteError(failures.pop())
        return train_epoch(trainer, batches, rates, where, *more)

    monkeypatch.setattr(TailTrainer, "train_epoch", failing)
    ended = _train(config, tmp_path, Checkpoints(tmp_path / "state"))
    place = [field.name for field in fields(HistoryRow) if field.name not in TIMES].index("learning_rate")

    assert [row[place] for row in ended.history] == pytest.approx([1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize("change", ["less", "more", "another shape"])
def test_a_checkpoint_of_another_trainer_is_refused(data: Path, tmp_path: Path, change: str) -> None:
    """Its checksums are right: somebody put it there, or another version of Keras wrote it."""
    config, folder = tiny_config(data, training={"epochs": 2}), tmp_path / "state"
    with pytest.raises(Killed):
        _train(config, tmp_path, KilledAfter(folder, 3))
    newest = Checkpoints(folder).newest()
    assert newest is not None
    name = "trainer/optimizer/0002"
    array = newest.arrays.pop(name)
    if change == "more":
        newest.arrays.update({name: array, "trainer/optimizer/0999": array})
    elif change == "another shape":
        newest.arrays[name] = np.zeros((2, 3, 5), np.float32)
    Checkpoints(folder).save(newest)
    with pytest.raises(RunError, match=r"^a checkpoint in state/ is of another training \("):
        _train(config, tmp_path, Checkpoints(folder))
