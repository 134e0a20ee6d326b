"""The outcome of every kind of sample file in `data check`, `train`, `evaluate` and `predict`."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cnncli.cli import main
from cnncli.dataset.manifest import Manifest
from cnncli.errors import printable
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify
from tests.images.making import encoded
from tests.images.zoo import Kind, LeftOut, Outcome, Refused, Used, zoo
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
class Finished:
    """Output and exit code of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return the JSON document in the output."""
        return json.loads(self.out)

    def reason(self, path: Path) -> str | None:
        """Return the text of the message about a file on stderr, without its code, or None."""
        name = f"{printable(path)}: "
        found = next((line.split(name, 1)[1] for line in self.err.splitlines() if name in line), None)
        return found and re.sub(r" \[[a-z0-9-]+\]$", "", found)


def command(*words: str | Path) -> Finished:
    """Run a cnncli command and return its output and exit code."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--no-color", *map(str, words)])
    return Finished(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Results:
    """Results of all commands on the sample files.

    Attributes:
        paths: path of each kind of file, all in the folder of one class.
        check: `data check` of a folder in which each kind has its own class.
        classes: the class of each kind in that folder.
        checked_paths: path of each kind of file in that folder.
        strict: `train` with on_bad_image=error.
        lenient: `train` with on_bad_image=skip.
        strict_evaluation: `evaluate` of a run with on_bad_image=error.
        lenient_evaluation: `evaluate` of a run with on_bad_image=skip.
        predicted: `predict` of every kind named on the command line.
        arguments: argument for each kind on that command line.
    """

    paths: dict[Kind, Path]
    check: Finished
    classes: dict[Kind, str]
    checked_paths: dict[Kind, Path]
    strict: Finished
    lenient: Finished
    strict_evaluation: Finished
    lenient_evaluation: Finished
    predicted: Finished
    arguments: dict[Kind, Path]

    @property
    def run(self) -> Path:
        """Return the run directory of the lenient training run."""
        return Path(self.lenient.document["run"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the results of running every command on the sample files."""
    place = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(place / "cache"))
        patch.setenv("CNNCLI_RUNS", str(place / "runs"))
        return _run_all(place)


def _run_all(place: Path) -> Results:
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
    return Results(
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
    """Draw a class of images that differ from those of every other folder."""
    from PIL import Image

    folder.mkdir(parents=True)
    seed = sum(os.fsencode(folder))
    for number in range(PLAIN):
        drawn = Image.fromarray(draw_image("dots", seed * 100 + number))
        (folder / f"{number}.png").write_bytes(encoded(drawn))


def each(wanted: Callable[[Outcome], bool] = lambda outcome: True) -> Any:
    """Return a decorator that parametrizes a test by the kinds with the wanted outcomes."""
    kinds = [one for one in zoo() if wanted(one.outcome)]
    return pytest.mark.parametrize("one", kinds, ids=lambda one: one.name)


def require(outcome: Outcome, path: Path, is_used: bool, reason: str | None) -> None:
    """Check that a file was used, refused with the decoder's reason, or passed over, as its kind specifies."""
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
def test_data_check_gives_the_specified_outcome(results: Results, one: Kind) -> None:
    """`data check` counts a used file in its class, lists a refused file as unreadable, and ignores any other file."""
    document = results.check.document
    reasons = {entry["path"]: entry["reason"] for entry in document["unreadable"]}
    path = results.checked_paths[one]
    require(one.outcome, path, document["counts"]["all"][results.classes[one]] == 1, reasons.get(str(path)))


@each()
def test_train_gives_the_specified_outcome(results: Results, one: Kind) -> None:
    """A used file is in the manifest and a refused one in skipped.csv; on_bad_image=error reports the same reason."""
    row = {row.file: row for row in Manifest.from_csv(results.run / "manifest.csv").rows}.get(str(results.paths[one]))
    text = (results.run / "skipped.csv").read_bytes().decode("utf-8", "surrogateescape")
    skipped = {line["path"]: line["reason"] for line in csv.DictReader(io.StringIO(text, newline=""))}
    require(one.outcome, results.paths[one], row is not None, skipped.get(str(results.paths[one])))
    if row is not None and isinstance(one.outcome, Used):
        assert (row.facts.height, row.facts.width) == one.outcome.pixels.shape[:2]
    reason = results.strict.reason(results.paths[one])
    assert reason == skipped.get(str(results.paths[one]))


@each()
def test_evaluate_gives_the_specified_outcome(results: Results, one: Kind) -> None:
    """`evaluate` reports refused files, and no other files, under both values of on_bad_image."""
    reason = results.strict_evaluation.reason(results.paths[one])
    assert reason == results.lenient_evaluation.reason(results.paths[one])
    require(one.outcome, results.paths[one], isinstance(one.outcome, Used), reason)


@each()
def test_predict_gives_the_specified_outcome(results: Results, one: Kind) -> None:
    """Every file named on the command line is predicted or reported, even if it would be passed over in a folder."""
    outcome = one.outcome.named if isinstance(one.outcome, LeftOut) else one.outcome
    predicted = {entry["path"] for entry in results.predicted.document if "predictions" in entry}
    require(
        outcome,
        results.arguments[one],
        str(results.paths[one]) in predicted,
        results.predicted.reason(results.arguments[one]),
    )


def test_numbers_and_exit_codes_agree(results: Results) -> None:
    """All commands agree on the numbers of used, refused and passed-over files, and none reports a bug."""
    used = sum(isinstance(one.outcome, Used) for one in zoo())
    refused = sum(isinstance(one.outcome, Refused) for one in zoo())
    left_out = Counter(one.outcome.reason for one in zoo() if isinstance(one.outcome, LeftOut))
    document = results.check.document
    assert (document["total"], len(document["unreadable"]), document["left_out"]) == (used, refused, dict(left_out))
    assert (results.lenient_evaluation.document["n"], results.lenient_evaluation.code, results.lenient.code) == (
        used + PLAIN,
        0,
        0,
    )
    assert (results.check.code, results.strict.code, results.strict_evaluation.code, results.predicted.code) == (
        2,
        2,
        2,
        2,
    )
    for finished in (
        results.check,
        results.strict,
        results.lenient,
        results.strict_evaluation,
        results.lenient_evaluation,
        results.predicted,
    ):
        assert "Traceback" not in finished.out + finished.err
        assert "bug" not in finished.err


def test_a_name_that_is_too_long_is_reported(results: Results) -> None:
    """A file name that is too long is reported in one line, and the other files are still predicted."""
    endless, good = "x" * 300 + ".jpg", next(str(path) for one, path in results.paths.items() if one.file == "gray.png")
    error = command("data", "check", endless).err
    assert error.startswith(f"error: {Path(endless).absolute()}: ")
    assert error.endswith(" [data-path-missing]\n")
    finished = command("predict", "--run", results.run, "--json", endless, good)
    assert (finished.code, [entry["path"] for entry in finished.document]) == (2, [endless, good])
    assert f"{endless}: cannot be read (File name too long)" in finished.err
    assert command("train", endless).code == 2
    assert command("evaluate", results.run, "--data", endless).code == 2


def test_a_folder_without_permission_is_reported(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be listed is reported instead of being treated as empty; other images are predicted."""
    closed = tmp_path / "holiday" / "closed"
    closed.mkdir(parents=True)
    shutil.copy(results.run.parents[1] / "plain" / "drawn" / "0.png", tmp_path / "holiday")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    finished = command("predict", "--run", results.run, "--json", closed)
    assert (finished.code, [entry["code"] for entry in finished.document]) == (2, ["data-folder-unreadable"])
    assert f"{closed}: cannot be listed (Permission denied)" in finished.err
    finished = command("predict", "--run", results.run, "--json", closed.parent)
    assert (finished.code, ["predictions" in entry for entry in finished.document]) == (2, [True, False])
    assert f"{closed}: cannot be listed (Permission denied)" in finished.err


class _Stream(io.RawIOBase):
    """An endless stream that counts the bytes read."""

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
    ("beginning", "code", "most"),
    [
        (b"", "image-unknown-format", 4 << 20),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "image-too-many-bytes", 27_000_000),
    ],
)
def test_endless_standard_input_is_refused(
    results: Results, monkeypatch: pytest.MonkeyPatch, beginning: bytes, code: str, most: int
) -> None:
    """Endless standard input is refused early if it is not an image, and otherwise when it exceeds the size limit."""
    stream = _Stream(beginning)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(stream)))
    monkeypatch.setattr("cnncli.inference.sources.MAX_STREAM_BYTES", 25_000_000)
    finished = command("predict", "--run", results.run, "-")
    assert finished.code == 2
    assert f"[{code}]" in finished.err
    assert stream.read_bytes < most
