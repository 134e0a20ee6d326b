"""The machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnncli.cluster.connection import connected
from cnncli.cluster.extraction import ClusterTasks
from cnncli.training.machines import HERE, Machines


@contextmanager
def machines_at(address: str | None) -> Iterator[Machines]:
    """Yield the machines of the cluster at an address, or this one. For errors, see `connected`."""
    if address is None:
        yield HERE
        return
    with connected(address) as ray:
        yield Machines(ClusterTasks(ray))
