"""How much memory a process may still take, and a bound so that asking for more fails instead of ending everything.

Linux grants more memory than there is, and later kills whoever uses it. Under a bound the allocation itself fails, and
what failed can be said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes(proc: Path = PROC, cgroup: Path = CGROUP, *, swap: bool = True) -> int | None:
    """What the machine, or the container, still has to give; None where the system does not tell.

    Args:
        proc: where Linux tells of memory.
        cgroup: where it tells of the limits of a container.
        swap: count what could be swapped out for it.
    """
    meminfo = _figures(proc / "meminfo", 1024)
    if "MemAvailable" not in meminfo:
        return None
    free = meminfo["MemAvailable"] + (meminfo.get("SwapFree", 0) if swap else 0)
    with suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())
        anonymous = _figures(cgroup / "memory.stat", 1)["anon"]
        free = min(free, limit - anonymous)
    return max(0, free)


@contextmanager
def bounded(share: float = 1.0, *, swap: bool = True) -> Iterator[None]:
    """Inside, this process gets no more private memory than what it has and a share of what there still is.

    Without swap, what fits is as fast as memory is. Where the system has no such bound, or somebody else has set a
    lower one, nothing changes.
    """
    available = available_bytes(swap=swap)
    with nullcontext() if available is None else limited(int(share * available)):
        yield


@contextmanager
def limited(extra_bytes: int) -> Iterator[bool]:
    """Inside, this process gets no more private memory than what it has and so many bytes.

    The block is given whether there is such a bound, or a lower one that somebody else has set.
    """
    taken = _figures(PROC / "self/status", 1024).get("VmData")
    if resource is None or taken is None:
        yield False
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = taken + extra_bytes
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield resource.getrlimit(resource.RLIMIT_DATA)[0] == bound
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _figures(path: Path, unit: int) -> dict[str, int]:
    """`name: number` or `name number` lines of a file of the kernel, in bytes; empty where there is no such file."""
    figures: dict[str, int] = {}
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, *values = line.replace(":", " ").split()
            if values and values[0].isdecimal():
                figures[name] = int(values[0]) * unit
    return figures
