"""Files from elsewhere that mean harm: none runs code, leaves its folder, takes two gigabytes or hangs."""

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
from tests.fault_injection.base_run import prepared
from tests.fault_injection.cage import caged
from tests.fault_injection.hostile_models import members, write_members
from tests.fault_injection.json_mutation import mutated_json, one_of
from tests.fault_injection.kinds import (
    Act,
    Kind,
    evaluate,
    list_runs,
    load_model,
    load_weights,
    newest_checkpoint,
    predict,
    prepare,
    reseal,
)
from tests.fault_injection.mutation import Random, mutated

KINDS: Mapping[str, Kind] = {
    **hostile_configs.KINDS,
    **hostile_models.KINDS,
    **hostile_weights.KINDS,
    **hostile_archives.KINDS,
    **hostile_runs.KINDS,
}

Damage = Callable[[Path, Random], None]


def each(work: Path, _: Random) -> None:
    """One kind after the other, by the number that is the folder's name."""
    do(list(KINDS)[int(work.name) % len(KINDS)], work)


def do(name: str, work: Path) -> None:
    """One kind: what it has to come to, and nothing else."""
    kind, here = KINDS[name], prepared(work)
    kind.make(here)
    ended = caged(kind.act, here, here)
    ended.require_harmless()
    if kind.says is None:
        assert not ended.problems, f"{name}: refused ({ended.problems[0]})"
    else:
        assert ended.problems, f"{name}: was taken"
        assert re.search(kind.says, ended.problems[0]), f"{name}: says {ended.problems[0]}"


def mutant(work: Path, random: Random) -> None:
    """A good file, damaged at random: it is taken or refused."""
    here = prepared(work)
    damage, act = one_of(random, MUTANTS)
    damage(here, random)
    caged(act, here, here).require_harmless()


def _bytes_of(name: str) -> Damage:
    def damage(here: Path, random: Random) -> None:
        path = here / name
        path.write_bytes(mutated(path.read_bytes(), random))

    return damage


def _json_of(name: str) -> Damage:
    def damage(here: Path, random: Random) -> None:
        path = here / name
        path.write_text(json.dumps(mutated_json(json.loads(path.read_bytes()), random)), encoding="utf-8")

    return damage


def _sealed(damage: Damage, folder: str) -> Damage:
    """The damage under checksums that are right."""

    def both(here: Path, random: Random) -> None:
        damage(here, random)
        (where,) = here.glob(folder)
        reseal(where)

    return both


def _member(name: str, change: Callable[[bytes, Random], bytes]) -> Damage:
    """Damage inside of an archive, whose own checksums are right."""

    def damage(here: Path, random: Random) -> None:
        path = hostile_models.model_of(here)
        content = members(path)
        write_members(path, {**content, name: change(content[name], random)})

    return damage


def _text_of_json(data: bytes, random: Random) -> bytes:
    return json.dumps(mutated_json(json.loads(data), random)).encode()


def _checkpoint(name: str) -> Damage:
    def damage(here: Path, random: Random) -> None:
        path = hostile_weights.arrays_of(here).with_name(name)
        path.write_bytes(mutated(path.read_bytes(), random))

    return damage


def _weights_in_keras(here: Path, random: Random) -> None:
    """Weights from a `.keras`, damaged inside, of which the description is never built."""
    content = members(hostile_models.model_of(here))
    name = one_of(random, ("config.json", "model.weights.h5"))
    (here / "weights.weights.h5").unlink()
    method = one_of(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    write_members(here / "weights.keras", {**content, name: mutated(content[name], random)}, method)


def _legacy_weights(here: Path, random: Random) -> None:
    """Weights as Keras 2 wrote them, damaged."""
    (here / "weights.weights.h5").unlink()
    hostile_weights.write_legacy(here / "weights.h5")
    _bytes_of("weights.h5")(here, random)


def _archive(here: Path, random: Random) -> None:
    method = one_of(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    data = hostile_archives.zipped(hostile_archives.images(hostile_archives.flat).items(), method)
    (here / "archive.zip").write_bytes(mutated(data, random))


MUTANTS: tuple[tuple[Damage, Act], ...] = (
    (_bytes_of("weights.weights.h5"), load_weights),
    (_weights_in_keras, load_weights),
    (_legacy_weights, load_weights),
    (_bytes_of("run/model.keras"), load_model),
    (_member("model.weights.h5", mutated), load_model),
    (_member("config.json", mutated), load_model),
    (_member("config.json", _text_of_json), load_model),
    (_member("config.json", _text_of_json), load_model),
    (_sealed(_bytes_of("run/engine/trunk.xml"), "run/engine"), predict),
    (_sealed(_bytes_of("run/engine/tail.xml"), "run/engine"), predict),
    (_sealed(_bytes_of("run/engine/trunk.bin"), "run/engine"), predict),
    (_sealed(_json_of("run/engine/scoring.json"), "run/engine"), predict),
    (_json_of("run/engine/sha256.json"), predict),
    (_bytes_of("run/run.json"), predict),
    (_json_of("run/run.json"), list_runs),
    (_json_of("run/run.json"), evaluate),
    (_bytes_of("run/manifest.csv"), evaluate),
    (_bytes_of("run/config.yaml"), evaluate),
    (_sealed(_checkpoint("arrays.npz"), "run/state/*"), newest_checkpoint),
    (_sealed(_checkpoint("state.json"), "run/state/*"), newest_checkpoint),
    (_archive, prepare),
)
