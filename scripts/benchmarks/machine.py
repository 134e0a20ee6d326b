"""Describe the machine: everything that determines its speed, as text."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cnncli.runtime.environment import cpu, git, package_version

PACKAGES = {
    "TensorFlow": "tensorflow",
    "Keras": "keras",
    "OpenVINO": "openvino",
    "NumPy": "numpy",
    "Pillow": "pillow",
    "OpenCV": "opencv-python-headless",
}


def describe() -> Mapping[str, str]:
    """Return the processor, memory, system and library versions by their names in the table."""
    facts = cpu()
    return {
        "processor": str(facts["model"]),
        "flags": " ".join(facts["flags"] or ()) or "unknown",
        "cores": f"{facts['cores']}, of which this process may use {facts['threads']}",
        "memory": _memory(),
        **({"GPU": gpu} if (gpu := _gpu()) else {}),
        "system": f"{_system()} ({platform.system()} {platform.release()})",
        "Python": platform.python_version(),
        **{name: package_version(package) or "not installed" for name, package in PACKAGES.items()},
    }


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def commit() -> str:
    """Return the commit of cnncli, followed by + if files were changed."""
    facts = git()
    return "unknown" if facts is None else facts["commit"][:12] + ("+" if facts["modified"] else "")


def _memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GiB"


def _system() -> str:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("PRETTY_NAME", "unknown").strip('"')


def _gpu() -> str:
    """Return the names of NVIDIA GPUs without importing TensorFlow."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return ", ".join(subprocess.run(command, capture_output=True, text=True).stdout.split("\n")).strip(", ")
