"""`cnncli data review`: from a run to corrected labels."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.cli import main
from cnncli.cli.data import _log_next_steps, _page_command
from cnncli.config.reader import load_config
from cnncli.dataset.build import build_manifest
from cnncli.recipes.data_review import Review, cards_of, command_with, review, serve_review
from cnncli.recipes.report import report
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import short_path
from scripts.measure_label_review import main as measure
from tests.support.attributes import draw_attributes
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)
WRONG = {"red-03.png": "blue", "red-17.png": "blue", "blue-05.png": "red"}
"""Training images in the folder of another class, with their true class."""

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw red and blue shapes, 24 of each for training, three of which are in the wrong folder."""
    root, seed = tmp_path_factory.mktemp("data"), 0
    for split, n in {"train": 24, "validation": 6, "test": 6}.items():
        for label in ("blue", "red"):
            (root / split / label).mkdir(parents=True)
            for number in range(n):
                seed += 1
                name = f"{label}-{number:02}.png"
                color = WRONG.get(name, label) if split == "train" else label
                draw_attributes([color, "circle" if number % 2 else "square"], seed).save(root / split / label / name)
    return root


def _ranked(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["data", "review", *words, "--json"]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_the_next_steps_are_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """After the table, the sheet and the command that corrects labels are printed, and they exist."""
    assert main(["data", "review", str(run.path)]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sheet ")]
    sheet, command = shlex.split(line.replace(";", ""))[1], line.partition("page: ")[2]

    assert Path(sheet).is_file()
    assert shlex.split(command) == ["cnncli", "data", "review", str(short_path(run.path)), "--open"]


@pytest.mark.parametrize("n_flagged", [0, 1])
def test_the_suggested_page_is_that_of_the_review(
    run: Run, tmp_path: Path, n_flagged: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The suggested command has the split and the folder of the review; flags are explained if there are any."""
    found = review(run.folder, CONSOLE, "all", tmp_path / "my review")
    labels = [replace(one, flagged=n < n_flagged) for n, one in enumerate(found.labels)]
    caplog.set_level("INFO")
    _log_next_steps(replace(found, labels=tuple(labels)), _page_command(found, "all"))
    words = shlex.split(caplog.text.partition("page: ")[2].splitlines()[0])

    assert words[4:] == ["--split", "all", "--out", str(tmp_path / "my review"), "--open"]
    assert ("flagged: " in caplog.text) == bool(n_flagged)


def test_wrong_labels_come_first(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The ranking has every training image; the wrong labels are the first, with the true class suggested."""
    ranked = _ranked([str(run.path)], capsys)
    first = {Path(one["path"]).name: one["suggested"] for one in ranked[:3]}

    assert first == WRONG
    assert len(ranked) == 48
    assert [one["score"] for one in ranked] == sorted((one["score"] for one in ranked), reverse=True)
    assert {"path", "label", "suggested", "score"} <= ranked[0].keys()
    assert not any(one["flagged"] for one in ranked[10:])


def test_tables_and_a_sheet_are_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder has the ranking and the quality as CSV, and a sheet of the first images; the terminal the summary."""
    assert main(["data", "review", str(run.path), "--out", str(tmp_path / "review"), "--top", "3"]) == 0
    out = capsys.readouterr().out
    with (tmp_path / "review" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == 48
    assert {Path(row["path"]).name for row in rows[:3]} == {*WRONG}
    assert {row["flagged"] for row in rows} == {"true", "false"}
    assert all(name in out for name in WRONG)
    assert "yes" in out
    assert (tmp_path / "review" / "quality.csv").read_text().startswith('"path"')
    with Image.open(tmp_path / "review" / "suspects.png") as sheet:
        assert sheet.width > 400


def test_only_labels_that_are_less_probable_than_another_are_suspects(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of the terminal, the sheet and the page leave out images whose label is the most probable one."""
    found = review(run.folder, CONSOLE, out=tmp_path / "review")
    assert main(["data", "review", str(run.path), "--out", str(tmp_path / "review"), "--top", "48"]) == 0
    out = capsys.readouterr().out

    assert {Path(one.row.path).name for one in found.suspects} >= {*WRONG}
    assert all(one.score > 0.5 and one.suggested != one.row.labels for one in found.suspects)
    assert sum(card.section == "Labels" for card in cards_of(found)) == len(found.suspects)
    assert sum(one.row.path.name in out for one in found.labels) == len(found.suspects)


@pytest.mark.parametrize(("split", "n"), [("validation", 12), ("test", 12), ("all", 72)])
def test_other_splits_are_reviewed(run: Run, split: str, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Validation and test images are reviewed together with the training images, and listed without them."""
    ranked = _ranked([str(run.path), "--split", split], capsys)

    assert len(ranked) == n
    assert {one["split"] for one in ranked} == ({split} if split != "all" else {"train", "validation", "test"})


def test_a_review_needs_no_tensorflow(run: Run) -> None:
    """With cached features, neither TensorFlow nor Keras is imported."""
    program = (
        f"import sys; from cnncli.cli import main; code = main(['data', 'review', {str(run.path)!r}, '-q']); "
        "print(code, [name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_corrections_of_the_page_train_the_next_run(data: Path, run: Run) -> None:
    """Labels that are corrected and left out on the page are those of a config with the table; no file is moved."""
    before = sorted(data.rglob("*"))
    command = [sys.executable, "-m", "cnncli", "data", "review", str(run.path), "--open"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_without_browser()
    ) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        address = next(line.strip() for line in one.stdout if line.startswith("http"))
        state = json.loads(_post(address + "state"))
        for card in state["cards"][:2]:
            _post(address + "decide", {"image": card["image"], "decision": "label", "labels": card["suggested"]})
        left_out = state["cards"][2]["image"]
        _post(address + "decide", {"image": left_out, "decision": "exclude"})
        _post(address + "done", {})
        rest, messages = one.stdout.read(), one.stderr.read()
    setting = re.search(r"'(data\.labels=.*)'", rest)
    assert setting is not None
    assert "corrected 2, excluded 1" in rest
    assert "--open" not in messages
    config = load_config(run.folder.config, [setting[1]])
    rows = {row.file: row for row in build_manifest(config.data, config.seed, CONSOLE).rows}

    for card in state["cards"][:2]:
        file = state["images"][card["image"]]["file"]
        assert rows[file].label == WRONG[Path(file).name]
    assert state["images"][left_out]["file"] not in rows
    assert len(rows) == 71
    assert sorted(data.rglob("*")) == before


@pytest.fixture(scope="module")
def first(run: Run, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Review:
    """Review a run: the first suspicious label is kept, the second corrected, and the image of the third left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        found = review(run.folder, CONSOLE, out=tmp_path_factory.mktemp("first"))
    with serve_review(found) as server:
        server.decide(0, found.suspects[0].row.labels, "label")
        server.decide(1, found.suspects[1].suggested, "label")
        server.decide(2, None, "exclude")
    return found


@pytest.fixture(scope="module")
def second(first: Review, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a run with the table of these corrections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        config = load_config(first.run.config, [first.corrections.setting])
        return train(config, tmp_path_factory.mktemp("runs"), CONSOLE)


def test_labels_that_were_confirmed_are_not_suspicious_in_the_next_run(
    first: Review, second: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ranking leaves out what a person kept or corrected, the table lists it last, and its number is stated."""
    kept, corrected, left_out = (one.row.file for one in first.suspects[:3])
    out = ["--out", str(tmp_path)]
    ranked = _ranked([str(second.path), *out], capsys)
    assert main(["data", "review", str(second.path), *out]) == 0
    text = capsys.readouterr().out
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert len(ranked) == 45
    assert not {kept, corrected, left_out} & {one["path"] for one in ranked}
    assert {row["path"] for row in rows[-2:]} == {kept, corrected}
    assert [row["confirmed"] for row in rows] == ["false"] * 45 + ["true"] * 2
    assert float(next(row["score"] for row in rows if row["path"] == kept)) > 0.5
    assert "labels: 47 reviewed, confirmed before 2," in text
    assert Path(kept).name not in text


def test_the_page_lists_confirmed_labels_apart(first: Review, second: Run, tmp_path: Path) -> None:
    """Confirmed labels that would be suspicious can be changed in a section of their own, and the next table has them.

    After a decision about another image, the confirmed labels of both reviews are known to a third run.
    """
    found = review(second.folder, CONSOLE, out=tmp_path)
    kept = first.suspects[0].row.file
    cards = cards_of(found)
    with serve_review(found) as server:
        image = server.state()["images"][server.state()["cards"][-1]["image"]]
        server.decide(0, ["red"], "label")
    later = review(second.folder, CONSOLE, out=tmp_path)

    assert [card.row.file for card in cards if card.section == "Confirmed"] == [kept]
    assert kept not in [card.row.file for card in cards if card.section == "Labels"]
    assert (image["file"], image["decision"]) == (kept, "confirmed")
    assert sum(later.corrections.counts().values()) == 3
    assert {one.row.file for one in found.confirmed} <= {one.row.file for one in later.confirmed}


def test_the_report_leaves_confirmed_labels_out(first: Review, second: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The suspicious labels of the report are those that nobody has confirmed; the others are counted."""
    page = report(second.folder, CONSOLE, explain=False).page.read_text(encoding="utf-8")
    shown = page.partition("<h2>Suspicious labels</h2>")[2].partition("</section>")[0]

    assert Path(first.suspects[0].row.file).name not in shown
    assert "of 47 " in shown
    with (second.folder.review / "labels.csv").open(newline="") as file:
        spared = [row for row in csv.DictReader(file) if row["confirmed"] == "true" and float(row["score"]) > 0.5]
    assert f"Not listed: {len(spared)} label" in shown
    assert [Path(row["path"]).name for row in spared] == [Path(first.suspects[0].row.file).name]


def test_a_damaged_table_of_corrections_does_not_stop_a_report(second: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The report then says which table could not be read, and counts none of its labels as confirmed."""
    table = second.folder.review / "corrections.csv"
    table.parent.mkdir(exist_ok=True)
    before = table.read_bytes() if table.is_file() else None
    table.write_text("path,label\n")
    try:
        page = report(second.folder, CONSOLE, explain=False).page
    finally:
        table.unlink() if before is None else table.write_bytes(before)

    assert page.is_file()
    assert "data-review-table-unreadable" in [getattr(one.msg, "code", "") for one in caplog.records]


def test_a_label_that_was_kept_is_not_suspicious_in_the_same_run(first: Review) -> None:
    """A second review of a run leaves out what was kept; corrected labels and images left out are still listed."""
    again = review(first.run, CONSOLE, out=first.folder)

    assert [one.row.file for one in again.confirmed] == [first.suspects[0].row.file]
    assert {one.row.file for one in first.suspects[1:3]} <= {one.row.file for one in again.suspects}


def test_no_training_is_suggested_without_images(run: Run, tmp_path: Path) -> None:
    """There is a command to train with the corrections once there are some, unless all images are left out."""
    found = review(run.folder, CONSOLE, out=tmp_path)
    assert command_with(found) is None
    found.corrections.labels = {row.file: None for row in found.manifest.rows[1:]}
    found.corrections.save()
    assert shlex.split(command_with(found) or "")[-1] == found.corrections.setting
    found.corrections.labels[found.manifest.rows[0].file] = None
    found.corrections.save()
    assert command_with(found) is None


def _without_browser() -> dict[str, str]:
    import os

    return {**os.environ, "BROWSER": "true"}


def _post(address: str, body: dict[str, Any] | None = None) -> bytes:
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, content), timeout=30) as answer:
        return bytes(answer.read())


def test_a_network_that_was_trained_itself_is_reviewed_with_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without frozen layers, the features below the logits are used, and a warning says what that means."""
    trained = train(tiny_config(data, mode="from-scratch", training={"epochs": 1}), tmp_path, CONSOLE)

    assert main(["data", "review", str(trained.path), "-q"]) == 0
    assert "data-review-trained-features" in [getattr(record.msg, "code", "") for record in caplog.records]


def test_several_networks_are_reviewed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The features of several networks count together."""
    networks = [{"name": "ConvNet", "weights": "none", "options": {"filters": [n]}} for n in (6, 8)]
    ranked = _ranked([str(train(tiny_config(data, backbone=networks, training={}), tmp_path, CONSOLE).path)], capsys)

    assert len({Path(one["path"]).name for one in ranked[:3]} & {*WRONG}) >= 2


def test_too_few_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four training images are too few for folds."""
    small = train(tiny_config(draw_dataset(tmp_path / "data", 2, 2, 2), training={}), tmp_path / "runs", CONSOLE)

    assert main(["data", "review", str(small.path)]) == 2
    assert "[data-review-too-few]" in capsys.readouterr().err


def test_options_that_contradict_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A page and JSON exclude each other, and a split must exist."""
    assert main(["data", "review", str(run.path), "--json", "--open"]) == 2
    assert "[usage-options-conflict]" in capsys.readouterr().err


def test_missing_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If images of the run were deleted, the review names them."""
    folder = draw_dataset(tmp_path / "data", 8, 2, 2)
    trained = train(tiny_config(folder, training={}), tmp_path / "runs", CONSOLE)
    next((folder / "train").rglob("*.png")).unlink()

    assert main(["data", "review", str(trained.path)]) == 2
    assert "[data-image-changed]" in capsys.readouterr().err


def test_flipped_labels_are_counted_by_the_script(data: Path) -> None:
    """The script flips labels, trains, reviews, and counts those among the first."""
    from click.testing import CliRunner

    words = [str(data), "--flips", "3", "--seeds", "1", "--json", "data.image_size=32", "backbone.name=ConvNet"]
    words += ["backbone.weights=none", "backbone.options.filters=[8]", "engine=openvino", "precision=float32"]
    (found,) = json.loads(CliRunner().invoke(measure, words, catch_exceptions=False).stdout)

    assert found["flips"] == 3
    assert 2 <= found["among_twice"] <= 3
    assert np.isfinite(found["seconds"])
