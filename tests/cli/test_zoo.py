"""Every kind of file in the zoo, before `data check`, `train`, `evaluate` and `predict`: one outcome for each."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cnncli.cli import main
from cnncli.dataset.inventory import MAX_PIXELS
from cnncli.dataset.manifest import Manifest
from cnncli.errors import printable
from cnncli.images.verify import verify
from tests.images.making import encoded
from tests.images.zoo import Kind, Outcome, PassedOver, Refused, Used, zoo
from tests.support.drawing import draw_image

CONFIG = """
name: zoo
data: {{path: {path}, image_size: 32, on_bad_image: {policy}}}
backbone: {{name: ConvNet, weights: none, options: {{filters: [4]}}}}
training: {{epochs: 1}}
precision: float32
"""
PLAIN = 14


@dataclass(frozen=True)
class Ended:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Of --json."""
        return json.loads(self.out)

    def reason(self, path: Path) -> str | None:
        """What it says of a file, on the screen."""
        name = f"{printable(path)}: "
        return next((line.split(name, 1)[1] for line in self.err.splitlines() if name in line), None)


def command(*words: str | Path) -> Ended:
    """Run one."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--no-color", *map(str, words)])
    return Ended(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Told:
    """What the commands made of the zoo.

    Attributes:
        paths: of every kind in the folder of one class.
        check: of a folder in which every kind has a class of its own.
        classes: that class.
        checked_paths: every kind in there.
        strict, lenient: a training on the folder by either policy.
        run: that the lenient one made.
        strictly, leniently: an evaluation on the folder, by runs of either policy.
        predicted: of every kind named on the command line.
        arguments: what was named.
    """

    paths: dict[Kind, Path]
    check: Ended
    classes: dict[Kind, str]
    checked_paths: dict[Kind, Path]
    strict: Ended
    lenient: Ended
    strictly: Ended
    leniently: Ended
    predicted: Ended
    arguments: dict[Kind, Path]

    @property
    def run(self) -> Path:
        """Of the lenient training."""
        return Path(self.lenient.document["run"])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """All commands, once each."""
    place = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(place / "cache"))
        patch.setenv("CNNCLI_RUNS", str(place / "runs"))
        return _tell(place)


def _tell(place: Path) -> Told:
    root, each, plain = place / "root", place / "each", place / "plain"
    paths = {one: one.lay(root / "kinds") for one in zoo()}
    classes = {one: f"kind-{number:03}" for number, one in enumerate(zoo())}
    checked_paths = {one: one.lay(each / classes[one]) for one in zoo()}
    for folder in (root / "drawn", plain / "drawn", plain / "kinds"):
        _draw(folder)
    configs = {name: place / f"{name}.yaml" for name in ("strict", "lenient", "plain")}
    for name, path in configs.items():
        data, policy = plain if name == "plain" else root, "skip" if name == "lenient" else "error"
        path.write_text(CONFIG.format(path=data, policy=policy), encoding="utf-8")
    lenient = command("train", configs["lenient"], "--json", "--verbose")
    run = json.loads(lenient.out)["run"]
    trained_on_plain = command("train", configs["plain"], "--json").document["run"]
    arguments = {one: root / "kinds" / one.argument for one in zoo()}
    return Told(
        paths,
        command("data", "check", each, "--json"),
        classes,
        checked_paths,
        command("train", configs["strict"]),
        lenient,
        command("evaluate", trained_on_plain, "--data", root),
        command("evaluate", run, "--data", root, "--json", "--verbose"),
        command("predict", "--run", run, "--json", *arguments.values()),
        arguments,
    )


def _draw(folder: Path) -> None:
    """A class of images that no other folder holds."""
    from PIL import Image

    folder.mkdir(parents=True)
    seed = sum(os.fsencode(folder))
    for number in range(PLAIN):
        drawn = Image.fromarray(draw_image("dots", seed * 100 + number))
        (folder / f"{number}.png").write_bytes(encoded(drawn))


def each(wanted: Callable[[Outcome], bool] = lambda outcome: True) -> Any:
    """A test for each kind of such an outcome."""
    kinds = [one for one in zoo() if wanted(one.outcome)]
    return pytest.mark.parametrize("one", kinds, ids=lambda one: one.name)


def require(outcome: Outcome, path: Path, is_used: bool, reason: str | None) -> None:
    """Check that a file had its stated outcome: it was used, or refused with the decoder's reason, or passed over."""
    if not isinstance(outcome, Refused):
        assert reason is None
        assert is_used == isinstance(outcome, Used)
        return
    assert not is_used
    assert reason is not None
    if not path.is_dir():
        problem = verify(path, MAX_PIXELS).problem
        assert problem is not None
        assert problem.code == outcome.code
        assert reason.startswith(problem)


@each()
def test_data_check_gives_the_stated_outcome(told: Told, one: Kind) -> None:
    """Counted in its class, among the unreadable, or neither."""
    document = told.check.document
    reasons = {entry["path"]: entry["reason"] for entry in document["unreadable"]}
    path = told.checked_paths[one]
    require(one.outcome, path, document["counts"]["all"][told.classes[one]] == 1, reasons.get(str(path)))


