"""Errors of a Ray cluster are the user's or the environment's, and exit with code 2."""

from __future__ import annotations

import pytest

from cnncli.cluster.connection import cause_of, connected
from cnncli.errors import ClusterError, DataError, Message

pytest.importorskip("ray")


def test_an_error_of_cnncli_is_found_in_what_ray_raises() -> None:
    """An error of cnncli in a task or a worker is the cause, else the innermost error."""
    from ray.exceptions import RayTaskError
    from ray.train import WorkerGroupError

    ours, other = DataError(Message("data-images-missing", "photos: none can be read")), RuntimeError("no memory")
    for inner in (ours, other):
        task = RayTaskError("train_worker", "Traceback …", inner)
        assert cause_of(task) is inner
        assert cause_of(WorkerGroupError("Training failed", {0: task})) is inner
    assert cause_of(other) is other


def test_errors_that_cause_each_other_have_a_cause() -> None:
    """A library may raise an error from itself."""
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first

    assert cause_of(first) is second


@pytest.mark.timeout(60)
@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "ray://127.0.0.1:1", "127.0.0.1:x"])
def test_an_address_without_a_cluster_is_an_error_of_the_environment(address: str) -> None:
    """The message does not take the minutes for which Ray would wait."""
    with pytest.raises(ClusterError) as error, connected(address):
        pass
    assert (error.value.problems[0].code, error.value.exit_code) == ("cluster-not-found", 2)
