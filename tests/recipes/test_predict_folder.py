"""Predictions of a folder as a table and as folders of classes, at once or as images arrive."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from threadpoolctl import threadpool_info, threadpool_limits

import cnncli
from cnncli.cli import main
from cnncli.errors import CnncliError
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_spec
from cnncli.recipes.predict import open_predictor, predict
from cnncli.recipes.predict_folder import ALL_CLASSES, Arrivals, Destination, predicted_labels, record, watch
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.shards.writing import samples, write_parquet, write_tar
from tests.support.attributes import write_attributes
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.logged import codes_in, message_in

CONSOLE = Console(quiet=True)

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 20, 20, 6)


@pytest.fixture
def images(data: Path, tmp_path: Path) -> Path:
    """Copy the test images into a folder with one damaged file."""
    folder = Path(shutil.copytree(data / "test", tmp_path / "images"))
    (folder / "damaged.jpg").write_bytes(b"nothing")
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_threads_of_blas_do_not_compete_with_those_that_predict(run: Run, images: Path) -> None:
    """BLAS uses one thread while images are predicted, and as many as before when no more results are taken."""

    def blas() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        results = predict(run.folder, [images]).found
        next(results)
        during = blas()
        results.close()

        assert (during, blas()) == ({1}, {2})


def test_a_table_has_a_row_per_image_and_a_column_per_class(run: Run, images: Path, tmp_path: Path) -> None:
    """Each image is a row with the probabilities that `predict` gives, and a damaged file is a row with its error."""
    table = tmp_path / "found.parquet"
    assert main(["predict", str(images), "--run", str(run.path), "--table", str(table), "-q"]) == 2
    rows = {row.pop("path"): row for row in parquet.read_table(table).to_pylist()}
    damaged = rows.pop(str(images / "damaged.jpg"))
    found = cnncli.predict(sorted(rows), run=run)

    assert set(damaged) == {"predicted", "confidence", "unknown", "error", "stripes", "dots"}
    assert {name for name, cell in damaged.items() if cell is not None} == {"error"}
    assert len(found) == 12
    for one in found:
        expected: dict[str, Any] = dict(zip(one.labels, one.probabilities, strict=True))
        trust = {"confidence": one.confidence, "unknown": one.unknown, "error": None}
        assert rows[one.path] == pytest.approx({"predicted": one.labels[0], **expected, **trust}, abs=1e-6)


def test_a_summary_counts_the_classes(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line has the number of images of each class, of unknown and of unreadable ones, as the table has them."""
    table = tmp_path / "found.csv"
    assert main(["predict", str(images), "--run", str(run.path), "--table", str(table)]) == 2
    (line,) = re.findall(r"^predicted (.*)$", capsys.readouterr().err, re.M)
    rows = read_csv(table)
    kinds = [
        "unreadable" if row["error"] else "unknown" if row["unknown"] == "true" else row["predicted"] for row in rows
    ]

    assert {name: int(n) for name, n in (part.rsplit(" ", 1) for part in line.split(", "))} == Counter(kinds)


def test_tables_of_every_format_agree(run: Run, images: Path, tmp_path: Path) -> None:
    """CSV and Excel contain what Parquet contains, and nothing is printed to stdout."""
    for name in ("a.csv", "a.xlsx", "a.parquet"):
        assert main(["predict", str(images), "--run", str(run.path), "--table", str(tmp_path / name), "-q"]) == 2
    import openpyxl

    header, *cells = openpyxl.load_workbook(tmp_path / "a.xlsx").active.iter_rows(values_only=True)
    exact = parquet.read_table(tmp_path / "a.parquet").to_pylist()

    assert len(cells) == 13
    for values, expected in zip(cells, exact, strict=True):  # Excel keeps 15 digits
        assert header == tuple(expected)
        for cell, exact_cell in zip(values, expected.values(), strict=True):
            assert cell == (pytest.approx(exact_cell, rel=1e-14) if isinstance(exact_cell, float) else exact_cell)
    for row, expected in zip(read_csv(tmp_path / "a.csv"), exact, strict=True):
        assert row["stripes"] == ("" if expected["stripes"] is None else repr(expected["stripes"]))
        assert row["unknown"] == ("" if expected["unknown"] is None else str(expected["unknown"]).lower())


