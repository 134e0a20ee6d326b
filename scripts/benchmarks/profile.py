"""Time of a call by operation, from TensorFlow's profiler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

KERNELS = "_Mkl"
"""TensorFlow's names of operations that oneDNN computes begin with it: convolutions, matrix products, pooling."""
OPERATION = ":"
"""A profile has NAME:OPERATION for operations, and other names for the parts that call them."""


def share_of_kernels(call: Callable[[], None], folder: Path) -> float:
    """Return the percentage of the time of all operations of a call that oneDNN's kernels take."""
    import tensorflow as tf

    call()
    tf.profiler.experimental.start(str(folder))
    call()
    tf.profiler.experimental.stop()
    times = _times_ps(max(folder.rglob("*.xplane.pb")))
    return 100 * sum(time for name, time in times.items() if name.startswith(KERNELS)) / times.total()


def _times_ps(path: Path) -> Counter[str]:
    """Return the picoseconds of each kind of operation in a profile."""
    # TensorFlow has no public reader of its profiles.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space, times = xplane_pb2.XSpace(), Counter[str]()
    space.ParseFromString(path.read_bytes())
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            _, colon, operation = name.rpartition(OPERATION)
            if colon and "::" not in name and not operation.startswith(" "):
                times[operation] += event.duration_ps
    return times
