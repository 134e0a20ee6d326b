"""Hostile files execute no code, write nothing elsewhere, use less than two gigabytes of memory and do not hang."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import hostile

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the sandbox uses limits of Linux")

EVERY_DAY = (
    "yaml billion laughs",
    "yaml that makes objects",
    "yaml with a character beyond Unicode",
    "keras with a Lambda",
    "keras with os.system as a class",
    "keras that switches safe mode off",
    "keras under a registered name",
    "keras with a layer of no module",
    "keras that reads a vocabulary",
    "keras of many units",
    "keras with a path that leads out",
    "keras with a bomb for weights",
    "keras whose sizes lie",
    "keras unchanged",
    "hdf5 with a link to another file",
    "hdf5 with a virtual dataset",
    "hdf5 with one long name a thousand times",
    "hdf5 unchanged",
    "npz of pickled objects",
    "npz that declares a petabyte",
    "zip with paths that lead out",
    "zip with names of 5,000 characters",
    "zip whose sizes lie",
    "zip of a zip that is a bomb",
    "tar with paths that lead out",
    "graph with entities",
    "graph with constants beyond its file",
    "graph with a loop",
    "spec with unknown settings",
    "checksums with a path that leads out",
    "run.json nested 100,000 deep",
    "state that is a link",
    "checkpoint of another training",
    "manifest of system files",
    "config with weights elsewhere",
    "run unchanged",
)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of all sandboxes, which share one small run."""
    return tmp_path_factory.mktemp("sandboxes")


def _check(name: str, sandboxes: Path) -> None:
    work = sandboxes / name.replace("/", "-")
    work.mkdir()
    hostile.check_kind(name, work)


@pytest.mark.parametrize("name", EVERY_DAY)
def test_hostile_file_has_its_stated_outcome(name: str, sandboxes: Path) -> None:
    """Each hostile file is refused with its expected code, or is harmless."""
    _check(name, sandboxes)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(hostile.KINDS) - set(EVERY_DAY)))
def test_every_other_hostile_file_has_its_stated_outcome(name: str, sandboxes: Path) -> None:
    """Each of the remaining hostile files is refused with its expected code, or is harmless."""
    _check(name, sandboxes)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))])
def test_damaged_file_is_accepted_or_refused(seed: int, sandboxes: Path) -> None:
    """A file with random damage and matching checksums is accepted or refused, without a crash or an escape."""
    work = sandboxes / f"mutant-{seed}"
    work.mkdir()
    hostile.mutant(work, np.random.default_rng(seed))
