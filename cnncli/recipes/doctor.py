"""`cnncli doctor`: what this installation and this machine offer, and what is wrong with them.

TensorFlow is not imported. OpenVINO and the driver of the GPU answer in processes of their own, which may crash or hang
without consequences.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.catalogue.networks import NETWORKS
from cnncli.engines.int8 import INT8_FLAGS
from cnncli.errors import CnncliError, Message, printable
from cnncli.networks.architectures import has_local_weights
from cnncli.networks.backend import has_gpu_driver
from cnncli.networks.weights.download import weights_folder
from cnncli.recipes.cache import list_cache
from cnncli.runtime.environment import PACKAGES, cpu, package_version
from cnncli.runtime.memory import available_bytes
from cnncli.runtime.new_process import start_python
from cnncli.runtime.packages import Missing, missing_packages, own_requirements
from cnncli.storage.cache_dir import VARIABLE, cache_dir
from cnncli.terminal.formatting import size
from cnncli.version import __version__

TIMEOUT_S = 15.0
MIN_MEMORY_BYTES = 2_000_000_000
"""Memory for training of the default network, TensorFlow included."""
MIN_DISK_BYTES = 1_000_000_000
SHOWN_FLAGS = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "BF16": {"avx512_bf16", "amx_bf16"},
    "AMX": {"amx_tile"},
}
"""Processor features that decide about speed, with Linux's names."""

_ASK_OPENVINO = "from cnncli.engines.openvino import has_bfloat16, the_core; the_core(); print(has_bfloat16())"
_ASK_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Precision:
    """Engine and precision of `engine: auto` and `precision: auto`, with the reason."""

    engine: str
    precision: str
    reason: str
    int8: bool
    int8_reason: str


@dataclass(frozen=True)
class MachineFacts:
    """Facts about this machine that `cnncli doctor --json` prints. Unknown values are None.

    Attributes:
        processor: Model, cores, threads that may be used, and features by name.
        memory_bytes: Memory that is available.
        gpus: Name, memory and driver of each NVIDIA GPU.
        weights: Networks whose ImageNet weights are on this machine, `installed` in packages or `downloaded` by Keras.
        cache: Folder, size, maximum size and free space of its disk.
        extras: Whether each extra is installed, the packages it lacks, and the command that installs it.
    """

    problems: tuple[Message, ...]
    versions: dict[str, str | None]
    platform: str
    processor: dict[str, Any]
    memory_bytes: int | None
    precision: Precision | None
    gpus: tuple[dict[str, Any], ...]
    weights: dict[str, Any]
    cache: dict[str, Any]
    extras: dict[str, dict[str, Any]]


def diagnose_installation() -> MachineFacts:
    """Return what this installation and this machine offer, with all problems."""
    openvino, nvidia = start_python(["-c", _ASK_OPENVINO], stdout=subprocess.PIPE), _ask_nvidia()
    lacking = {extra: missing_packages(needed) for extra, needed in own_requirements().items()}
    needed = lacking.pop("", [])
    processor, memory, cache, extras = _processor(), available_bytes(), _cache(), _extras(lacking)
    weights = _weights()
    gpus = _gpus(nvidia)
    has_bfloat16, failure = _answer(openvino)
    precision = None if failure else _precision(has_bfloat16 == "True", bool(gpus), extras, processor)
    problems = [
        *_package_problems(needed),
        *_machine_problems(processor, memory, cache),
        *_engine_problems(failure, gpus, extras),
    ]
    return MachineFacts(
        problems=tuple(problems),
        versions=_versions(),
        platform=platform.platform(),
        processor=processor,
        memory_bytes=memory,
        precision=precision,
        gpus=gpus,
        weights=weights,
        cache=cache,
        extras=extras,
    )


def _versions() -> dict[str, str | None]:
    packages = {name: package_version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages, "cnncli": __version__}


