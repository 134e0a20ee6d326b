"""Run folders from elsewhere that mean harm: graphs, records, links."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fault_injection.cage import CANARY
from tests.fault_injection.kinds import Act, Kind, change_json, evaluate, list_runs, predict, reseal, resume

DEEP = "[" * 100_000


def _run(change: Callable[[Path], object], act: Act, says: str | None) -> Kind:
    """A run that is changed; `change` gets its folder."""

    def make(here: Path) -> None:
        change(here / "run")

    return Kind(make, act, says)


def _engine(change: Callable[[Path], object], says: str | None) -> Kind:
    """A run whose engine folder is changed, and sealed again."""

    def make(here: Path) -> None:
        change(here / "run" / "engine")
        reseal(here / "run" / "engine")

    return Kind(make, predict, says)


def _recipe(says: str = "is missing or is not what it should be", **changed: Any) -> Kind:
    return _engine(lambda folder: change_json(folder / "scoring.json", lambda facts: facts.update(changed)), says)


def _text(name: str, text: str | bytes, act: Act, says: str | None) -> Kind:
    """A file of the run, with another content."""
    data = text.encode() if isinstance(text, str) else text
    return _run(lambda run: (run / name).write_bytes(data), act, says)


def _graph(change: Callable[[str], str], says: str) -> Kind:
    def edit(folder: Path) -> None:
        path = folder / "trunk.xml"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return _engine(edit, says)


def _larger_constant(text: str) -> str:
    """The first constant of several values declares a terabyte, and an offset beyond its file."""
    return re.sub(r'offset="0" size="\d+"', f'offset="{2**40}" size="{2**40}"', text, count=1)


def _of_type(name: str) -> Callable[[str], str]:
    return lambda text: text.replace('type="Convolution"', f'type="{name}"', 1)


def _with_entities(text: str) -> str:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE net [<!ENTITY a0 "ha"><!ENTITY x SYSTEM "file:///etc/passwd">{entities}]>{text}'


def _grown(text: str) -> str:
    """Paddings of a thousand million pixels."""
    wide = re.sub(r"(pads_begin|pads_end)=\"[^\"]*\"", r"\1=\"1000000000, 1000000000\"", text)
    return re.sub(r"auto_pad=\"[^\"]*\"", 'auto_pad="explicit"', wide)


def _linked(name: str, target: str) -> Callable[[Path], None]:
    """A link in the place of something of the run's."""

    def change(run: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(run.parent.parent / CANARY / target)

    return change


def _piped(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return change


def _stopped(run: Path) -> None:
    change_json(run / "run.json", lambda facts: facts.update(state="stopped"))


def _stopped_and(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def both(run: Path) -> None:
        _stopped(run)
        change(run)

    return both


def _seal_of(name: str) -> Callable[[Path], object]:
    return lambda run: change_json(run / "engine" / "sha256.json", lambda sums: sums.update({name: "0" * 64}))


def _manifest(change: Callable[[str], str]) -> Callable[[Path], object]:
    def edit(run: Path) -> None:
        path = run / "manifest.csv"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return edit


def _checkpoint(**changed: Any) -> Callable[[Path], None]:
    """A checkpoint that says something else, under checksums that are right."""

    def change(run: Path) -> None:
        folder = max((run / "state").iterdir())
        change_json(folder / "state.json", lambda document: document.update(changed))
        reseal(folder)

    return change


def _weights_elsewhere(run: Path) -> None:
    """Reading what a config names as weights is what it is for; saying what is in it is not."""
    path = run / "config.yaml"
    text = path.read_text(encoding="utf-8")
    outside = run.parent / "notes.txt"
    outside.write_text("the combination is 1234")
    path.write_text(re.sub(r"(?m)^( +)weights: .*", rf"\1weights: {outside}", text), encoding="utf-8")


_FACTS = {"format": 1, "state": "finished", "created": "2026-11-21T12:00:00.000Z"}
LINK, NO_GRAPH, NO_RUN = "a link, a pipe or a device", "OpenVINO cannot run .*", "run.json"

KINDS: Mapping[str, Kind] = {
    "graph with entities": _graph(_with_entities, NO_GRAPH + "no OpenVINO graph as cnncli writes it"),
    "graph with constants beyond its file": _graph(_larger_constant, NO_GRAPH),
    "graph with a loop": _graph(_of_type("Loop"), NO_GRAPH + "has a Loop"),
    "graph with an operation of one's own": _graph(_of_type("Evil"), NO_GRAPH),
    "graph with huge paddings": _graph(_grown, NO_GRAPH),
    "graph nested 100,000 deep": _graph(lambda text: text.replace("<layers>", "<layers>" * 100_000, 1), NO_GRAPH),
    "graph in another format": _engine(
        lambda folder: (folder / "trunk.xml").write_bytes(b"\x08\x07\x12\x05evil!"), NO_GRAPH
    ),
    "graph whose weights are cut off": _engine(lambda folder: os.truncate(folder / "trunk.bin", 8), NO_GRAPH),
    "graph whose weights are missing": _engine(lambda folder: (folder / "trunk.bin").unlink(), NO_GRAPH),
    "graph of another image": _recipe("OpenVINO cannot run|gives", height=33),
    "recipe for images of 10**10 pixels": _recipe(height=100_000, width=100_000),
    "recipe with an engine of one's own": _recipe(engine="evil"),
    "recipe with classes that are none": _recipe(classes={"a": 1}),
    "recipe with more classes than scores": _recipe("scores for 3 classes", classes=["a", "b", "c"]),
    "recipe with settings of one's own": _recipe(evil=1),
    "recipe nested 100,000 deep": _engine(
        lambda folder: (folder / "scoring.json").write_text(DEEP), "nested too deeply"
    ),
    "seal with a path that leads out": _run(
        _seal_of("../../../outside/secret.txt"), predict, "not a file of this folder"
    ),
    "seal with a device": _run(_seal_of("/dev/zero"), predict, "not a file of this folder"),
    "run.json nested 100,000 deep": _text("run.json", DEEP, predict, NO_RUN),
    "run.json of numbers without end": _text(
        "run.json", json.dumps({**_FACTS, "metrics": {"test": {"top1": 10**400}}, "seconds": 10**400}), list_runs, None
    ),
    "run.json with texts that are none": _text(
        "run.json", json.dumps({**_FACTS, "parent": ["x"], "name": 5}), predict, "not a string"
    ),
    "run.json that is a pipe": _run(_piped("run.json"), predict, "not a regular file|no run"),
    "log that is a link": _run(_stopped_and(_linked("log.txt", "secret.txt")), resume, LINK),
    "state that is a link": _run(_stopped_and(_linked("state", ".")), resume, LINK),
    "figures that are a link": _run(_stopped_and(_linked("figures", ".")), resume, LINK),
    "evaluations that are a link": _run(_linked("evaluations.jsonl", "secret.txt"), evaluate, LINK),
    "engine that is a link": _run(_linked("engine", "."), predict, LINK),
    "lock that is a pipe": _run(_stopped_and(_piped("lock")), resume, LINK),
    "manifest of system files": _run(
        _manifest(lambda text: re.sub(r'"[^"]*test[^"]*png"', '"/etc/passwd"', text)), evaluate, "/etc/passwd"
    ),
    "manifest of devices": _run(
        _manifest(lambda text: re.sub(r'"[^"]*test[^"]*png"', '"/dev/zero"', text)), evaluate, "not a regular file"
    ),
    "manifest with paths that lead out": _run(
        _manifest(lambda text: re.sub(r'"[^"]*test[^"]*png"', '"../../outside/none.png"', text)), evaluate, "none.png"
    ),
    "manifest with a size that is no number": _run(
        _manifest(lambda text: text.replace(",20,20\n", ",NaN,20\n")), evaluate, "is no manifest"
    ),
    "manifest with negative sizes": _run(
        _manifest(lambda text: text.replace(",20,20\n", ",-20,20\n")), evaluate, "is no manifest"
    ),
    "manifest with other classes": _run(
        _manifest(lambda text: text.replace('"dots"', '"x"')), evaluate, "other classes"
    ),
    "manifest with a field of a megabyte": _run(
        _manifest(lambda text: text.replace('"dots"', f'"{"x" * 10**6}"', 1)), evaluate, "is no manifest"
    ),
    "config with weights elsewhere": _run(_stopped_and(_weights_elsewhere), resume, r"notes\.txt: neither HDF5"),
    "checkpoint of another training": _run(_stopped_and(_checkpoint(ledger=[{"evil": 1}])), resume, "another training"),
    "checkpoint of nothing but numbers": _run(_stopped_and(_checkpoint(history=5)), resume, "another training"),
    "checkpoint of a stage that is none": _run(
        _stopped_and(_checkpoint(stage={"epoch": "x"})), resume, "another training"
    ),
    "metrics nested 100,000 deep": _run(
        _stopped_and(lambda run: (run / "metrics.json").write_text(DEEP)), list_runs, None
    ),
    "run as it should be": _run(lambda _: None, predict, None),
}
