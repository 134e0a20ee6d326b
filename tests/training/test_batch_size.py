"""`training.batch_size: auto`, and batches that are too large."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.config.reader import load_resolved
from cnncli.errors import CnncliError, Message, NonFiniteError, TrainingError
from cnncli.recipes.train import train
from cnncli.runtime.new_process import start_python
from cnncli.terminal.console import Console
from cnncli.training import batch_size, steps
from cnncli.training.batch_size import resolve_batch_size, sizes_for
from tests.support.drawing import draw_dataset, tiny_config

SMALL = "backbone={name: ConvNet, weights: none, options: {filters: [4, 8]}}"
AUTO = {"epochs": 1, "batch_size": "auto"}


def _batch_size(folder: Path, images: int) -> int | str:
    """Return the batch size that `auto` selects for two classes and the given number of training images."""
    config = tiny_config(folder, training=AUTO)
    return resolve_batch_size(config, 2, images, Console(quiet=True)).training.batch_size


def test_the_largest_size_that_fits_is_found_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """48 images in batches of two make 24 steps. A json.py in the current folder is not run."""
    (tmp_path / "json.py").write_text("raise SystemExit('json.py was run')")
    monkeypatch.chdir(tmp_path)
    data = draw_dataset(tmp_path / "data", train=24)
    words = ["data.image_size=32", "training.batch_size=auto", SMALL]
    runs = ["training.epochs=1", "--runs-dir", str(tmp_path / "runs")]

    assert main(["train", str(data), *words, *runs]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert load_resolved(run / "config.yaml").training.batch_size == 2
    before, after = [line for line in capsys.readouterr().err.splitlines() if "2, 1" in line]
    assert [line.split("2, 1")[0].count("2") for line in (before, after)] == [0, 1]


@pytest.mark.parametrize(("ended_by", "found"), [({64: False, 32: False}, 16), ({64: None, 32: False, 16: None}, 8)])
def test_what_ends_the_process_that_tries_it_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: dict[int, bool | None], found: int
) -> None:
    """If a step fails (False) or the system kills the process (None), smaller sizes are tried next."""
    outcomes = {str(size): fits for size, fits in ended_by.items()}
    _run_instead(
        f"""
import json, os, sys
outcomes = {outcomes}
for size in json.load(sys.stdin)["sizes"]:
    print(json.dumps({{"size": size, "fits": False}}), flush=True)
    outcome = outcomes.get(str(size), True)
    if outcome is None:
        os.kill(os.getpid(), 9)
    if outcome:
        print(json.dumps({{"size": size, "fits": True}}))
        break
""",
        monkeypatch,
    )

    assert _batch_size(tmp_path, 2000) == found


def test_it_is_an_error_if_no_size_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not even one image fits, an error with its own code is raised."""
    _run_instead("""print('{"size": 1, "fits": false}')""", monkeypatch)
    with pytest.raises(TrainingError) as caught:
        _batch_size(tmp_path, 10)

    assert caught.value.code == "training-out-of-memory"


def test_a_process_that_fails_for_another_reason_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure unrelated to memory is reported with its reason."""
    _run_instead("raise ValueError('no such thing')", monkeypatch)
    with pytest.raises(TrainingError) as caught:
        _batch_size(tmp_path, 10)

    assert caught.value.code == "training-batch-size-unknown"
    assert caught.value.facts["reason"] == "ValueError: no such thing"


def test_a_size_that_takes_too_long_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout, for example because of swapping, counts as out of memory, and smaller sizes are tried next."""
    monkeypatch.setattr(batch_size, "TIMEOUT_S", 2.0)
    _run_instead(
        """
import json, sys, time
size = json.load(sys.stdin)["sizes"][0]
print(json.dumps({"size": size, "fits": False}), flush=True)
if size == 32:
    print(json.dumps({"size": size, "fits": True}), flush=True)
time.sleep(60)  # the second time, it is the end of the process that takes too long
""",
        monkeypatch,
    )

    assert _batch_size(tmp_path, 1100) == 32


