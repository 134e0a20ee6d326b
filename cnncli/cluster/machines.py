"""The machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnncli.cluster.connection import connected
from cnncli.cluster.extraction import ClusterTasks
from cnncli.cluster.sweeps import ClusterSweep
from cnncli.cluster.training import ClusterTraining
from cnncli.training.machines import HERE, Machines


@contextmanager
def machines_at(address: str | None) -> Iterator[Machines]:
    """Yield the machines of the cluster at an address, or this one. For errors, see `connected`."""
    if address is None:
        yield HERE
        return
    with connected(address) as ray:
        yield Machines(ClusterTasks(ray), ClusterTraining(ray))


@contextmanager
def sweeping_on(address: str | None) -> Iterator[ClusterSweep | None]:
    """Yield what trains the runs of a sweep on the cluster at an address, or None. For errors, see `connected`."""
    if address is None:
        yield None
        return
    with connected(address) as ray:
        yield ClusterSweep(ray)
