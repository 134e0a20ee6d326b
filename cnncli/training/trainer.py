"""A whole training: stage after stage on one classifier, each with its own cut, features and proof."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from cnncli.config.modes import Stage
from cnncli.errors import NonFiniteError
from cnncli.features.extract import Counts
from cnncli.networks.classifier import Classifier
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.runs.records import HistoryRow
from cnncli.storage.npz import Arrays
from cnncli.training.context import Division, Workshop, divide
from cnncli.training.feed import Labelled
from cnncli.training.inputs import Supply
from cnncli.training.mixing import MixedObjective, Mixing
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.stage import StageWork, train_stage
from cnncli.training.stage_report import LedgerEntry, plan_of
from cnncli.training.state import Incumbent, StageState, TrainingState, fitting, load_weights, moved_layers
from cnncli.training.steps import Scores, TailTrainer

EVERY_S = 60.0
"""Seconds after which a checkpoint is due in the middle of an epoch."""
MOST_OF_THE_TIME = 0.05
"""What checkpoints may take of a training's time: where one takes long or epochs are short, some are left out."""
MOST_SET_BACK = 2


class Recorder(Protocol):
    """Takes what a training tells of itself as it goes."""

    def add(self, row: HistoryRow) -> None:
        """Keep a row of history, as soon as its epoch is over."""
        ...

    def end_stage(self, entry: LedgerEntry) -> None:
        """Keep a stage's entry in the ledger."""
        ...

    def begin_with(self, rows: Sequence[HistoryRow], ledger: Sequence[LedgerEntry]) -> None:
        """Forget what was kept, and have this instead."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a training leaves beside the weights in the classifier.

    Attributes:
        best: the best epoch.
        ledger: of all stages.
        features: that were stored for it.
        last: the classifier as the last stage had it divided.
        supply: where the last stage had its features from.
        saving_s: seconds that this process has spent on checkpoints.
    """

    best: Incumbent
    ledger: tuple[LedgerEntry, ...]
    features: Counts
    last: Division
    supply: Supply
    saving_s: float


def train_stages(
    classifier: Classifier,
    stages: Sequence[Stage],
    shop: Workshop,
    recorder: Recorder,
    handed: Scores | None = None,
    checkpoints: Checkpoints | None = None,
) -> Outcome:
    """Train stage after stage; the classifier ends with the weights of the best epoch.

    Where there is a checkpoint of this training, it goes on from there, and ends with what it would have ended with.

    Args:
        classifier: with the weights to start from.
        stages: in order.
        shop: what they work with.
        recorder: takes history and ledger.
        handed: validation scores of the weights to start from, where another run measured them.
        checkpoints: of the run; None: nothing is kept.

    Raises:
        NonFiniteError: a loss, a score or a weight that is no number, and that a lower learning rate did not mend.
        TrainingError: weights moved that should not have, or none did.
        DataError: images that cannot be decoded any more.
        CutError: a stage names a layer that is not there.
        RunError: a checkpoint cannot be written.
        KeyboardInterrupt, Terminated: by a signal; there is a checkpoint then.
    """
    training = Training(classifier, stages, shop, recorder, handed, checkpoints)
    while True:
        try:
            return training.run()
        except NonFiniteError as error:
            if not training.set_back(error):
                raise


