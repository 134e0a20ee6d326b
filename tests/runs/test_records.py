"""The history is written as a table and for TensorBoard."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.errors import RunError
from cnncli.metrics.table import result_names
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import HistoryRow, RunWriter, columns, read_history, write_history
from tests.support.logged import codes_in

METRICS = dict.fromkeys(result_names(), 0.5) | {"accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.875}
ROW = HistoryRow("head", 1, 1e-3, METRICS, 2.5, 800.0)
NUMBERS = st.floats(allow_nan=False)
ROWS = st.builds(
    HistoryRow,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]*", fullmatch=True),
    st.integers(1),
    NUMBERS,
    st.fixed_dictionaries(dict.fromkeys(result_names(), NUMBERS)),
    NUMBERS,
    NUMBERS,
)


def _with(**metrics: float) -> HistoryRow:
    return replace(ROW, metrics={**METRICS, **metrics})


def test_the_columns_of_the_table(tmp_path: Path) -> None:
    """The header names every column in order, and each epoch is one line."""
    write_history(tmp_path / "history.csv", [ROW])

    assert (tmp_path / "history.csv").read_text() == (
        f"stage,epoch,learning_rate,{','.join(METRICS)},seconds,images_per_s\n"
        f"head,1,0.001,{','.join(map(str, METRICS.values()))},2.5,800.0\n"
    )
    assert tuple(ROW.to_dict()) == columns()


@given(st.lists(ROWS, max_size=4))
def test_rows_read_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, rows: list[HistoryRow]) -> None:
    """Numbers are written with all their digits."""
    path = tmp_path_factory.getbasetemp() / "history.csv"
    write_history(path, rows)

    assert read_history(path) == tuple(rows)


def test_nan_and_infinity_read_back(tmp_path: Path) -> None:
    """Losses of NaN and infinity are preserved."""
    write_history(tmp_path / "history.csv", [_with(loss=math.nan, val_loss=math.inf)])
    (row,) = read_history(tmp_path / "history.csv")

    assert math.isnan(row.metrics["loss"])
    assert row.metrics["val_loss"] == math.inf


def test_columns_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    """Additional columns are ignored, and the order of columns does not matter."""
    names = (*reversed(columns()), "later")
    values = [*(str(value) for value in reversed(ROW.to_dict().values())), "x"]
    (tmp_path / "history.csv").write_text(",".join(names) + "\n" + ",".join(values) + "\n")

    assert read_history(tmp_path / "history.csv") == (ROW,)


@pytest.mark.parametrize(
    "text",
    [
        "stage,epoch\nhead,1\n",
        ",".join(columns()) + "\nhead,one,0,0,0,0,0,0,0\n",
        ",".join(columns()) + "\nhead,1\n",
        "\udcff",
    ],
)
def test_a_damaged_table_is_an_error(tmp_path: Path, text: str) -> None:
    """Missing columns, words instead of numbers, truncated lines and binary data are errors that name the file."""
    (tmp_path / "history.csv").write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")

    if text == "\udcff":
        (tmp_path / "history.csv").write_bytes(b"\xff\n\xff\n")
    with pytest.raises(RunError) as caught:
        read_history(tmp_path / "history.csv")

    assert (caught.value.code, caught.value.facts["path"]) == ("run-file-damaged", tmp_path / "history.csv")


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    """A missing history is an error with a code."""
    with pytest.raises(RunError) as caught:
        read_history(tmp_path / "history.csv")

    assert caught.value.code == "run-file-damaged"


def test_each_epoch_is_on_disk_before_the_next(tmp_path: Path) -> None:
    """The history of a killed run contains all finished epochs."""
    pytest.importorskip("tensorflow")
    run = RunFolder(tmp_path)
    rows = [ROW, replace(ROW, epoch=2)]
    with RunWriter(run) as writer:
        writer.write_epoch(rows[:1])
        after_one = read_history(run.history)
        writer.write_epoch(rows)

    assert after_one == (ROW,)
    assert read_history(run.history) == tuple(rows)


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    """TensorBoard finds training and validation metrics under the same names, so that it plots them together."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    run = RunFolder(tmp_path)
    second = replace(_with(loss=0.4, val_loss=0.2), stage="fine-tune", epoch=2)
    with RunWriter(run) as writer:
        writer.write_epoch([ROW])
        writer.write_epoch([ROW, second])

    def curve(split: str, name: str) -> list[tuple[int, float]]:
        events = EventAccumulator(str(run.tensorboard / split)).Reload().Tensors(f"epoch/{name}")
        return [(event.step, round(float(tensor_util.make_ndarray(event.tensor_proto)), 6)) for event in events]

    assert curve("train", "loss") == [(1, 0.5), (2, 0.4)]
    assert curve("validation", "loss") == [(1, 0.25), (2, 0.2)]
    assert curve("train", "accuracy") == [(1, 0.75), (2, 0.75)]
    assert curve("validation", "accuracy") == [(1, 0.875), (2, 0.875)]
    assert curve("train", "learning_rate") == [(1, 0.001), (2, 0.001)]


def test_tensorboard_logs_that_cannot_be_written_are_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If TensorBoard logs cannot be written, the history still is."""
    run = RunFolder(tmp_path)
    run.tensorboard.parent.mkdir(parents=True, exist_ok=True)
    run.tensorboard.write_text("a file in the folder's way")
    with RunWriter(run) as writer:
        writer.write_epoch([ROW])

    assert read_history(run.history) == (ROW,)
    assert codes_in(caplog) == ["run-tensorboard-unwritable"]
