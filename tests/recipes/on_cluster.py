"""A Ray cluster of two nodes on this machine, all of whose ports are on the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Start a cluster of two nodes with a processor each, and yield it; skip the test without Ray."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # keeps every port on 127.0.0.1
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own name; its 15 starves workers
    pytest.importorskip("ray", reason="needs Ray: pip install 'cnncli[cluster]'")
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 200 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    options.pop("include_dashboard")
    try:
        cluster.add_node(**options)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
