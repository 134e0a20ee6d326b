"""Measure the size and the import time of the default set of packages, and of each extra.

    python -m scripts.measure_install

reads the metadata of an environment in which the extras are installed; those that are not are left out. The size of an
extra is that of the packages that it needs in addition to the default set, without compiled bytecode. An import time is
the processor time of a new process, the shortest of two, which other programs hardly change.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.runtime.packages import missing_packages, own_requirements, requirements_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REPEATS = 2
COMMANDS = {
    "import cnncli": "import cnncli",
    "cnncli --help": "import cnncli.cli.app",
    "predict, without TensorFlow": "import cnncli.recipes.predict, openvino",
    "train by gradients, with TensorFlow and Keras": "from cnncli.networks.backend import import_keras; import_keras()",
}
"""Imports of some commands of the default set."""


@dataclass(frozen=True)
class Row:
    """Number and size of the packages that a set adds, and the seconds that its modules take to import."""

    name: str
    packages: int
    size_bytes: int
    import_s: Mapping[str, float]


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the normalized names of all packages that requirements need, themselves included."""
    names: set[str] = set()
    waiting = [(one.name, frozenset(one.extras)) for one in requirements]
    seen = set()
    while waiting:
        name, extras = key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        names.add(_normalized(name))
        by_extra = requirements_of(name)
        needed = [one for extra in ("", *extras) for one in by_extra.get(extra, [])]
        waiting += [(one.name, frozenset(one.extras)) for one in needed]
    return names


def size_bytes(package: str) -> int:
    """Return the size of the files of an installed package, without compiled bytecode."""
    found = distribution(package)
    files = (found.locate_file(file) for file in found.files or () if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in (Path(str(file)) for file in files) if path.is_file())


def import_seconds(code: str) -> float:
    """Return the shortest processor time of code in new processes, without Python's own start."""
    timed = f"import time; t = time.process_time()\n{code}\nprint(time.process_time() - t)"
    command = [sys.executable, "-c", timed]
    outputs = (subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for _ in range(REPEATS))
    return min(float(output.splitlines()[-1]) for output in outputs)


def measure() -> Iterator[Row]:
    """Yield the default set of packages, then each extra that is installed."""
    by_extra = own_requirements()
    default = closure(by_extra.pop(""))
    yield _row("default", default, {name: import_seconds(code) for name, code in COMMANDS.items()})
    for extra, needed in by_extra.items():
        if not missing_packages(needed):
            modules = dict.fromkeys(module for one in needed for module in _module_of(one.name))
            times = {module: import_seconds(f"import {module}") for module in modules}
            yield _row(extra, closure(needed) - default, times)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _row(name: str, packages: set[str], times: Mapping[str, float]) -> Row:
    return Row(name, len(packages), sum(map(size_bytes, packages)), times)


def _module_of(package: str) -> Iterator[str]:
    """Yield the module to import of a package: the one of its name, else the shortest."""
    modules = [
        module
        for module, packages in packages_distributions().items()
        if _normalized(package) in map(_normalized, packages) and module.isidentifier() and module[0] != "_"
    ]
    yield from sorted(modules, key=lambda name: (_normalized(name) != _normalized(package), len(name)))[:1]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| set | packages | size | import |", "|---|---|---|---|"]
    for row in rows:
        times = "; ".join(f"{name} {seconds:.2f} s" for name, seconds in row.import_s.items())
        lines.append(f"| {row.name} | {row.packages} | {row.size_bytes / 1e6:,.0f} MB | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(list(measure())))
