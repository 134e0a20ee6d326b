"""Inject faults into cnncli many times, and count how often it handles them.

    python -m tests.fault_injection                     all tests with their full counts
    python -m tests.fault_injection kill=10 signals     one test ten times, another with its full count
    python -m tests.fault_injection kill=1 --seed 7     repeat one try

Prints passed / tried for each test. A failure names the seed that repeats it and the directory that is kept.
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
    concurrency,
    configs,
    crash,
    disk,
    hostile,
    images,
    incomplete_state,
    kill,
    moves,
    planted_faults,
    segments,
)


@dataclass(frozen=True)
class Test:
    """A kind of fault.

    Attributes:
        inject: Function that injects the fault once.
        count: Number of tries in a full run.
    """

    inject: Callable[[Path, np.random.Generator], None]
    count: int


TESTS = {
    "kill": Test(kill.once, 300),
    "ten-kills": Test(kill.ten_in_one_run, 20),
    "signals": Test(kill.by_signal, 100),
    "crash-points": Test(crash.every_point, 5),
    "incomplete-state": Test(incomplete_state.every_item, 1),
    "backup-and-restore": Test(incomplete_state.keras_backup_and_restore, 3),
    "failing-disk": Test(disk.fails, 50),
    "full-disk": Test(disk.is_full, 50),
    "one-run": Test(concurrency.on_one_run, 50),
    "one-cache": Test(concurrency.on_one_cache, 50),
    "segments": Test(segments.damaged, 200),
    "planted-faults": Test(planted_faults.once, len(planted_faults.FAULTS)),
    "mutated-images": Test(images.once, 5000),
    "hostile": Test(hostile.once, len(hostile.KINDS)),
    "hostile-mutants": Test(hostile.mutant, 500),
    "configs": Test(configs.once, 5000),
    "moves": Test(moves.once, 100),
    "two-moves": Test(moves.two_at_once, 50),
}


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("tests", nargs=-1, metavar="[TEST[=COUNT]]...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the first try; later tries count up.")
def main(tests: tuple[str, ...], seed: int) -> None:
    """Run the selected tests; exit with status 1 if any failed."""
    counts = dict(map(_parse_selection, tests or TESTS))
    work = Path(tempfile.mkdtemp(prefix="cnncli-faults-"))
    failures = sum(_run_test(name, count, seed, work / name) for name, count in counts.items())
    if not failures:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failures else 0)


def _parse_selection(word: str) -> tuple[str, int]:
    name, equals, count = word.partition("=")
    if name not in TESTS:
        raise click.UsageError(f"unknown test {name}; expected one of {', '.join(TESTS)}.")
    if equals and not count.isdecimal():
        raise click.UsageError(f"{word}: expected an integer after =.")
    return name, int(count) if equals else TESTS[name].count


def _run_test(name: str, count: int, seed: int, work: Path) -> int:
    """Run one test `count` times and return the number of failures."""
    failures, started = 0, time.monotonic()
    for number in range(seed, seed + count):
        folder = work / str(number)
        folder.mkdir(parents=True)
        try:
            TESTS[name].inject(folder, np.random.default_rng(number))
        except NotHereError as reason:
            click.echo(f"{name}: skipped, {reason}")
            return 0
        except Exception:
            failures += 1
            click.echo(f"{name}=1 --seed {number}, kept in {folder}:\n{traceback.format_exc()}", err=True)
        else:
            shutil.rmtree(folder)
    click.echo(f"{name}: {count - failures} / {count} in {time.monotonic() - started:.0f} s")
    return failures


if __name__ == "__main__":
    main()