def test_unknown_is_a_column_only_where_a_run_abstains(
    data: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a coverage, --csv and --table have the columns that they had before runs could abstain."""
    config = tiny_config(data, training={}, evaluation={"coverage": None})
    path = str(train(config, tmp_path / "runs", CONSOLE).path)
    assert main(["predict", str(images / "dots"), "--run", path, "--csv", "--top", "1"]) == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert main(["predict", str(images / "dots"), "--run", path, "--table", str(tmp_path / "a.csv")]) == 0

    assert lines[0] == ["path", "rank", "label", "probability"]
    assert {len(line) for line in lines} == {4}
    assert list(read_csv(tmp_path / "a.csv")[0]) == ["path", "predicted", "confidence", "error", "dots", "stripes"]


def test_json_beside_a_table_has_all_classes(
    run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints the predictions that are in the table."""
    table = tmp_path / "a.csv"
    words = ["predict", str(data / "test" / "dots"), "--run", str(run.path), "--table", str(table)]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    for entry, row in zip(document, read_csv(table), strict=True):
        assert {one["label"]: repr(one["probability"]) for one in entry["predictions"]} == {
            name: row[name] for name in ("stripes", "dots")
        }


def test_a_table_of_several_labels_names_all_that_are_predicted(tmp_path: Path) -> None:
    """If an image can have several labels, `predicted` holds those whose thresholds are reached, joined by ;."""
    labels = write_attributes(tmp_path / "attributes", 60, unlabeled=4)
    data = {"path": labels.parent, "labels": {"path": labels, "separator": ";"}, "image_size": 32}
    run = train(
        tiny_config(labels.parent, data=data, head={"activation": "sigmoid"}, training={}), tmp_path / "runs", CONSOLE
    )
    images = sorted(map(str, labels.parent.glob("*.png")))
    list(record(predict(run.folder, images, ALL_CLASSES), Destination(tmp_path / "a.csv")))
    rows, limits = read_csv(tmp_path / "a.csv"), load_spec(run.folder.engine)

    for row, one in zip(rows, cnncli.predict(images, run=run), strict=True):
        assert row["predicted"] == ";".join(one.labels)
        assert set(one.labels) == {
            name for name, limit in zip(limits.classes, limits.thresholds, strict=True) if float(row[name]) >= limit
        }
    assert {row["predicted"].count(";") for row in rows} >= {0, 1}


def test_an_ensemble_and_a_network_write_tables(run: Run, data: Path, tmp_path: Path) -> None:
    """Tables also come from several runs, and from a published network with 1,000 classes."""
    image, table = str(data / "test" / "dots" / "dots-00.png"), tmp_path / "a.csv"
    words = ["predict", image, "--table", str(table), "-q"]
    assert main([*words, "--run", str(run.path), "--run", str(run.path), "--ensemble", "mean"]) == 0
    (together,) = read_csv(table)
    assert main([*words, "--backbone", "EfficientNetLite0"]) == 0
    (row,) = read_csv(table)
    (alone,) = cnncli.predict(image, run=run)

    assert float(together[alone.labels[0]]) == pytest.approx(alone.probabilities[0])
    assert list(together) == ["path", "predicted", "confidence", "error", "dots", "stripes"]
    assert len(row) == 1004
    assert float(row[row["predicted"]]) == max(float(row[name]) for name in list(row)[4:])


def test_predicted_labels_follow_the_thresholds(run: Run) -> None:
    """With exclusive classes, the first class is predicted, whatever its probability."""
    spec = load_spec(run.folder.engine)

    assert predicted_labels(Prediction("a", ("dots", "stripes"), (0.5, 0.5)), spec) == ("dots",)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--table", "a.txt"], "usage-suffix"),
        (["--table", "a.csv", "--csv"], "usage-options-conflict"),
        (["--sort-into", "sorted", "--csv"], "usage-options-conflict"),
        (["--copy"], "usage-options-conflict"),
        (["--watch", "--csv"], "usage-options-conflict"),
        (["--watch", "--run", "a", "--run", "b", "--ensemble", "mean"], "usage-options-conflict"),
        (["--table", "a.csv", "--kaggle", "b.csv"], "usage-options-conflict"),
    ],
)
def test_options_that_contradict_a_table_are_refused(
    words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of another format, or one beside other output, is refused before the run is opened."""
    assert main(["predict", "a.jpg", *words]) == 2
    assert f"[{code}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "source", ["a.parquet", "link.parquet", "../shards", "[ab].parquet", "{a,b}.parquet", "a.parquet/1"]
)
def test_a_table_never_replaces_what_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    """A table that is a source by its path, a link, a folder or a pattern is refused, and the file stays."""
    folder = tmp_path / "shards"
    folder.mkdir()
    shard = write_parquet(folder / "a.parquet", samples(2))
    content = shard.read_bytes()
    (folder / "link.parquet").symlink_to("a.parquet")
    monkeypatch.chdir(folder)
    assert main(["predict", source, "--run", "absent", "--table", "a.parquet"]) == 2

    assert "[usage-table-is-source]" in capsys.readouterr().err
    assert shard.read_bytes() == content


def test_a_table_can_lie_next_to_images(run: Run, images: Path) -> None:
    """A table in the folder of the images is written, and replaced the next time."""
    for _ in range(2):
        words = ["predict", str(images / "dots"), "--run", str(run.path), "-q"]
        assert main([*words, "--table", str(images / "dots" / "a.parquet")]) == 0


def test_a_missing_library_is_reported_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without openpyxl, --table FILE.xlsx ends with the command that installs it, and no run is looked for."""
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert main(["predict", "a.jpg", "--run", "absent", "--table", "a.xlsx"]) == 2
    assert "pip install 'cnncli[xlsx]' [data-xlsx-not-installed]" in capsys.readouterr().err


def test_images_are_sorted_into_class_folders(run: Run, images: Path, tmp_path: Path) -> None:
    """Each image is in the folder of its class or in `unknown`; damaged files are reported, and images stay."""
    before = sorted(path.name for path in images.rglob("*.png"))
    (images / "dots" / "black.png").write_bytes(_png(np.zeros((32, 32, 3), np.uint8)))
    words = ["predict", str(images), "--run", str(run.path), "--sort-into", str(tmp_path / "sorted"), "-q"]
    for _ in range(2):
        assert main([*words, "--table", str(tmp_path / "a.csv")]) == 2
        rows = [row for row in read_csv(tmp_path / "a.csv") if not row["error"]]
        expected = {
            f"{'unknown' if row['unknown'] == 'true' else row['predicted']}/{Path(row['path']).name}" for row in rows
        }

        found = {str(path.relative_to(tmp_path / "sorted")) for path in (tmp_path / "sorted").rglob("*.png")}
        assert found == expected
        assert "unknown/black.png" in found
    assert sorted(path.name for path in images.rglob("*.png")) == sorted([*before, "black.png"])


def test_images_of_a_shard_are_sorted(run: Run, data: Path, tmp_path: Path) -> None:
    """The folders hold the content of each image of a tar, as they do for the same images as files."""
    files = sorted((data / "test").rglob("*.png"))
    shard = write_tar(tmp_path / "a.tar", [(path.name, path.read_bytes()) for path in files])
    for source, name in ((data / "test", "of files"), (shard, "of shards")):
        words = ["predict", str(source), "--run", str(run.path), "--sort-into", str(tmp_path / name), "-q"]
        assert main(words) == 0
    found, expected = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in ("of shards", "of files")
    )

    assert found == expected
    assert len(found) == len(files)