def test_a_process_that_never_answers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout before any size was tried is an error."""
    monkeypatch.setattr(batch_size, "TIMEOUT_S", 1.0)
    _run_instead("import time; time.sleep(60)", monkeypatch)
    with pytest.raises(TrainingError) as caught:
        _batch_size(tmp_path, 10)

    assert caught.value.facts["reason"] == "no answer within 1 s"


def _run_instead(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the process that tries sizes run this code."""
    monkeypatch.setattr(batch_size, "start_python", lambda _, **pipes: start_python(["-c", code], **pipes))


@pytest.mark.parametrize(("gpus", "bounds"), [((), [(batch_size.MEMORY_FRACTION, False)]), (("A100",), [])])
def test_what_is_tried_is_bounded_as_training_is(
    gpus: tuple[str, ...],
    bounds: list[tuple[float, bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The limit is the available memory without swap; on a GPU, its own memory is the limit."""
    bounds_used: list[tuple[float, bool]] = []

    def bounded(share: float, *, swap: bool) -> AbstractContextManager[None]:
        bounds_used.append((share, swap))
        return nullcontext()

    question = {"config": tiny_config(tmp_path, training=AUTO).model_dump(mode="json"), "n_classes": 2, "sizes": [1]}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(question)))
    monkeypatch.setattr(batch_size, "gpus", lambda: gpus)
    monkeypatch.setattr(batch_size, "bounded", bounded)
    monkeypatch.setattr(batch_size, "_steps", lambda *_: [])
    batch_size.main()

    assert bounds_used == bounds
    assert capsys.readouterr().out.splitlines() == ['{"size": 1, "fits": false}', '{"size": 1, "fits": true}']


def test_every_number_of_images_has_a_size() -> None:
    """For every number of images, however small, there is a size to try."""
    assert all(sizes_for(images)[-1] == 1 for images in (1, 2, 100, 10**6))
    assert sizes_for(10**6)[0] == 128


@pytest.mark.parametrize(
    ("gpus", "available", "code"),
    [((), 100_000, "training-out-of-memory"), ((), 100_000_000, None), ((), None, None), (("H200",), 100_000, None)],
)
def test_a_batch_that_cannot_fit_is_an_error_before_the_first_step(
    gpus: tuple[str, ...], available: int | None, code: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outputs of the convolutions alone need more: TensorFlow would crash."""
    monkeypatch.setattr(batch_size, "gpus", lambda: gpus)
    monkeypatch.setattr(batch_size, "available_bytes", lambda: available)
    config = tiny_config(draw_dataset(tmp_path / "data"), mode="from-scratch", training={"epochs": 1})
    with pytest.raises(TrainingError) if code else nullcontext() as caught:
        train(config, tmp_path / "runs", Console(quiet=True))

    assert (caught and caught.value.code) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("OOM when allocating tensor"), "training-out-of-memory"),
        (MemoryError(), "training-out-of-memory"),
        (NonFiniteError(Message("training-not-finite", "the loss became nan")), "training-not-finite"),
        (ValueError("no such thing"), None),
    ],
)
def test_only_a_lack_of_memory_in_a_step_is_one_of_the_batch(
    error: Exception, code: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other errors of a step stay what they are."""

    def train_epoch(*_: object) -> None:
        raise error

    monkeypatch.setattr(steps.TrainStep, "train_epoch", train_epoch)
    config = tiny_config(draw_dataset(tmp_path / "data"), mode="from-scratch", training={"epochs": 1})
    with pytest.raises((CnncliError, ValueError)) as caught:
        train(config, tmp_path / "runs", Console(quiet=True))

    assert getattr(caught.value, "code", None) == code
    assert code == "training-out-of-memory" or caught.value is error


TOO_LARGE = """
import sys
from cnncli.runtime import memory
memory.available_bytes = lambda **_: 600 * 2**20
from cnncli.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_batch_that_is_too_large_ends_in_one_line(tmp_path: Path) -> None:
    """With 600 MB left, 100 images of 256 px in 128 channels exit with code 2 and name the setting to change."""
    data = draw_dataset(tmp_path / "data", train=50, validation=1, test=1)
    words = ["data.image_size=256", "mode=from-scratch", "training.batch_size=100"]
    words += ["backbone={name: ConvNet, weights: none, options: {filters: [128]}}", "training.epochs=1"]
    command = [sys.executable, "-c", TOO_LARGE, "train", str(data), *words, "--runs-dir", str(tmp_path / "runs"), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])

    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "100 images" in line
    assert "training.batch_size" in line
