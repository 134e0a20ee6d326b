"""Harm done to cnncli on purpose, so many times each, and how often it stood it.

    python scripts/torture.py                        everything, as often as the full torture does it
    python scripts/torture.py kill --count 10        one test, ten times
    python scripts/torture.py kill --seed 7 --count 1

Prints passed / tried for each test; a failure names the seed that repeats it, and the folder that is left.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.torturing import kill, moves, planted

Torture = Callable[[Path, np.random.Generator], None]


@dataclass(frozen=True)
class Test:
    """One kind of harm: what does it once, and how often the full torture does it."""

    do: Torture
    count: int


TESTS = {
    "kill": Test(kill.once, 300),
    "ten-kills": Test(kill.ten_in_one_run, 20),
    "planted": Test(planted.once, len(planted.FAULTS)),
    "moves": Test(moves.once, 100),
    "two-moves": Test(moves.two_at_once, 50),
}


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("names", nargs=-1, metavar="[TEST]...")
@click.option("--count", type=click.IntRange(min=1), help="How often; default: as often as the full torture.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first one; each has the next.")
def main(names: tuple[str, ...], count: int | None, seed: int) -> None:
    """Do it, and end with 1 where anything was not stood."""
    if unknown := [name for name in names if name not in TESTS]:
        raise click.UsageError(f"no test {', '.join(unknown)}; there are {', '.join(TESTS)}.")
    work = Path(tempfile.mkdtemp(prefix="cnncli-torture-"))
    failed = sum(_tried(name, count or TESTS[name].count, seed, work / name) for name in names or TESTS)
    if not failed:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)


def _tried(name: str, count: int, seed: int, work: Path) -> int:
    """Do one test so often; gives the number of failures."""
    failures = 0
    for number in range(seed, seed + count):
        folder = work / str(number)
        folder.mkdir(parents=True)
        try:
            TESTS[name].do(folder, np.random.default_rng(number))
        except Exception:
            failures += 1
            click.echo(f"{name} --seed {number} --count 1, left in {folder}:\n{traceback.format_exc()}", err=True)
        else:
            shutil.rmtree(folder)
    click.echo(f"{name}: {count - failures} / {count}")
    return failures


if __name__ == "__main__":
    main()
