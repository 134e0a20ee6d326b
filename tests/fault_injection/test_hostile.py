"""Files from elsewhere that mean harm: none runs code, leaves its folder, takes two gigabytes or hangs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import hostile

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="cages are made of Linux's limits")

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
    "keras as it should be",
    "hdf5 with a link to another file",
    "hdf5 with a virtual dataset",
    "hdf5 with long names",
    "hdf5 with one long name a thousand times",
    "hdf5 as it should be",
    "pickle that runs a command",
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
    "recipe with settings of one's own",
    "seal with a path that leads out",
    "run.json nested 100,000 deep",
    "state that is a link",
    "checkpoint of another training",
    "manifest of system files",
    "config with weights elsewhere",
    "run as it should be",
)


@pytest.fixture(scope="module")
def cages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all cages, which share one run to do harm to."""
    return tmp_path_factory.mktemp("cages")


def _tried(name: str, cages: Path) -> None:
    work = cages / name.replace("/", "-")
    work.mkdir()
    hostile.do(name, work)


@pytest.mark.parametrize("name", EVERY_DAY)
def test_hostile_file_is_met_as_stated(name: str, cages: Path) -> None:
    """Each kind comes to its stated end: one line that names the file and the reason, or nothing at all happens."""
    _tried(name, cages)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(hostile.KINDS) - set(EVERY_DAY)))
def test_every_other_hostile_file_is_met_as_stated(name: str, cages: Path) -> None:
    """The kinds that are left."""
    _tried(name, cages)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_file_is_taken_or_refused(seed: int, cages: Path) -> None:
    """Good files with random damage, under checksums that are right."""
    work = cages / f"mutant-{seed}"
    work.mkdir()
    hostile.mutant(work, np.random.default_rng(seed))
