"""The table of `cnncli export` says what of each file agrees with the run."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from cnncli.cli.export import print_table
from cnncli.errors import Message
from cnncli.export.parity import Exported
from cnncli.metrics.classification import wilson_interval
from cnncli.terminal.console import Console

FLOAT32 = Exported("savedmodel", "float32", Path("saved_model"), 200, 0.955, 0.955, 1e-6, 1e-6, 94_000_000, 31.5)
INT8 = replace(FLOAT32, format="openvino", precision="int8", top1=0.945, max_difference=0.29)
DIFFERS = replace(FLOAT32, problems=(Message("export-differs", ""),))
WORSE = replace(INT8, problems=(Message("export-accuracy-lost", ""),))
BROKEN = replace(DIFFERS, top1=nan, max_difference=nan, max_difference_float32=nan, ms_per_image=nan)


@pytest.mark.parametrize(
    ("exported", "agrees"),
    [(FLOAT32, "probabilities"), (INT8, "accuracy only"), (DIFFERS, "NO"), (WORSE, "NO"), (BROKEN, "NO")],
    ids=["float32", "int8", "differs", "worse", "broken"],
)
def test_the_table_says_what_agrees(exported: Exported, agrees: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Probabilities are compared in float32 and float16; of int8, only the accuracy, with its interval, is."""
    print_table([exported], Console(quiet=True))
    headings, row = capsys.readouterr().out.splitlines()

    assert headings.endswith("agrees")
    assert row.endswith(agrees)
    assert "nan" not in row


def test_accuracies_have_their_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """The interval is Wilson's of the images that the file recognized, in the table and in JSON."""
    print_table([INT8], Console(quiet=True))

    assert "94.5 % (90.4–96.9 %)" in capsys.readouterr().out
    assert INT8.to_dict()["top1_ci95"] == wilson_interval(189, 200)


def test_the_table_fits_into_100_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal of 100 columns, no heading is wrapped and the accuracy of the run is shown."""
    monkeypatch.setattr("cnncli.terminal.console.is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table([FLOAT32, INT8], Console(quiet=True))
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == 4
    assert max(map(len, lines)) <= 100
    assert "of the run" in lines[0]
