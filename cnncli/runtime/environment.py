"""The environment of a run: versions, processor, threads, git commit. Does not import the packages."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cnncli.runtime.threads import workers

PACKAGES = ("cnncli", "tensorflow", "keras", "openvino", "nncf", "numpy", "pillow")
VECTOR_FLAGS = (
    *("avx", "avx2", "fma", "avx_vnni", "avx_ne_convert"),
    *("avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
)
MATRIX_FLAGS = ("amx_tile", "amx_int8", "amx_bf16")
"""Instruction sets that determine which kernels an engine uses."""
VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "CUDA_VISIBLE_DEVICES")
"""Variables that change the number of threads, and with it the last bits of a result."""
GIT_TIMEOUT_S = 5.0


def environment() -> dict[str, Any]:
    """Return versions, platform, processor, threads and git commit of this process, with None for unknown values."""
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


def cpu() -> dict[str, Any]:
    """Return model, flags and number of cores of the processor, and the number of threads this process may use."""
    fields = _cpuinfo()
    flags = fields.get("flags")
    return {
        "model": fields.get("model name") or (platform.machine() if fields else _model()) or None,
        "flags": None if flags is None else [flag for flag in (*VECTOR_FLAGS, *MATRIX_FLAGS) if flag in flags.split()],
        "cores": os.cpu_count(),
        "threads": workers(),
    }


def processor() -> str:
    """Return the processor's model and instruction sets, which determine the order of sums, as one string."""
    facts = cpu()
    return " ".join([str(facts["model"]), *(facts["flags"] or ())])


def _cpuinfo() -> dict[str, str]:
    """Return Linux's description of the first core; ARM has neither a model name nor flags."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines = [line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line]
        return {name.strip(): value.strip() for name, value in lines}
    return {}


def _model() -> str:
    """Return the model of the processor on macOS and Windows."""
    brand = _output_of("sysctl", "-n", "machdep.cpu.brand_string") if platform.system() == "Darwin" else None
    return brand or platform.processor() or platform.machine()


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
        variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # otherwise git would refresh its index
        output = subprocess.check_output(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=GIT_TIMEOUT_S,
            env=variables,
        )
        return output.strip()
    return None
