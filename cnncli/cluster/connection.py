"""The connection to a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from cnncli.errors import ClusterError, CnncliError, Message, reason_of

USAGE = "RAY_USAGE_STATS_ENABLED"
"""Ray sends usage statistics unless this variable is 0."""

CONNECT_TIMEOUT_S = 20.0
"""Time for a connection to the head of the cluster."""


def import_ray() -> Any:
    """Import ray, without its telemetry. Raises ClusterError if it is not installed."""
    os.environ[USAGE] = "0"
    try:
        import ray
    except ImportError as error:
        text = "--cluster needs Ray. Install it with: pip install 'cnncli[cluster]'"
        raise ClusterError(Message("cluster-not-installed", text, key="--cluster")) from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect this process to a cluster, `auto` for the one on this machine, and yield ray.

    A connection that the caller has opened is used and left open.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        _require_listening(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray's errors have no common base class
        reason = reason_of(error)
        text = (
            f"--cluster {address}: no connection ({reason}). Start one with `ray start --head`, on a private network."
        )
        raise ClusterError(Message("cluster-not-found", text, received=address, reason=reason)) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_term)  # Ray replaces it
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_listening(address: str) -> None:
    """Raise OSError if nothing accepts connections at HOST:PORT, for which Ray would wait for minutes."""
    place = urlsplit(address if "://" in address else f"ray://{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), CONNECT_TIMEOUT_S).close()


def cause_of(error: BaseException) -> BaseException:
    """Return the error of cnncli that an error of Ray wraps, or else the error in a worker or task, if there is one."""
    found, seen, others = error, set[int](), list[BaseException]([error])
    while others:
        found = others.pop()
        if isinstance(found, CnncliError):
            break
        seen.add(id(found))
        inner = [getattr(found, "cause", None), found.__cause__, *getattr(found, "worker_failures", {}).values()]
        others += [one for one in inner if isinstance(one, BaseException) and id(one) not in seen]
    return found


def failure_of(error: Exception, describe: Callable[[str], Message]) -> CnncliError:
    """Return the error of cnncli that an error of Ray wraps, or else a ClusterError that describes the reason."""
    cause = cause_of(error)
    return cause if isinstance(cause, CnncliError) else ClusterError(describe(reason_of(cause)))


def cpus_per_task(ray: Any) -> int:
    """Return the number of processors of the smallest node, so that each node runs a task at a time or more."""
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max(1, min((n for n in cpus if n), default=1))


def task_environment(n_cpus: int) -> dict[str, Any]:
    """Return the runtime environment of a task with some processors, which may be only a part of its machine."""
    variables = {"PYTHON_CPU_COUNT": str(n_cpus), "TF_CPP_MIN_LOG_LEVEL": "3", USAGE: "0"}
    return {"env_vars": variables}
