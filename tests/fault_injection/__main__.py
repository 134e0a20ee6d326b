"""Harm done to cnncli on purpose, so many times each, and how often it stood it.

    python -m tests.fault_injection                     everything, as often as the full torture does it
    python -m tests.fault_injection kill=10 signals     one test ten times, another one as often as the full torture
    python -m tests.fault_injection kill=1 --seed 7     one try again

Prints passed / tried for each test; a failure names the seed that repeats it, and the folder that is left.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from tests.fault_injection import (
    NotHereError,
    configs,
    crash,
    disk,
    hostile,
    images,
    kill,
    lacking,
    moves,
    planted,
    segments,
    together,
)

Torture = Callable[[Path, np.random.Generator], None]


@dataclass(frozen=True)
class Test:
    """One kind of harm: what does it once, and how often the full torture does it."""

    do: Torture
    count: int


TESTS = {
    "kill": Test(kill.once, 300),
    "ten-kills": Test(kill.ten_in_one_run, 20),
    "signals": Test(kill.by_signal, 100),
    "crash-points": Test(crash.every_point, 5),
    "lacking": Test(lacking.every_item, 1),
    "backup-and-restore": Test(lacking.keras_backup_and_restore, 3),
    "failing-disk": Test(disk.fails, 50),
    "full-disk": Test(disk.is_full, 50),
    "one-run": Test(together.on_one_run, 50),
    "one-store": Test(together.on_one_store, 50),
    "segments": Test(segments.damaged, 200),
    "planted": Test(planted.once, len(planted.FAULTS)),
    "mutated-images": Test(images.once, 5000),
    "hostile": Test(hostile.each, len(hostile.KINDS)),
    "hostile-mutants": Test(hostile.mutant, 500),
    "configs": Test(configs.once, 5000),
    "moves": Test(moves.once, 100),
    "two-moves": Test(moves.two_at_once, 50),
}


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("tests", nargs=-1, metavar="[TEST[=COUNT]]...")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first try; each has the next.")
def main(tests: tuple[str, ...], seed: int) -> None:
    """Do it, and end with 1 where anything was not stood."""
    counts = dict(map(_name_and_count, tests or TESTS))
    work = Path(tempfile.mkdtemp(prefix="cnncli-torture-"))
    failed = sum(_tried(name, count, seed, work / name) for name, count in counts.items())
    if not failed:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)


def _name_and_count(word: str) -> tuple[str, int]:
    name, equals, count = word.partition("=")
    if name not in TESTS:
        raise click.UsageError(f"no test {name}; there are {', '.join(TESTS)}.")
    if equals and not count.isdecimal():
        raise click.UsageError(f"{word}: expected a whole number behind =.")
    return name, int(count) if equals else TESTS[name].count


def _tried(name: str, count: int, seed: int, work: Path) -> int:
    """Do one test so often; gives the number of failures."""
    failures, started = 0, time.monotonic()
    for number in range(seed, seed + count):
        folder = work / str(number)
        folder.mkdir(parents=True)
        try:
            TESTS[name].do(folder, np.random.default_rng(number))
        except NotHereError as reason:
            click.echo(f"{name}: skipped, {reason}")
            return 0
        except Exception:
            failures += 1
            click.echo(f"{name}=1 --seed {number}, left in {folder}:\n{traceback.format_exc()}", err=True)
        else:
            shutil.rmtree(folder)
    click.echo(f"{name}: {count - failures} / {count} in {time.monotonic() - started:.0f} s")
    return failures


if __name__ == "__main__":
    main()