def test_a_missing_shard_of_a_series_is_an_error(run: Run, data: Path, tmp_path: Path) -> None:
    """A folder with a gap in its series is predicted as far as it is there, and the gap is a row with its error."""
    file = next((data / "test").rglob("*.png"))
    shards, table = tmp_path / "shards", tmp_path / "found.csv"
    shards.mkdir()
    write_tar(shards / "a-00000-of-00002.tar", [(file.name, file.read_bytes())])
    assert main(["predict", str(shards), "--run", str(run.path), "--table", str(table), "-q"]) == 2
    image, missing = read_csv(table)

    assert image["path"] == str(shards / "a-00000-of-00002.tar" / file.name)
    assert image["error"] == ""
    assert missing["path"] == str(shards / "a-00001-of-00002.tar")
    assert missing["error"]


def test_the_folder_of_sorted_images_must_be_elsewhere(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder inside the images, and an image without a file, are refused before the run is opened."""
    assert main(["predict", str(images), "--sort-into", str(images / "sorted")]) == 2
    assert "[usage-sort-inside]" in capsys.readouterr().err
    assert main(["predict", "-", "--sort-into", "sorted"]) == 2
    assert "[usage-value-invalid]" in capsys.readouterr().err


def _png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_arriving_images_wait_until_they_are_complete(data: Path, tmp_path: Path) -> None:
    """An image is ready when two looks found it unchanged, once; a growing file waits."""
    content = (data / "test" / "dots" / "dots-00.png").read_bytes()
    arrivals = Arrivals([str(tmp_path)], done=[str(tmp_path / "old.png")])
    for name in ("old.png", "a.png"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "growing.png").write_bytes(content[:50])

    assert arrivals.look() == []
    with (tmp_path / "growing.png").open("ab") as file:
        file.write(content[50:100])
    assert arrivals.look() == [tmp_path / "a.png"]
    with (tmp_path / "growing.png").open("ab") as file:
        file.write(content[100:])
    assert arrivals.look() == []
    assert arrivals.look() == [tmp_path / "growing.png"]
    assert arrivals.look() == []


def test_a_file_that_may_be_incomplete_is_tried_again(tmp_path: Path) -> None:
    """A file that cannot be used is not given up before it has been left alone for a while."""
    (tmp_path / "a.jpg").write_bytes(b"")
    arrivals = Arrivals([str(tmp_path)])
    arrivals.look()
    assert arrivals.look() == [tmp_path / "a.jpg"]

    assert not arrivals.is_settled(tmp_path / "a.jpg")
    assert arrivals.look() == [tmp_path / "a.jpg"]


def test_watching_writes_each_image_and_resumes_without_repeating(run: Run, data: Path, tmp_path: Path) -> None:
    """Images that are there and those that arrive are predicted, sorted and added once, also by a second process."""
    inbox, table = tmp_path / "inbox", tmp_path / "a.csv"
    inbox.mkdir()
    sources = sorted((data / "test" / "dots").glob("*.png"))
    to = Destination(table, tmp_path / "sorted")
    shutil.copy(sources[0], inbox)
    predictor = open_predictor(run.folder)
    found = watch(predictor, [str(inbox)], to, poll_s=0.01).found
    assert isinstance(first := next(found), Prediction)
    shutil.copy(sources[1], inbox)
    assert isinstance(second := next(found), Prediction)
    found.close()
    shutil.copy(sources[2], inbox)
    found = watch(predictor, [str(inbox)], to, poll_s=0.01).found
    assert isinstance(third := next(found), Prediction)
    found.close()

    names = [str(inbox / source.name) for source in sources[:3]]
    assert [first.path, second.path, third.path] == names
    assert [row["path"] for row in read_csv(table)] == names
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 3
    (alone,) = cnncli.predict(names[0], run=run)
    assert float(read_csv(table)[0]["dots"]) == pytest.approx(
        dict(zip(alone.labels, alone.probabilities, strict=True))["dots"], abs=1e-6
    )


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal as on Unix")
def test_ctrl_c_ends_watching_with_a_complete_table(run: Run, images: Path, tmp_path: Path) -> None:
    """A watching process prints a JSON line per image, ends with 130 on Ctrl-C, and its table has all of them."""
    table = tmp_path / "a.csv"
    words = ["predict", str(images), "--run", str(run.path), "--watch", "--json", "--table", str(table)]
    child = subprocess.Popen(
        [sys.executable, "-m", "cnncli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lines = [json.loads(child.stdout.readline()) for _ in range(12)]
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)

    assert child.returncode == 130
    assert err.splitlines()[-1] == "Interrupted."
    assert [row["path"] for row in read_csv(table)] == [line["path"] for line in lines]
    assert {tuple(line) for line in lines} == {("path", "predictions", "confidence", "unknown")}


@pytest.mark.parametrize(
    ("path", "table", "code"), [("a.jpg", "a.csv", "usage-watch-folder"), (".", "a.xlsx", "usage-watch-table")]
)
def test_what_cannot_be_watched_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, table: str, code: str
) -> None:
    """Only folders are watched, and only a CSV grows."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CnncliError) as error:
        watch(open_predictor(run.folder), [path], Destination(tmp_path / table))

    assert error.value.code == code


def test_a_watched_folder_is_listed_once_at_each_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are listed a second time, for shards, only when files have arrived that are not images."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    scandir, listed = os.scandir, list[Any]()
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), scandir(path))[1])
    arrivals = Arrivals([str(tmp_path)])
    arrivals.look()
    assert len(listed) == 2
    (tmp_path / "notes.txt").touch()
    arrivals.look()
    assert len(listed) > 4
    listed.clear()
    arrivals.look()
    assert len(listed) == 2


@pytest.mark.parametrize("place", [".", "below"])
def test_shards_that_arrive_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str) -> None:
    """The first shard in a watched folder, or in a folder in it, is named; a table of labels is no shard."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / place / "labels.parquet").write_bytes(b"")
    arrivals = Arrivals([str(tmp_path)])
    arrivals.look()
    assert codes_in(caplog) == []
    for number in range(2):
        write_tar(tmp_path / place / f"{number}.tar", [("a.jpg", b"a")])
        arrivals.look()

    assert message_in(caplog, "usage-watch-shards").facts["path"] == str(tmp_path / place / "0.tar")
