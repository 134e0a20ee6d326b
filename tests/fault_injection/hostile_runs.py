"""Hostile run directories: graphs, records, links."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fault_injection.kinds import (
    Action,
    Kind,
    Refusal,
    change_json,
    evaluate,
    list_runs,
    predict,
    resume,
    rewrite_checksums,
)
from tests.fault_injection.sandbox import FORBIDDEN

DEEP = "[" * 100_000


def _run(change: Callable[[Path], object], action: Action, refusal: Refusal | None) -> Kind:
    """Return a kind of run; `change` modifies its folder."""

    def make(here: Path) -> None:
        change(here / "run")

    return Kind(make, action, refusal)


def _engine(change: Callable[[Path], object], refusal: Refusal) -> Kind:
    """Return a kind of run with a changed engine folder and matching checksums."""

    def make(here: Path) -> None:
        change(here / "run" / "engine")
        rewrite_checksums(here / "run" / "engine")

    return Kind(make, predict, refusal)


def _spec(refusal: Refusal, **changed: Any) -> Kind:
    return _engine(lambda folder: change_json(folder / "scoring.json", lambda facts: facts.update(changed)), refusal)


def _text(text: str, action: Action, refusal: Refusal | None) -> Kind:
    """Return a kind of run whose `run.json` contains the given text."""
    return _run(lambda run: (run / "run.json").write_text(text), action, refusal)


def _graph(change: Callable[[str], str], refusal: Refusal) -> Kind:
    def edit(folder: Path) -> None:
        path = folder / "trunk.xml"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return _engine(edit, refusal)


def _larger_constant(text: str) -> str:
    """Declare a size of one terabyte for the first constant, and an offset beyond the end of its file."""
    return re.sub(r'offset="0" size="\d+"', f'offset="{2**40}" size="{2**40}"', text, count=1)


def _of_type(name: str) -> Callable[[str], str]:
    return lambda text: text.replace('type="Convolution"', f'type="{name}"', 1)


def _with_entities(text: str) -> str:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE net [<!ENTITY a0 "ha"><!ENTITY x SYSTEM "file:///etc/passwd">{entities}]>{text}'


def _padded(text: str) -> str:
    """Declare paddings of a billion pixels."""
    wide = re.sub(r"(pads_begin|pads_end)=\"[^\"]*\"", r"\1=\"1000000000, 1000000000\"", text)
    return re.sub(r"auto_pad=\"[^\"]*\"", 'auto_pad="explicit"', wide)


def _linked(name: str, target: str) -> Callable[[Path], None]:
    """Replace a file or folder of the run by a link to the forbidden folder."""

    def change(run: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(run.parent.parent / FORBIDDEN / target)

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


def _checksum_of(name: str) -> Callable[[Path], object]:
    return lambda run: change_json(run / "engine" / "sha256.json", lambda sums: sums.update({name: "0" * 64}))


def _manifest(change: Callable[[str], str]) -> Callable[[Path], object]:
    def edit(run: Path) -> None:
        path = run / "manifest.csv"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return edit


def _checkpoint(**changed: Any) -> Callable[[Path], None]:
    """Change the newest checkpoint and update its checksums."""

    def change(run: Path) -> None:
        folder = max((run / "state").iterdir())
        change_json(folder / "state.json", lambda document: document.update(changed))
        rewrite_checksums(folder)

    return change


def _weights_elsewhere(run: Path) -> None:
    """Give the path of a text file as the weights: it may be read, but its content must not be shown."""
    path = run / "config.yaml"
    text = path.read_text(encoding="utf-8")
    outside = run.parent / "notes.txt"
    outside.write_text("the combination is 1234")
    path.write_text(re.sub(r"(?m)^( +)weights: .*", rf"\1weights: {outside}", text), encoding="utf-8")


_FACTS = {"format": 1, "state": "finished", "created": "2026-11-21T12:00:00.000Z"}
LINK = Refusal("run-foreign-files")
DAMAGED = Refusal("run-file-damaged")
GRAPH = Refusal("", r"engine/trunk\.xml")
MANIFEST = Refusal("", r"manifest\.csv")
CHECKPOINT = Refusal("", "state")


def _field(name: str) -> Refusal:
    return Refusal("run-file-damaged", rf"scoring\.json.*{name}")


KINDS: Mapping[str, Kind] = {
    "graph with entities": _graph(_with_entities, GRAPH),
    "graph with constants beyond its file": _graph(_larger_constant, GRAPH),
    "graph with a loop": _graph(_of_type("Loop"), Refusal("", r"engine/trunk\.xml.*Loop")),
    "graph with an unknown operation": _graph(_of_type("Evil"), GRAPH),
    "graph with huge paddings": _graph(_padded, GRAPH),
    "graph nested 100,000 deep": _graph(lambda text: text.replace("<layers>", "<layers>" * 100_000, 1), GRAPH),
    "graph in another format": _engine(
        lambda folder: (folder / "trunk.xml").write_bytes(b"\x08\x07\x12\x05evil!"), GRAPH
    ),
    "graph whose weights are cut off": _engine(lambda folder: os.truncate(folder / "trunk.bin", 8), GRAPH),
    "graph whose weights are missing": _engine(lambda folder: (folder / "trunk.bin").unlink(), GRAPH),
    "graph of another image": _spec(GRAPH, height=33),
    "spec for images of 10**10 pixels": _spec(_field("height"), height=100_000, width=100_000),
    "spec with an unknown engine": _spec(_field("engine"), engine="evil"),
    "spec with a mapping for classes": _spec(_field("classes"), classes={"a": 1}),
    "spec with more classes than scores": _spec(Refusal("run-file-damaged", "3 classes"), classes=["a", "b", "c"]),
    "spec with unknown settings": _spec(_field("evil"), evil=1),
    "spec nested 100,000 deep": _engine(lambda folder: (folder / "scoring.json").write_text(DEEP), _field("nested")),
    "checksums with a path that leads out": _run(
        _checksum_of("../../../outside/secret.txt"), predict, Refusal("", r"sha256\.json.*outside/secret\.txt")
    ),
    "checksums with a device": _run(_checksum_of("/dev/zero"), predict, Refusal("", r"sha256\.json.*/dev/zero")),
    "run.json nested 100,000 deep": _text(DEEP, predict, DAMAGED),
    "run.json with numbers of 400 digits": _text(
        json.dumps({**_FACTS, "metrics": {"test": {"top1": 10**400}}, "seconds": 10**400}), list_runs, None
    ),
    "run.json with values of other types": _text(
        json.dumps({**_FACTS, "parent": ["x"], "name": 5}), predict, Refusal("run-file-damaged", "name, parent")
    ),
    "run.json that is a pipe": _run(_piped("run.json"), predict, DAMAGED),
    "log that is a link": _run(_stopped_and(_linked("log.txt", "secret.txt")), resume, LINK),
    "state that is a link": _run(_stopped_and(_linked("state", ".")), resume, LINK),
    "figures that are a link": _run(_stopped_and(_linked("figures", ".")), resume, LINK),
    "evaluations that are a link": _run(_linked("evaluations.jsonl", "secret.txt"), evaluate, LINK),
    "engine that is a link": _run(_linked("engine", "."), predict, LINK),
    "lock that is a pipe": _run(_stopped_and(_piped("lock")), resume, LINK),
    "manifest of system files": _run(
        _manifest(lambda text: re.sub(r'"[^"]*test[^"]*png"', '"/etc/passwd"', text)),
        evaluate,
        Refusal("", "/etc/passwd"),
    ),
    "manifest of devices": _run(
        _manifest(lambda text: re.sub(r'"[^"]*test[^"]*png"', '"/dev/zero"', text)), evaluate, Refusal("", "images")
    ),
    "manifest with paths that lead out": _run(
        _manifest(lambda text: re.sub(r'"[^"]*test[^"]*png"', '"../../outside/none.png"', text)),
        evaluate,
        Refusal("", "images"),
    ),
    "manifest with a size of NaN": _run(
        _manifest(lambda text: text.replace(",20,20\n", ",NaN,20\n")), evaluate, MANIFEST
    ),
    "manifest with negative sizes": _run(
        _manifest(lambda text: text.replace(",20,20\n", ",-20,20\n")), evaluate, MANIFEST
    ),
    "manifest with other classes": _run(_manifest(lambda text: text.replace('"dots"', '"x"')), evaluate, MANIFEST),
    "manifest with a field of a megabyte": _run(
        _manifest(lambda text: text.replace('"dots"', f'"{"x" * 10**6}"', 1)), evaluate, MANIFEST
    ),
    "config with weights elsewhere": _run(
        _stopped_and(_weights_elsewhere), resume, Refusal("", r"notes\.txt: (?!.*1234)")
    ),
    "checkpoint of another training": _run(_stopped_and(_checkpoint(stages=[{"evil": 1}])), resume, CHECKPOINT),
    "checkpoint with a number for the history": _run(_stopped_and(_checkpoint(history=5)), resume, CHECKPOINT),
    "checkpoint of an incomplete stage": _run(_stopped_and(_checkpoint(stage={"epoch": "x"})), resume, CHECKPOINT),
    "metrics nested 100,000 deep": _run(
        _stopped_and(lambda run: (run / "metrics.json").write_text(DEEP)), list_runs, None
    ),
    "run unchanged": _run(lambda _: None, predict, None),
}
