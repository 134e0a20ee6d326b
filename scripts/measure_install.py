"""Measure the size and the import time of the default set of packages, and of each extra.

    python -m build
    python -m scripts.measure_install dist/cnncli-0.1.0-py3-none-any.whl

installs the wheel into a temporary environment with the versions of constraints.txt, then each extra on top of it,
alone. Sizes are those of the installed files, without compiled bytecode. An import time is the shortest of three new
processes, with warm file caches. `--extras` selects the extras; gpu, with gigabytes, is left out by default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_MEASURED = {"test", "docs", "dev", "gpu"}
COMMANDS = {
    "import cnncli": "import cnncli",
    "cnncli --help": "from cnncli.cli import main; main(['--help'])",
    "predict, without TensorFlow": "import cnncli.recipes.predict, openvino",
    "train by gradients: TensorFlow and Keras": "from cnncli.networks.backend import import_keras; import_keras()",
}
"""What is imported for some commands of the default set."""

# Runs in the measured environment, which has neither this module nor its packages.
_SIZES = """
import json
from importlib.metadata import distributions
sizes = {}
for one in distributions():
    files = (one.locate_file(file) for file in one.files or () if file.suffix != ".pyc")
    sizes[one.name.lower()] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""
_MODULES = """
import json, sys
from importlib.metadata import metadata, packages_distributions
from packaging.requirements import Requirement
extra, modules = sys.argv[1], {}
for module, names in packages_distributions().items():
    for name in names:
        modules.setdefault(name.lower().replace("_", "-"), []).append(module)
for line in metadata("cnncli").get_all("Requires-Dist"):
    one = Requirement(line)
    if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""}):
        found = [name for name in modules.get(one.name.lower().replace("_", "-"), []) if not name.startswith("_")]
        print(min(found, key=len))
"""


@dataclass(frozen=True)
class Row:
    """Size of what a set of packages adds, and the seconds that its modules take to import."""

    name: str
    packages: int
    size_bytes: int
    import_s: Mapping[str, float]


class Environment:
    """A virtual environment."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def run(self, *words: str) -> str:
        """Run Python with arguments outside the checkout, and return its output."""
        done = subprocess.run(
            [self.python, "-I", *words], cwd=self.python.parent, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def pip(self, *words: str) -> None:
        """Run pip."""
        self.run("-m", "pip", "--quiet", *words)

    def sizes(self) -> dict[str, int]:
        """Return the size of each installed package in bytes."""
        sizes: dict[str, int] = json.loads(self.run("-c", _SIZES))
        return sizes

    def seconds(self, code: str) -> float:
        """Return the shortest of three times that code takes in a new process, without Python's own start."""
        timed = f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
        return min(float(self.run("-c", timed).splitlines()[-1]) for _ in range(4))


def measure(wheel: Path, extras: Sequence[str], folder: Path) -> Iterator[Row]:
    """Yield the default set of packages, and each extra."""
    environment = Environment(folder)
    constraints = ("-c", str(ROOT / "constraints.txt"))
    before = environment.sizes()
    environment.pip("install", *constraints, str(wheel))
    default = environment.sizes()
    times = {name: environment.seconds(code) for name, code in COMMANDS.items()}
    yield _row("default", before, default, times)
    for extra in extras:
        environment.pip("install", *constraints, f"{wheel}[{extra}]")
        now = environment.sizes()
        modules = dict.fromkeys(environment.run("-c", _MODULES, extra).split())
        yield _row(extra, default, now, {name: environment.seconds(f"import {name}") for name in modules})
        if added := [name for name in now if name not in default]:
            environment.pip("uninstall", "--yes", *added)


def _row(name: str, before: Mapping[str, int], now: Mapping[str, int], times: Mapping[str, float]) -> Row:
    added = {package: size for package, size in now.items() if package not in before}
    return Row(name, len(added), sum(added.values()), times)


def extras_of(wheel: Path) -> list[str]:
    """Return the extras for users of a wheel."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().split("\n\n")[0].splitlines()
    found = [line.partition(": ")[2] for line in lines if line.startswith("Provides-Extra: ")]
    return [extra for extra in found if extra not in NOT_MEASURED]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| set | packages | size | import |", "|---|---|---|---|"]
    for row in rows:
        times = "; ".join(f"`{name}` {seconds:.2f} s" for name, seconds in row.import_s.items())
        lines.append(f"| {row.name} | {row.packages} | {row.size_bytes / 1e6:,.0f} MB | {times} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--extras", nargs="*", help="extras to measure; default: all but gpu")
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    with tempfile.TemporaryDirectory(prefix="cnncli-install-") as folder:
        rows = []
        extras = extras_of(wheel) if arguments.extras is None else arguments.extras
        for row in measure(wheel, extras, Path(folder) / "venv"):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
