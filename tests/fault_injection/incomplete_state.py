"""Check that the comparison of runs can fail: resume from an incomplete state, and as Keras itself does.

A try passes if the comparison reports a difference.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.runs import records
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from tests.fault_injection.trainings import prepare

ARRAYS = ("weight/", "optimizer/", "random/", "best/")
"""Parts of the names of arrays in a checkpoint. Each kind is left out in turn."""
FACTS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "epoch": lambda stage: stage.update(epoch=1),
    "totals": lambda stage: stage["totals"].update(steps=0, loss=0.0, n_correct=0.0, images=0),
    "best": lambda stage: stage.update(best=None),
    "plateau": lambda stage: stage.update(plateau=None),
    "early stopping": lambda stage: stage.update(stopping=None),
}
"""Functions that reset one fact about the current stage."""
ITEMS = (*ARRAYS, *FACTS, "history", "finished stages")
SAVES = 49
"""Checkpoints after which the training is killed: in the second stage, in the middle of an epoch."""


def every_item(work: Path, random: np.random.Generator) -> None:
    """Resume once for each item of the state, with that item missing."""
    missed = [item for item in ITEMS if not _is_noticed(work / item.strip("/"), item, int(random.integers(2**31)))]
    assert not missed, f"a training resumed without these items ends the same: {', '.join(missed)}"


def _is_noticed(work: Path, item: str, seed: int) -> bool:
    """Return whether a run that is resumed without an item of its state ends differently or fails."""
    trainer, reference = prepare(work, np.random.default_rng(seed))
    replace(trainer, before=save_after_each_step).kill_after_saves(SAVES)
    run = trainer.newest_run()
    assert run is not None
    newest = Checkpoints(run.state).newest()
    assert newest is not None
    assert newest.document["stage"] is not None
    Checkpoints(run.state).save(without(item, newest))
    try:
        return trainer.finish() != reference.result
    except AssertionError:
        return True


def save_after_each_step() -> None:
    """Write a checkpoint after every step, regardless of the time it takes."""
    records.CHECKPOINT_EVERY_S, records.MAX_CHECKPOINT_FRACTION = 0.0, float("inf")


def without(item: str, checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with one item reset to its value at the start of training."""
    document = json.loads(json.dumps(checkpoint.document))
    arrays = {name: array * 0 if item in name else array for name, array in checkpoint.arrays.items()}
    if item in FACTS:
        FACTS[item](document["stage"])
    elif item == "history":
        document["history"] = []
    elif item == "finished stages":
        document["stages"] = []
    return Checkpoint(document, arrays if item in ARRAYS else checkpoint.arrays, checkpoint.is_between_epochs)


def keras_backup_and_restore(work: Path, random: np.random.Generator) -> None:
    """Stop training between two epochs, and resume it in a new process with Keras's `BackupAndRestore`."""
    epochs = 4
    whole = _keras_weights(work / "whole", epochs, stop_after=None)
    stop_after = int(random.integers(1, epochs))
    _keras_weights(work / "stopped", epochs, stop_after)
    assert _keras_weights(work / "stopped", epochs, stop_after=None) != whole


def _keras_weights(folder: Path, epochs: int, stop_after: int | None) -> str:
    """Train in a forked process, and return the SHA-256 of the weights, or an empty string if training was stopped."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, _keras_training(folder, epochs, stop_after).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        digest = answer.read()
    os.waitpid(pid, 0)
    assert digest or stop_after, "the training in plain Keras failed"
    return digest


def _keras_training(folder: Path, epochs: int, stop_after: int | None) -> str:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((16,)), layers.Dense(32, "relu"), layers.Dropout(0.4), layers.Dense(2, "softmax")]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(96, 16)).astype(np.float32), random.integers(0, 2, 96)
    folder.mkdir(parents=True, exist_ok=True)

    def stop(epoch: int, _: Any) -> None:
        if stop_after is not None and epoch == stop_after:
            os._exit(0)  # before BackupAndRestore sees the epoch

    callbacks = [
        keras.callbacks.BackupAndRestore(str(folder / "backup")),
        keras.callbacks.LambdaCallback(on_epoch_begin=stop),
    ]
    model.fit(x, y, batch_size=8, epochs=epochs, callbacks=callbacks, verbose=0)
    return hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights())).hexdigest()