def _ask_nvidia() -> subprocess.Popen[str] | None:
    with suppress(OSError):
        return subprocess.Popen(
            _ASK_NVIDIA, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    return None


def _answer(process: subprocess.Popen[str] | None) -> tuple[str, str]:
    """Return the output of a process, and the last line of its error if it failed."""
    if process is None:
        return "", "cannot be started"
    try:
        output, error = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "", f"does not answer within {TIMEOUT_S:g} s"
    if process.returncode:
        return "", (error.strip().splitlines() or [f"ends with {process.returncode}"])[-1]
    return output.strip(), ""


def _processor() -> dict[str, Any]:
    facts = cpu()
    flags = facts.pop("flags")
    known = {name: None if flags is None else not names.isdisjoint(flags) for name, names in SHOWN_FLAGS.items()}
    return {**facts, "features": known, "flags": flags}


def _gpus(process: subprocess.Popen[str] | None) -> tuple[dict[str, Any], ...]:
    """Return the NVIDIA GPUs that the driver lists."""
    output, _ = _answer(process)
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
    return tuple({"name": row[0], "memory_mb": row[1], "driver": row[2]} for row in rows if len(row) == 3)


def _precision(has_bfloat16: bool, has_gpu: bool, extras: dict[str, Any], processor: dict[str, Any]) -> Precision:
    """Return the choice of `cnncli.engines.build.choose_engine` for `auto`, without asking TensorFlow."""
    is_fast = not INT8_FLAGS.isdisjoint(processor["flags"] or ())
    if has_gpu and extras["gpu"]["installed"] and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        return Precision(
            "keras", "bfloat16", "TensorFlow can use the GPU", False, "it needs OpenVINO, and a GPU is used"
        )
    has_nncf = extras["int8"]["installed"]
    can_int8 = is_fast and has_nncf
    int8_reason = "where it saves time and the features agree" if can_int8 else "NNCF is not installed"
    if not is_fast:
        int8_reason = "the processor has no VNNI"
    reason = "the processor computes in it" if has_bfloat16 else "the processor has neither AMX nor AVX-512-BF16"
    return Precision("openvino", "bfloat16" if has_bfloat16 else "float32", reason, can_int8, int8_reason)


def _weights() -> dict[str, Any]:
    here = [info for info in NETWORKS.values() if has_local_weights(info)]
    installed = [info.name for info in here if info.weights_file is None]
    downloaded = [info.name for info in here if info.weights_file is not None]
    return {"installed": installed, "downloaded": downloaded, "folder": weights_folder()}


def _cache() -> dict[str, Any]:
    """Return the place, size and limit of the cache and the free space on its disk, or the problem with it."""
    folder: Path | None = None
    try:
        folder = cache_dir()
        contents = list_cache(folder)
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free_bytes = shutil.disk_usage(existing).free
        is_writable = os.access(existing, os.W_OK | os.X_OK)
    except (CnncliError, OSError) as error:
        problem = error.problems[0] if isinstance(error, CnncliError) else _unwritable(folder, str(error))
        return {"folder": folder, "size_bytes": None, "max_bytes": None, "free_bytes": None, "problem": problem}
    size_bytes = contents.features_bytes + contents.graphs_bytes + contents.index_bytes
    facts = {"folder": folder, "size_bytes": size_bytes, "max_bytes": contents.max_bytes, "free_bytes": free_bytes}
    return {**facts, "problem": None if is_writable else _unwritable(folder, "not writable")}


def _unwritable(folder: Path | None, reason: str) -> Message:
    text = f"{printable(folder or VARIABLE)}: {reason}. Set {VARIABLE} to a different folder."
    return Message("cache-not-writable", text, path=folder, reason=reason)


def _extras(lacking: dict[str, list[Missing]]) -> dict[str, dict[str, Any]]:
    return {
        extra: {
            "installed": not missing,
            "missing": [one.needed for one in missing],
            "install": f"pip install 'cnncli[{extra}]'",
        }
        for extra, missing in lacking.items()
    }


def _package_problems(needed: list[Missing]) -> Iterator[Message]:
    for one in needed:
        found = "is not installed" if one.installed is None else f"is installed as {one.installed}"
        text = f"{one.needed}: {found}. Install cnncli again: pip install -c constraints.txt ."
        yield Message("machine-package-missing", text, expected=one.needed, received=one.installed)


def _machine_problems(processor: dict[str, Any], memory: int | None, cache: dict[str, Any]) -> Iterator[Message]:
    flags = processor["flags"]
    if flags is not None and platform.machine() in ("x86_64", "AMD64") and "avx" not in flags:
        yield Message("machine-no-avx", "TensorFlow needs a processor with AVX. Use another machine.")
    if memory is not None and memory < MIN_MEMORY_BYTES:
        text = f"{size(memory)} of memory are available; training needs {size(MIN_MEMORY_BYTES)} or more."
        yield Message("machine-memory-low", f"{text} Close other programs, or raise the limit.", received=memory)
    if cache["problem"]:
        yield cache["problem"]
    elif cache["free_bytes"] < MIN_DISK_BYTES:
        text = f"{printable(cache['folder'])}: {size(cache['free_bytes'])} are free on its disk."
        remedy = f"Free disk space with `cnncli cache clear`, or set {VARIABLE} to a folder on another disk."
        yield Message("machine-disk-low", f"{text} {remedy}", path=cache["folder"], received=cache["free_bytes"])


def _engine_problems(failure: str, gpus: tuple[dict[str, Any], ...], extras: dict[str, Any]) -> Iterator[Message]:
    if failure:
        text = (
            f"OpenVINO cannot be used: {printable(failure)}. Install it again: pip install --force-reinstall openvino"
        )
        yield Message("engine-openvino-broken", text, reason=failure)
    if gpus and not extras["gpu"]["installed"]:
        text = f"{gpus[0]['name']} is not used, because TensorFlow lacks the CUDA libraries."
        yield Message("engine-gpu-unused", f"{text} Install them with: {extras['gpu']['install']}")
    elif has_gpu_driver() and not gpus:
        text = "The driver of a GPU is loaded, but nvidia-smi lists none. Check the driver, or set engine: openvino."
        yield Message("engine-gpu-unlisted", text)
