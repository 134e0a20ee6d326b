"""Available memory is measured, and a limit makes allocations beyond it fail."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnncli.runtime.memory import available_bytes, bounded

MEMINFO = "MemTotal: 16000 kB\nMemAvailable:    8000 kB\nSwapFree:    1000 kB\nHugePages_Total:   0\n"


def test_a_container_has_what_its_limit_allows(tmp_path: Path) -> None:
    """In a container, available memory follows from its limit; cached pages of files count as free."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.stat").write_text("anon 2000000\nfile 2500000\n")

    assert available_bytes(tmp_path, tmp_path) == 3_000_000


def test_without_a_limit_the_machine_decides(tmp_path: Path) -> None:
    """Without a limit, available memory is that of the machine, including free swap space."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory.max").write_text("max\n")

    assert available_bytes(tmp_path, tmp_path) == 9000 * 1024
    assert available_bytes(tmp_path, tmp_path / "none") == 9000 * 1024


def test_swap_can_be_left_out(tmp_path: Path) -> None:
    """Swap space can be excluded, because a batch in swap takes a hundred times as long."""
    (tmp_path / "meminfo").write_text(MEMINFO)

    assert available_bytes(tmp_path, tmp_path, swap=False) == 8000 * 1024


def test_available_memory_is_unknown_on_other_systems(tmp_path: Path) -> None:
    """On other systems the result is None."""
    assert available_bytes(tmp_path, tmp_path) is None


def test_memory_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocations beyond the limit fail inside the block, and only there."""
    monkeypatch.setattr("cnncli.runtime.memory.available_bytes", lambda **_: 200 * 2**20)
    with bounded():
        np.ones(2**20)
        with pytest.raises(MemoryError):
            np.ones(2**28)
    assert len(np.empty(2**28)) == 2**28


def test_a_lower_limit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lower limit that was set before is not changed."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr("cnncli.runtime.memory.available_bytes", lambda **_: 2**50)
    resource.setrlimit(resource.RLIMIT_DATA, (2**40, before[1]))
    try:
        with bounded():
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 2**40
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 2**40
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


FREED = """
import sys
from pathlib import Path
from cnncli.runtime.memory import return_large_blocks

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

if sys.argv[1:]:
    return_large_blocks()
for size_mb in range(5, 31):
    bytearray(size_mb << 20)
before, blocks = resident_mb(), [bytearray(b"x") * (20 << 20) for _ in range(6)]
small = [bytes(1000) for _ in range(1000)]
blocks.clear()
print(resident_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process on Linux")
def test_large_blocks_are_returned_when_they_are_freed() -> None:
    """After blocks of rising size, 120 MB in blocks of 20 MB go back to the system as soon as they are freed."""
    done = subprocess.run([sys.executable, "-c", FREED, "return"], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 8