class Training:
    """Stages of one classifier, and what they leave behind for those that follow."""

    def __init__(
        self,
        classifier: Classifier,
        stages: Sequence[Stage],
        shop: Workshop,
        recorder: Recorder,
        handed: Scores | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        self._classifier, self._stages, self._shop = classifier, stages, shop
        self._recorder, self._handed = recorder, handed
        self._keeper = StageKeeper(classifier, recorder, checkpoints)
        self._features = Counts()
        self._resumed = checkpoints.newest() if checkpoints else None

    def run(self) -> Outcome:
        """Train the stages that are left."""
        state = self._keeper.state = self._restored()
        division: Division | None = None
        while len(state.ledger) < len(self._stages):
            division = self._train(state, self._stages[len(state.ledger)])
        if state.best is None:
            raise ValueError("a training has at least one stage")
        last = division or divide(self._classifier, self._stages[-1], self._shop)
        supply = Supply.of(last, self._shop)
        return Outcome(state.best, tuple(state.ledger), self._features, last, supply, self._keeper.saving_s)

    def set_back(self, error: NonFiniteError) -> bool:
        """Begin the epoch in which something ceased to be a number anew, with a lower learning rate; whether so.

        It is reached from the newest checkpoint between two epochs, whichever that is: what lies between comes out
        the same again.
        """
        state, epoch = self._keeper.state, self._keeper.epoch
        may = self._shop.config.training.on_nan == "rollback" and len(state.lowered) < MOST_SET_BACK
        if not may:
            return False
        self._resumed = self._keeper.newest_between_epochs([*state.lowered, (len(state.ledger), epoch)])
        if self._resumed is None:
            return False
        self._shop.console.warn(f"{error.problems[0]} Set back to the beginning of the epoch, at a tenth of the rate.")
        return True

    def _restored(self) -> TrainingState:
        if self._resumed is None:
            return TrainingState()
        with fitting():
            state = TrainingState.from_checkpoint(self._resumed.document)
            load_weights(self._classifier, moved_layers(state.ledger), self._resumed.arrays)
        self._recorder.begin_with(state.history, state.ledger)
        return state

    def _train(self, state: TrainingState, stage: Stage) -> Division:
        shop = self._shop
        division = divide(self._classifier, stage, shop)
        supply = Supply.of(division, shop)
        shop.store.keep_only(supply.keys())
        announce(self._classifier, division, supply, shop)
        work, computed = self._work(division, supply, state)
        self._features = self._features + computed
        resumed, self._resumed = self._resumed, None
        begun = _under_way(stage, resumed) if resumed else None
        self._keeper.epoch = begun[0].epoch if begun else 1
        state.best, entry = train_stage(work, self._keeper, shop.console, begun)
        del work  # holds features, which may have to make room for those of the next stage
        state.ledger.append(entry)
        self._recorder.end_stage(entry)
        if len(state.ledger) < len(self._stages):  # the last one's stays as it was, should more epochs be asked for
            self._keeper.save_all()
        used = {shop.choice.precision, division.engine.choice.precision if division.engine else division.precision}
        if problem := entry.hand_over_problem("bfloat16" if "bfloat16" in used else "float32"):
            shop.console.warn(problem)
        return division

    def _work(self, division: Division, supply: Supply, state: TrainingState) -> tuple[StageWork, Counts]:
        """What a stage trains with, and how much had to be stored for it now."""
        shop, number = self._shop, len(state.ledger)
        training, counts = supply.training_feed()
        validation, more = supply.validation_feed()
        work = StageWork(
            stage=division.stage,
            classifier=self._classifier,
            cut=division.cut,
            training=training,
            validation=validation,
            objective=_objective(shop, training.images),
            batch_size=shop.batch_size,
            monitor=shop.config.training.best.monitor,
            seed=shop.config.seed,
            precision=division.precision,
            mixing=Mixing.of(shop.config.augmentation, shop.config.seed),
            handed=state.best.validation if state.best else self._handed,
            incumbent=state.best,
            first_epoch=1 + sum(entry.epochs for entry in state.ledger),
            lowered_at=tuple(epoch for one, epoch in state.lowered if one == number),
        )
        return work, counts + more


def _under_way(stage: Stage, checkpoint: Checkpoint) -> tuple[StageState, Arrays] | None:
    """The stage that a checkpoint was written in, with its arrays; None where it lies between two stages."""
    with fitting():
        facts = checkpoint.document["stage"]
        return (StageState.from_checkpoint(stage, facts, checkpoint.arrays), checkpoint.arrays) if facts else None


class StageKeeper:
    """Keeps history and checkpoints of a training on its way."""

    def __init__(self, classifier: Classifier, recorder: Recorder, checkpoints: Checkpoints | None) -> None:
        self.state = TrainingState()
        self.epoch = 1
        self.saving_s = 0.0
        self._classifier, self._recorder, self._checkpoints = classifier, recorder, checkpoints
        self._saved, self._cost = time.monotonic(), 0.0

    def add(self, row: HistoryRow) -> None:
        """See `Keeper.add`."""
        self.state.history.append(row)
        self._recorder.add(row)

    def is_due(self, state: StageState) -> bool:
        """Between epochs as soon as writing it takes no more than a twentieth of the time, else once a minute."""
        self.epoch = state.epoch
        passed = time.monotonic() - self._saved
        return passed >= max(EVERY_S if state.sums.steps else 0.0, self._cost / MOST_OF_THE_TIME)

    def save(self, state: StageState, trainer: TailTrainer) -> None:
        """See `Keeper.save`."""
        self.epoch = state.epoch
        with self._clocked():
            self._write(self.state.checkpoint(self._classifier, state, trainer))

    def save_all(self) -> None:
        """Write a checkpoint between two stages."""
        with self._clocked():
            self._write(self.state.checkpoint(self._classifier))

    def newest_between_epochs(self, lowered: list[tuple[int, int]]) -> Checkpoint | None:
        """The newest checkpoint between two epochs, knowing from where on the rate is lower; written as such."""
        found = self._checkpoints.newest(between_epochs=True) if self._checkpoints else None
        if found is None or self._checkpoints is None:
            return None
        known = replace(found, document={**found.document, "lowered": [list(one) for one in lowered]})
        self._checkpoints.save(known)
        return known

    def _write(self, checkpoint: Checkpoint) -> None:
        if self._checkpoints is not None:
            self._checkpoints.save(checkpoint)

    @contextmanager
    def _clocked(self) -> Iterator[None]:
        """Note what a save takes, and when it was."""
        started = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._cost = self._saved - started
        self.saving_s += self._cost


def announce(classifier: Classifier, division: Division, supply: Supply, shop: Workshop) -> None:
    """One line before a stage's work: what trains, what runs the trunk, how much is stored, how long it will take."""
    plan = plan_of(division.stage.name, division.stage.unfreeze, classifier, division.cut)
    parts = [f"{plan.trainable_parameters:,} parameters train from {plan.trains_from} on in {division.precision}"]
    if division.engine is None:
        parts.append("nothing is frozen")
    else:
        choice = division.engine.choice
        parts.append(f"{plan.frozen_parameters:,} frozen, {choice.engine} {choice.precision}")
    if mixing := Mixing.of(shop.config.augmentation, shop.config.seed):
        parts.append(mixing.in_words(on_features=division.engine is not None))
    parts += supply.work_ahead().in_words()
    shop.console.phase(f"stage {plan.name}", " · ".join(parts))
    if supply.reason:
        shop.console.say(supply.reason)


def _objective(shop: Workshop, images: Labelled) -> Objective:
    config, n_classes = shop.config, len(shop.manifest.classes)
    weights = balanced_weights(images.labels, n_classes) if config.data.class_weights == "balanced" else None
    kind = MixedObjective if config.augmentation.mixes else Objective
    return kind(config.head.activation, n_classes, config.training.label_smoothing, weights)
