"""No telemetry: training, evaluation and prediction reach no network, neither from Python nor from native libraries.

Each command runs in a new process. An audit hook (tests/support/watched) records what Python does, also in processes
that the command starts; strace, where it is installed, records the system calls of native code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.drawing import draw_dataset

ROOT = Path(__file__).resolve().parents[1]
WATCHED = ROOT / "tests/support/watched"
STRACE = shutil.which("strace")
REMOTE = re.compile(r"(?:connect|sendto|sendmsg)\(.*?(?:sin_addr=inet_addr|inet_pton\(AF_INET6,) ?\(?\"([^\"]+)\"")
"""System calls with the address of a network, of which `is_local` tells those of this machine."""


def is_local(address: str) -> bool:
    """Return whether an address is of this machine's loopback."""
    return address.startswith(("127.", "::1", "::ffff:127."))


def watched(words: Sequence[str], folder: Path, *, native: bool = False) -> list[str]:
    """Run Python in a folder, and return its attempts to reach a network."""
    seen, trace = folder / "network.txt", folder / "strace.txt"
    path = os.pathsep.join(map(str, (WATCHED, ROOT)))
    variables = {**os.environ, "PYTHONPATH": path, "CNNCLI_TEST_NETWORK": str(seen), "CNNCLI_CACHE": str(folder / "c")}
    for name in ("CNNCLI_RUNS", "MLFLOW_TRACKING_URI"):
        variables.pop(name, None)
    tracing = [str(STRACE), "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)] if native else []
    done = subprocess.run(
        [*tracing, sys.executable, *words], cwd=folder, env=variables, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = seen.read_text().splitlines() if seen.exists() else []
    if native:
        addresses = REMOTE.findall(trace.read_text(errors="replace"))
        found += [address for address in addresses if not is_local(address)]
    return found


PLANTED = {
    "connect": "import socket; socket.socket().connect_ex(('192.0.2.1', 9))",
    "lookup": "import socket\ntry: socket.getaddrinfo('telemetry.invalid', 80)\nexcept OSError: pass",
    "datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "child": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; s = socket.socket(); "
    's.settimeout(0.1); s.connect_ex(("192.0.2.1", 9))\'])',
}


@pytest.mark.parametrize("code", PLANTED.values(), ids=list(PLANTED))
def test_an_attempt_is_seen(code: str, tmp_path: Path) -> None:
    """Connections, lookups and datagrams are seen, also those of a child process; the loopback is left out."""
    limited = f"import socket; socket.setdefaulttimeout(0.1)\ntry:\n exec({code!r})\nexcept OSError: pass"
    assert watched(["-c", limited], tmp_path)
    (tmp_path / "network.txt").unlink()
    assert (
        watched(["-c", code.replace("192.0.2.1", "127.0.0.1").replace("telemetry.invalid", "localhost")], tmp_path)
        == []
    )


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_an_attempt_of_native_code_is_seen(tmp_path: Path) -> None:
    """A datagram that the C library sends, which no audit hook sees, is in the trace."""
    code = (
        "import ctypes, socket, struct\n"
        "libc, s = ctypes.CDLL(None), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "address = struct.pack('=HH4s8x', 2, 0x0900, bytes([192, 0, 2, 1]))\n"
        "libc.connect(s.fileno(), address, 16)"
    )
    assert watched(["-c", code], tmp_path, native=True) == ["192.0.2.1"]


@pytest.mark.first
@pytest.mark.parametrize("native", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["python", "native"])
@pytest.mark.parametrize("tracking", ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_training_evaluation_and_prediction_reach_no_network(tracking: str, native: bool, tmp_path: Path) -> None:
    """A training, its verification, report, evaluation, and a prediction open no connection and look up no name."""
    if native and STRACE is None:
        pytest.skip("strace is not installed")
    draw_dataset(tmp_path / "images")
    image = next((tmp_path / "images/test").rglob("*.png"))
    for words in (
        ["train", "images", "name=run", "data.image_size=32", f"tracking={tracking}"],
        ["evaluate", "run"],
        ["predict", str(image), "--run", "run"],
        ["doctor", "--json"],
    ):
        assert watched(["-m", "cnncli", *words], tmp_path, native=native) == [], words
