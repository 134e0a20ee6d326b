"""Train the stages of a run on a Ray cluster: one worker per GPU, or per node, that Ray starts and starts again.

The workers train with `tf.distribute.MultiWorkerMirroredStrategy`. Each reads the whole batch and trains on its part.
The first one writes the records and checkpoints of the run, whose folder all nodes share. When a worker is lost, all of
them resume from the last checkpoint. This process then resumes after the last epoch, and evaluates the run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnncli.cluster.connection import cpus_per_task, failure_of, task_environment
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.build import graphs_in_use
from cnncli.errors import ClusterError, Message
from cnncli.networks.classifier import build_classifier
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import RunWriter
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.replicas import Replicas, require_divisible
from cnncli.training.trainer import Trainer

MAX_RESTARTS = 3
"""Number of times that all workers start again after one was lost."""

TIMEOUTS_S = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": 900}
"""Time for all workers to start, which import TensorFlow: on a busy machine it takes minutes, and Ray waits for one."""


@dataclass(frozen=True)
class ClusterTraining:
    """Trains the stages of a run on the cluster to which ray is connected."""

    ray: Any

    @property
    def n_workers(self) -> int:
        """Number of GPUs of the cluster, or else of its nodes."""
        n_nodes = sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in self.ray.nodes())
        return int(self.ray.cluster_resources().get("GPU", 0)) or n_nodes

    def __call__(self, run: RunFolder, config: Config) -> None:
        """Train all stages, and leave the checkpoint after the last epoch.

        Raises:
            ClusterError: The workers failed more often than `MAX_RESTARTS`, or the run has a parent.
            ConfigError: The workers cannot share each batch evenly.
        """
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer

        if run.read_facts().get("parent"):
            text = "--cluster trains runs without a parent. Train this one without it."
            raise ClusterError(Message("cluster-run-has-parent", text, path=run.path))
        require_divisible(config, self.n_workers, "--cluster")
        for variable, seconds in TIMEOUTS_S.items():
            os.environ.setdefault(variable, str(seconds))
        n_cpus, has_gpus = cpus_per_task(self.ray), self.ray.cluster_resources().get("GPU", 0) > 0
        resources = {} if has_gpus else {"resources_per_worker": {"CPU": n_cpus}}
        with tempfile.TemporaryDirectory() as storage:
            trainer = TensorflowTrainer(
                train_worker,
                train_loop_config={"run": str(run.path)},
                scaling_config=ScalingConfig(num_workers=self.n_workers, use_gpu=has_gpus, **resources),
                run_config=RunConfig(
                    storage_path=storage,
                    failure_config=FailureConfig(max_failures=MAX_RESTARTS),
                    worker_runtime_env=task_environment(n_cpus),
                ),
            )
            try:
                trainer.fit()
            except Exception as error:  # Ray's errors have no common base class

                def describe(reason: str) -> Message:
                    text = f"--cluster: the workers failed ({reason})."
                    return Message("cluster-workers-failed", text, path=run.path, reason=reason)

                raise failure_of(error, describe) from error


def train_worker(settings: dict[str, str]) -> None:
    """Train the stages of a run as one of the workers; each ends with the same weights."""
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray sets it
    from ray import train

    from cnncli.networks.backend import import_keras

    import_keras()
    import tensorflow as tf

    replicas = Replicas(tf.distribute.MultiWorkerMirroredStrategy(), train.get_context().get_world_rank())
    run = RunFolder(Path(settings["run"]))
    config, manifest = load_resolved(run.config), Manifest.from_csv(run.manifest)
    context = TrainingContext.for_this_machine(config, manifest, Console(quiet=True))
    context = replace(context, replicas=replicas)
    with graphs_in_use(context.graphs), context.store, _writer(run, replicas.first) as writer:
        Trainer(build_classifier(config, len(manifest.classes)), context, writer).train()


@contextmanager
def _writer(run: RunFolder, rank: int) -> Iterator[RunWriter]:
    """Provide the writer of the run to the first worker, and one of a temporary copy to the others."""
    from ray.train.collective import barrier

    with tempfile.TemporaryDirectory() as copy:
        if rank and run.state.is_dir():
            shutil.copytree(run.state, RunFolder(Path(copy)).state)
        barrier()  # training writes checkpoints, so it begins when all processes have read the last one
        with RunWriter(run if rank == 0 else RunFolder(Path(copy))) as writer:
            yield writer
