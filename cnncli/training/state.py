"""Where a training is: everything that decides how it goes on, as plain data and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from cnncli.config.modes import Stage
from cnncli.engines.engine import Array
from cnncli.errors import RunError, printable
from cnncli.networks.classifier import Classifier
from cnncli.runs.checkpoints import Checkpoint
from cnncli.runs.records import HistoryRow
from cnncli.storage.npz import Arrays
from cnncli.training.callbacks import EarlyStopping, Plateau
from cnncli.training.stage_report import LedgerEntry, WeightHashes
from cnncli.training.steps import Scores, Sums, TailTrainer


@dataclass(frozen=True)
class Incumbent:
    """The best epoch of a run so far.

    Attributes:
        epoch: counted across the run.
        value: of the monitored metric.
        validation: its validation scores.
    """

    epoch: int
    value: float
    validation: Scores

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any] | None) -> Incumbent | None:
        """What `asdict` made of one, or of None."""
        if facts is None:
            return None
        return cls(facts["epoch"], facts["value"], Scores(**facts["validation"]))


@dataclass
class StageState:
    """What epochs and steps of a stage change, beside what its trainer holds.

    Attributes:
        start: validation scores of the weights it began with, on its own path.
        before: hashes of these weights.
        best: the best epoch of the run so far; None before the first.
        best_weights: the tail's weights of that epoch.
        epoch: under way, counted from 1 within the stage.
        sums: of that epoch's steps.
        plateau, stopping: what watches the metrics, where anything does.
        has_stopped: early.
        features: checksums of the stored features that it trains and validates on.
    """

    start: Scores
    before: WeightHashes
    best: Incumbent | None
    best_weights: list[Array]
    epoch: int = 1
    sums: Sums = field(default_factory=Sums)
    plateau: Plateau | None = None
    stopping: EarlyStopping | None = None
    has_stopped: bool = False
    features: list[str] = field(default_factory=list)

    @classmethod
    def begin(
        cls, stage: Stage, start: Scores, before: WeightHashes, best: Incumbent | None, weights: list[Array]
    ) -> StageState:
        """Before the first epoch."""
        plateau = Plateau(stage.reduce_on_plateau) if stage.reduce_on_plateau else None
        stopping = EarlyStopping(stage.early_stopping) if stage.early_stopping else None
        return cls(start, before, best, weights, plateau=plateau, stopping=stopping)

    @classmethod
    def from_checkpoint(cls, stage: Stage, facts: Mapping[str, Any], arrays: Arrays) -> StageState:
        """What `to_dict` and `arrays` told."""
        names = sorted(name for name in arrays if name.startswith("best/"))
        before = WeightHashes(facts["before"]["frozen"], facts["before"]["layers"])
        best = Incumbent.from_dict(facts["best"])
        state = cls.begin(stage, Scores(**facts["start"]), before, best, [arrays[name] for name in names])
        state.epoch, state.sums, state.has_stopped = facts["epoch"], Sums(**facts["sums"]), facts["has_stopped"]
        state.features = facts["features"]
        for watcher, told in ((state.plateau, facts["plateau"]), (state.stopping, facts["stopping"])):
            if watcher is not None and told is not None:
                watcher.load(told)
        return state

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as plain data."""
        return {
            "epoch": self.epoch,
            "sums": asdict(self.sums),
            "start": asdict(self.start),
            "before": {"frozen": self.before.frozen, "layers": dict(self.before.layers)},
            "best": self.best and asdict(self.best),
            "plateau": self.plateau and self.plateau.to_dict(),
            "stopping": self.stopping and self.stopping.to_dict(),
            "has_stopped": self.has_stopped,
            "features": self.features,
        }

    def arrays(self, trainer: TailTrainer) -> Arrays:
        """The arrays, with those of the trainer."""
        best = {f"best/{number:04}": weight for number, weight in enumerate(self.best_weights)}
        return {**best, **{f"trainer/{name}": array for name, array in trainer.arrays().items()}}

    def load_trainer(self, trainer: TailTrainer, arrays: Arrays) -> None:
        """Put a trainer where the checkpoint's was.

        Raises: RunError: these arrays are of another trainer.
        """
        prefix = "trainer/"
        theirs = {name[len(prefix) :]: arrays[name] for name in arrays if name.startswith(prefix)}
        with fitting():
            if odd := theirs.keys() ^ trainer.arrays().keys():
                raise ValueError(f"{min(odd)} is in one of the two")
            trainer.load_arrays(theirs)


@dataclass
class TrainingState:
    """What stages leave behind for those that follow.

    Attributes:
        history: of all epochs.
        ledger: of the stages that are over.
        best: the best epoch so far.
        lowered: stage (counted from 0) and epoch of each time that the loss ceased to be a number: from that epoch on
            the stage's learning rate is lower.
    """

    history: list[HistoryRow] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    best: Incumbent | None = None
    lowered: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def from_checkpoint(cls, facts: Mapping[str, Any]) -> TrainingState:
        """What `to_dict` told."""
        return cls(
            history=[HistoryRow(**row) for row in facts["history"]],
            ledger=[LedgerEntry.from_dict(entry) for entry in facts["ledger"]],
            best=Incumbent.from_dict(facts["best"]),
            lowered=[(stage, epoch) for stage, epoch in facts["lowered"]],
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "history": [asdict(row) for row in self.history],
            "ledger": [entry.to_dict() for entry in self.ledger],
            "best": self.best and asdict(self.best),
            "lowered": [list(one) for one in self.lowered],
        }

    def checkpoint(
        self, classifier: Classifier, stage: StageState | None = None, trainer: TailTrainer | None = None
    ) -> Checkpoint:
        """All of it: the weights that finished stages have moved, and what the stage under way holds."""
        arrays = weights_of(classifier, moved_layers(self.ledger))
        if stage is not None and trainer is not None:
            arrays.update(stage.arrays(trainer))
        document = {**self.to_dict(), "stage": stage and stage.to_dict()}
        return Checkpoint(document, arrays, is_between_epochs=stage is None or stage.sums.steps == 0)


def moved_layers(ledger: Sequence[LedgerEntry]) -> list[str]:
    """The layers that stages have trained."""
    return list(dict.fromkeys(layer for entry in ledger for layer in entry.plan.trained_layers))


def weights_of(classifier: Classifier, layers: Sequence[str]) -> Arrays:
    """The weights of some layers, by `moved/LAYER/NUMBER`."""
    return {
        f"moved/{name}/{number}": weight
        for name in layers
        for number, weight in enumerate(classifier.model.get_layer(name).get_weights())
    }


def load_weights(classifier: Classifier, layers: Sequence[str], arrays: Arrays) -> None:
    """Give layers the weights that `weights_of` told."""
    for name in layers:
        layer = classifier.model.get_layer(name)
        layer.set_weights([arrays[f"moved/{name}/{number}"] for number in range(len(layer.weights))])


@contextmanager
def fitting() -> Iterator[None]:
    """A checkpoint whose checksums are right can still be of another training, put there by somebody."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"a checkpoint in state/ is of another training ({printable(str(error))[:200]}). Train anew."
        ) from error
