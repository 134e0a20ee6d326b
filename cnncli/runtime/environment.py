"""The environment of a run: versions, processor, threads, git commit. Imports none of the packages."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("cnncli", "tensorflow", "keras", "openvino", "numpy", "pillow")
# Flags that decide which kernels an engine uses: vector widths and matrix units.
FLAGS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
# Variables that change the number of threads, and with it the last bits of a result.
VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "CUDA_VISIBLE_DEVICES")
GIT_TIMEOUT_S = 5.0


def environment() -> dict[str, Any]:
    """Return versions, platform, processor, threads and git commit of this process; unknown values are None."""
    return {
        "python": platform.python_version(),
        "packages": {package: package_version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu": cpu(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "git": git(),
    }


def package_version(package: str) -> str | None:
    """Return the version of an installed package from its metadata, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cnncli_version() -> str:
    """Return the version of cnncli, or `unknown` if it is on the path without being installed."""
    return package_version("cnncli") or "unknown"


def cpu() -> dict[str, Any]:
    """Return model, flags and number of cores of the processor, and the number of threads this process may use."""
    model, flags = _linux_cpu() or (_macos_cpu() or platform.processor() or platform.machine() or None, None)
    cores = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return {"model": model, "flags": flags, "cores": cores, "threads": usable}


def processor() -> str:
    """Return model and instruction sets of the processor, which decide how sums are computed, as one string."""
    facts = cpu()
    return " ".join([str(facts["model"]), *(facts["flags"] or ())])


def _linux_cpu() -> tuple[str | None, list[str] | None] | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # Every core repeats the same lines; ARM has neither of the two names.
    lines = dict(line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    fields = {name.strip(): value.strip() for name, value in lines.items()}
    flags = fields.get("flags")
    present = None if flags is None else [flag for flag in FLAGS if flag in flags.split()]
    return fields.get("model name") or platform.machine(), present


def _macos_cpu() -> str | None:
    return _output_of("sysctl", "-n", "machdep.cpu.brand_string") if platform.system() == "Darwin" else None


def git() -> dict[str, Any] | None:
    """Return the commit of the current folder and whether tracked files were modified; None outside a repository."""
    commit = _output_of("git", "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _output_of("git", "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def _output_of(*command: str) -> str | None:
    """Return the output of a small program, or None if it is missing, fails or takes too long."""
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            # Otherwise git would refresh its index.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
        if done.returncode == 0:
            return done.stdout.strip()
    return None
