"""Curves of several runs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cnncli.runs.records import HistoryRow
from scripts import curves_side_by_side
from scripts.curves_side_by_side import draw_curves_side_by_side
from tests.support.figures import capture_figures


def history(n: int) -> list[HistoryRow]:
    """Return n epochs with falling losses."""
    values = [{"loss": 1 / k, "accuracy": k / n, "val_loss": 2 / k, "val_accuracy": k / n / 2} for k in range(1, n + 1)]
    return [HistoryRow("train", k, 1e-3, metrics, 1.0, 1.0) for k, metrics in enumerate(values, start=1)]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Capture the drawn figures instead of writing PNGs."""
    return capture_figures(curves_side_by_side, monkeypatch)


def test_runs_side_by_side_share_their_scales(figures: list[Figure]) -> None:
    """All columns have the same scales for losses, accuracies and epochs."""
    draw_curves_side_by_side([("with", history(9), 3), ("without", history(30), 0)], Path("both.png"))
    loss, other_loss, accuracy, other_accuracy = figures[0].axes
    assert loss.get_ylim() == other_loss.get_ylim()
    assert accuracy.get_ylim() == other_accuracy.get_ylim()
    assert len({axes.get_xlim() for axes in figures[0].axes}) == 1
    for axes in figures[0].axes:
        low, high = axes.get_ylim()
        assert all(low < value < high for line in axes.lines[:2] for value in line.get_ydata())  # type: ignore[union-attr]
    assert [axes.get_title(loc="left") for axes in figures[0].axes] == ["with", "without", "", ""]