@each()
def test_train_gives_the_stated_outcome(told: Told, one: Kind) -> None:
    """In the manifest of the run, among what was skipped, or neither; by the other policy, in an error."""
    row = {row.file: row for row in Manifest.from_csv(told.run / "manifest.csv").rows}.get(str(told.paths[one]))
    text = (told.run / "skipped.csv").read_bytes().decode("utf-8", "surrogateescape")
    skipped = {line["path"]: line["reason"] for line in csv.DictReader(io.StringIO(text, newline=""))}
    require(one.outcome, told.paths[one], row is not None, skipped.get(str(told.paths[one])))
    if row is not None and isinstance(one.outcome, Used):
        assert (row.height, row.width) == one.outcome.pixels.shape[:2]
    reason = told.strict.reason(told.paths[one])
    assert reason == skipped.get(str(told.paths[one]))


@each()
def test_evaluate_gives_the_stated_outcome(told: Told, one: Kind) -> None:
    """Refused in the same words as in training, by either policy, or not mentioned."""
    reason = told.strictly.reason(told.paths[one])
    assert reason == told.leniently.reason(told.paths[one])
    require(one.outcome, told.paths[one], isinstance(one.outcome, Used), reason)


@each()
def test_predict_gives_the_stated_outcome(told: Told, one: Kind) -> None:
    """A prediction, or a line that names it: what was passed over in a folder too, since it was asked for."""
    outcome = one.outcome.named if isinstance(one.outcome, PassedOver) else one.outcome
    predicted = {entry["path"] for entry in told.predicted.document}
    require(outcome, told.arguments[one], str(told.paths[one]) in predicted, told.predicted.reason(told.arguments[one]))


def test_numbers_and_exit_codes_agree(told: Told) -> None:
    """Of used, refused and passed over, in all commands."""
    used = sum(isinstance(one.outcome, Used) for one in zoo())
    refused = sum(isinstance(one.outcome, Refused) for one in zoo())
    left_out = Counter(one.outcome.reason for one in zoo() if isinstance(one.outcome, PassedOver))
    document = told.check.document
    assert (document["total"], len(document["unreadable"]), document["left_out"]) == (used, refused, dict(left_out))
    assert (told.leniently.document["n"], told.leniently.code, told.lenient.code) == (used + PLAIN, 0, 0)
    assert (told.check.code, told.strict.code, told.strictly.code, told.predicted.code) == (2, 2, 2, 2)
    for ended in (told.check, told.strict, told.lenient, told.strictly, told.leniently, told.predicted):
        assert "Traceback" not in ended.out + ended.err
        assert "bug" not in ended.err


def test_a_name_that_is_too_long_is_a_line(told: Told) -> None:
    """Whatever the command; the others that were named are predicted."""
    endless, good = "x" * 300 + ".jpg", next(str(path) for one, path in told.paths.items() if one.file == "gray.png")
    assert command("data", "check", endless).err == f"error: {endless}: cannot be looked into (File name too long)\n"
    ended = command("predict", "--run", told.run, "--json", endless, good)
    assert (ended.code, [entry["path"] for entry in ended.document]) == (2, [good])
    assert f"{endless}: cannot be read (File name too long)" in ended.err
    assert command("train", endless).code == 2
    assert command("evaluate", told.run, "--data", endless).code == 2


def test_a_closed_folder_is_told_where_it_is_named(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not taken for one without images; the others in the folder that was named are predicted."""
    closed = tmp_path / "holiday" / "closed"
    closed.mkdir(parents=True)
    shutil.copy(told.run.parents[1] / "plain" / "drawn" / "0.png", tmp_path / "holiday")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ended = command("predict", "--run", told.run, "--json", closed)
    assert (ended.code, ended.document) == (2, [])
    assert f"{closed}: cannot be listed (Permission denied)" in ended.err
    ended = command("predict", "--run", told.run, "--json", closed.parent)
    assert (ended.code, len(ended.document)) == (2, 1)
    assert f"{closed}: cannot be listed (Permission denied)" in ended.err


class _Stream(io.RawIOBase):
    """Bytes without an end, counted."""

    def __init__(self, beginning: bytes = b"") -> None:
        self.read_bytes, self._beginning = 0, beginning

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), 1 << 16)
        begun = self._beginning[self.read_bytes : self.read_bytes + length]
        buffer[:length] = begun.ljust(length, b"\0")
        self.read_bytes += length
        return length


@pytest.mark.parametrize(
    ("beginning", "reason", "most"),
    [
        (b"", "is not a JPEG", 4 << 20),
        (
            b"BM" + bytes(12) + b"\x28\0\0\0",
            "-: has more than 25,000,000 bytes, which are read from files alone",
            27_000_000,
        ),
    ],
)
def test_standard_input_without_an_end_is_refused(
    told: Told, monkeypatch: pytest.MonkeyPatch, beginning: bytes, reason: str, most: int
) -> None:
    """At once where it is no image, else when it is longer than what is kept in memory."""
    stream = _Stream(beginning)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(stream)))
    monkeypatch.setattr("cnncli.recipes.predict.MOST_STREAM_BYTES", 25_000_000)
    ended = command("predict", "--run", told.run, "-")
    assert ended.code == 2
    assert reason in ended.err
    assert stream.read_bytes < most
