"""Train the runs of a sweep with Ray Tune: several at a time, and with ASHA no longer than they are promising.

ASHA (Li et al. 2018, arXiv 1810.05934) compares runs after the same numbers of epochs and stops those that are not
among the best third. Tune records the state of the sweep in the folder of the runs, so the same command continues a
sweep whose driver was killed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.cluster.connection import cpus_per_task, failure_of
from cnncli.config.modes import stages_of
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.errors import CnncliError, Message
from cnncli.runs.records import HistoryRow
from cnncli.training.machines import Machines

FOLDER = ".tune"
"""Folder of Tune's records in the folder of the runs."""
KEPT_FRACTION = 3
"""One of this many runs continues after each comparison; the first one is after a ninth of the epochs."""

TrainRun = Callable[[Config, Path, Machines], None]
"""Trains or resumes the run of a config in a folder of runs, unless it is finished."""


@dataclass(frozen=True)
class ClusterSweep:
    """Trains the runs of a sweep on the cluster to which ray is connected."""

    ray: Any

    def __call__(
        self, runs: Mapping[str, Config], runs_dir: Path, monitor: str, lower_is_better: bool, train: TrainRun
    ) -> frozenset[str]:
        """Train runs by name, and return the names of those that were stopped before their last epoch."""
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler

        n_cpus = cpus_per_task(self.ray)
        trainable = tune.with_parameters(
            trial, runs=dict(runs), runs_dir=str(runs_dir), monitor=monitor, train=train, n_cpus=n_cpus
        )
        resources = {"cpu": n_cpus, **({"gpu": 1} if self.ray.cluster_resources().get("GPU") else {})}
        trainable, folder = tune.with_resources(trainable, resources), runs_dir / FOLDER / _name_of(runs)
        if tune.Tuner.can_restore(str(folder)):
            options = {"resume_unfinished": True, "restart_errored": True}
            tuner = tune.Tuner.restore(str(folder), trainable=trainable, **options)
        else:
            n_epochs = max(sum(stage.epochs for stage in stages_of(config)) for config in runs.values())
            first = max(1, n_epochs // KEPT_FRACTION**2)
            scheduler = ASHAScheduler("epoch", max_t=n_epochs + 1, grace_period=first, reduction_factor=KEPT_FRACTION)
            tuner = tune.Tuner(
                trainable,
                param_space={"run": tune.grid_search(list(runs))},
                tune_config=tune.TuneConfig(
                    metric=monitor, mode="min" if lower_is_better else "max", scheduler=scheduler
                ),
                run_config=tune.RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    failure_config=tune.FailureConfig(max_failures=3),
                    verbose=0,
                ),
            )
        try:
            results = [result.metrics or {} for result in tuner.fit()]
        except Exception as error:  # Ray's errors have no common base class

            def describe(reason: str) -> Message:
                text = f"--cluster: Ray Tune failed ({reason}). The same command resumes the sweep."
                return Message("cluster-sweep-failed", text, path=runs_dir, reason=reason)

            raise failure_of(error, describe) from error
        return frozenset(one["config"]["run"] for one in results if "config" in one and not one.get("is_over"))


def trial(
    given: Mapping[str, str], runs: Mapping[str, Config], runs_dir: str, monitor: str, train: TrainRun, n_cpus: int
) -> None:
    """Train a run, and report each epoch."""
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    os.environ["PYTHON_CPU_COUNT"] = str(n_cpus)
    from ray import tune

    last: dict[str, Any] = {"epoch": 0}

    def report(history: Sequence[HistoryRow]) -> None:
        if monitor in (row := history[-1]).metrics:
            last.update({monitor: row.metrics[monitor], "epoch": row.epoch})
            tune.report({**last, "is_over": False})

    with suppress(CnncliError):  # the driver trains a run that failed again, and reports why
        train(runs[given["run"]], Path(runs_dir), Machines(after_epoch=report))
    if monitor in last:
        tune.report({**last, "is_over": True})


def _name_of(runs: Mapping[str, Config]) -> str:
    """Return a name that changes with the runs of a sweep and their configs."""
    texts = [name + dump_config(config) for name, config in sorted(runs.items())]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
