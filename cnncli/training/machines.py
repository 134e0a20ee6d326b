"""The machines that compute features and train stages: this one, or those of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.features.extract import Compute, compute_here
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import AfterEpoch

if TYPE_CHECKING:
    from cnncli.config.schema import Config


@dataclass(frozen=True)
class Machines:
    """Functions that do work on other machines.

    Attributes:
        compute: Computes missing features.
        train: Trains all stages of a run with a config, and leaves the checkpoint after the last epoch; None: this
            process trains.
        after_epoch: Called with the history after each epoch, once its checkpoint is written.
    """

    compute: Compute = compute_here
    train: Callable[[RunFolder, Config], None] | None = None
    after_epoch: AfterEpoch | None = None


HERE = Machines()
