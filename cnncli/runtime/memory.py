"""Available memory, a limit that makes allocations fail before the system kills the process, and freed memory.

Linux grants more memory than it has, and later kills a process that uses it. With a limit, the allocation fails
instead, which can be reported.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
LARGE_BYTES = 4 << 20
"""Size from which `return_large_blocks` has freed memory returned."""
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h


def available_bytes(proc: Path = PROC, cgroup: Path = CGROUP, *, swap: bool = True) -> int | None:
    """Return the available memory of the machine or container, or None if the system does not report it."""
    meminfo = _read_sizes(proc / "meminfo", 1024)
    if "MemAvailable" not in meminfo:
        return None
    free = meminfo["MemAvailable"] + (meminfo.get("SwapFree", 0) if swap else 0)
    with suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())
        free = min(free, limit - _read_sizes(cgroup / "memory.stat", 1)["anon"])
    return max(0, free)


@contextmanager
def bounded(fraction: float = 1.0, *, swap: bool = True) -> Iterator[None]:
    """Limit the private memory of this process inside the block to its use plus a fraction of what is available.

    A lower existing limit is kept. There is no limit on a system that does not report its memory.
    """
    available, taken = available_bytes(swap=swap), _read_sizes(PROC / "self/status", 1024).get("VmData")
    if resource is None or available is None or taken is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = taken + int(fraction * available)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (bound if soft == resource.RLIM_INFINITY else min(bound, soft), hard))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def return_large_blocks() -> None:
    """Let glibc return each block of `LARGE_BYTES` to the system as soon as it is freed.

    By default, it raises this size with every larger block that is freed, up to 32 MB. A process in which threads have
    decoded a few large images then keeps hundreds of megabytes.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE_BYTES)


def _read_sizes(path: Path, unit: int) -> dict[str, int]:
    """Read `name: number` or `name number` lines of a kernel file, in bytes; empty if the file does not exist."""
    sizes: dict[str, int] = {}
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, *values = line.replace(":", " ").split()
            if values and values[0].isdecimal():
                sizes[name] = int(values[0]) * unit
    return sizes
