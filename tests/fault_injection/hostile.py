"""Read hostile files: no file may execute code, write elsewhere, use two gigabytes of memory or hang."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fault_injection import (
    hostile_archives,
    hostile_configs,
    hostile_models,
    hostile_runs,
    hostile_weights,
)
from tests.fault_injection.base_run import prepare_run
from tests.fault_injection.hostile_models import members, write_members
from tests.fault_injection.json_mutation import mutate_json, one_of
from tests.fault_injection.kinds import (
    Action,
    Kind,
    evaluate,
    list_runs,
    load_model,
    load_weights,
    newest_checkpoint,
    predict,
    prepare,
    rewrite_checksums,
)
from tests.fault_injection.mutation import Random, mutate
from tests.fault_injection.sandbox import run_sandboxed

KINDS: Mapping[str, Kind] = {
    **hostile_configs.KINDS,
    **hostile_models.KINDS,
    **hostile_weights.KINDS,
    **hostile_archives.KINDS,
    **hostile_runs.KINDS,
}

Damage = Callable[[Path, Random], None]


def once(work: Path, _: Random) -> None:
    """Check the kind of file whose number is the name of the work directory."""
    check_kind(list(KINDS)[int(work.name) % len(KINDS)], work)


def check_kind(name: str, work: Path) -> None:
    """Check that a hostile file is refused with the expected error, or is harmless."""
    kind, here = KINDS[name], prepare_run(work)
    kind.make(here)
    outcome = run_sandboxed(kind.action, here, here)
    outcome.require_harmless()
    if kind.refusal is None:
        assert not outcome.problems, f"{name}: refused ({outcome.problems[0]})"
        return
    assert outcome.problems, f"{name}: accepted"
    problem = outcome.problems[0]
    assert problem.code == (kind.refusal.code or problem.code), f"{name}: {problem.code}"
    assert re.search(kind.refusal.mentions, problem), f"{name}: {problem}"


def mutant(work: Path, random: Random) -> None:
    """Damage a valid file at random, and check that it is either accepted or refused."""
    here = prepare_run(work)
    damage, action = one_of(random, MUTANTS)
    damage(here, random)
    run_sandboxed(action, here, here).require_harmless()


def _bytes_of(name: str) -> Damage:
    def damage(here: Path, random: Random) -> None:
        path = here / name
        path.write_bytes(mutate(path.read_bytes(), random))

    return damage


def _json_of(name: str) -> Damage:
    def damage(here: Path, random: Random) -> None:
        path = here / name
        path.write_text(json.dumps(mutate_json(json.loads(path.read_bytes()), random)), encoding="utf-8")

    return damage


def _checksummed(damage: Damage, folder: str) -> Damage:
    """Damage a file under matching checksums."""

    def both(here: Path, random: Random) -> None:
        damage(here, random)
        (where,) = here.glob(folder)
        rewrite_checksums(where)

    return both


def _member(name: str, change: Callable[[bytes, Random], bytes]) -> Damage:
    """Damage a member of an archive under matching checksums."""

    def damage(here: Path, random: Random) -> None:
        path = hostile_models.model_of(here)
        content = members(path)
        write_members(path, {**content, name: change(content[name], random)})

    return damage


def _mutate_json_text(data: bytes, random: Random) -> bytes:
    return json.dumps(mutate_json(json.loads(data), random)).encode()


def _checkpoint(name: str) -> Damage:
    def damage(here: Path, random: Random) -> None:
        path = hostile_weights.arrays_of(here).with_name(name)
        path.write_bytes(mutate(path.read_bytes(), random))

    return damage


def _weights_in_keras(here: Path, random: Random) -> None:
    """Damage a member of a `.keras` file from which only the weights are loaded."""
    content = members(hostile_models.model_of(here))
    name = one_of(random, ("config.json", "model.weights.h5"))
    (here / "weights.weights.h5").unlink()
    method = one_of(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    write_members(here / "weights.keras", {**content, name: mutate(content[name], random)}, method)


def _legacy_weights(here: Path, random: Random) -> None:
    """Damage weights in the format of Keras 2."""
    (here / "weights.weights.h5").unlink()
    hostile_weights.write_legacy(here / "weights.h5")
    _bytes_of("weights.h5")(here, random)


def _archive(here: Path, random: Random) -> None:
    method = one_of(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    data = hostile_archives.zipped(hostile_archives.images(hostile_archives.flat).items(), method)
    (here / "archive.zip").write_bytes(mutate(data, random))


MUTANTS: tuple[tuple[Damage, Action], ...] = (
    (_bytes_of("weights.weights.h5"), load_weights),
    (_weights_in_keras, load_weights),
    (_legacy_weights, load_weights),
    (_bytes_of("run/model.keras"), load_model),
    (_member("model.weights.h5", mutate), load_model),
    (_member("config.json", mutate), load_model),
    (_member("config.json", _mutate_json_text), load_model),
    (_member("config.json", _mutate_json_text), load_model),
    (_checksummed(_bytes_of("run/engine/trunk.xml"), "run/engine"), predict),
    (_checksummed(_bytes_of("run/engine/tail.xml"), "run/engine"), predict),
    (_checksummed(_bytes_of("run/engine/trunk.bin"), "run/engine"), predict),
    (_checksummed(_json_of("run/engine/scoring.json"), "run/engine"), predict),
    (_json_of("run/engine/sha256.json"), predict),
    (_bytes_of("run/run.json"), predict),
    (_json_of("run/run.json"), list_runs),
    (_json_of("run/run.json"), evaluate),
    (_bytes_of("run/manifest.csv"), evaluate),
    (_bytes_of("run/config.yaml"), evaluate),
    (_checksummed(_checkpoint("arrays.npz"), "run/state/*"), newest_checkpoint),
    (_checksummed(_checkpoint("state.json"), "run/state/*"), newest_checkpoint),
    (_archive, prepare),
)
