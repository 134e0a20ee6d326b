"""Curves of a history: their content, and that drawing has no side effects."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cnncli.metrics.table import kept_epoch, result_names
from cnncli.report import curves
from cnncli.report.curves import draw_curves
from cnncli.runs.records import HistoryRow
from tests.support.figures import capture_figures


def epoch(stage: str, loss: float, accuracy: float, val_loss: float, val_accuracy: float) -> HistoryRow:
    """Return one row of a history."""
    metrics = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
    return HistoryRow(stage, 1, 1e-3, dict.fromkeys(result_names(), 0.5) | metrics, 1.0, 1.0)


def history(*stages: tuple[str, int]) -> list[HistoryRow]:
    """Return losses that fall and then rise again, with the given number of epochs per stage."""
    names = [name for name, epochs in stages for _ in range(epochs)]
    bowl = [0.3 + 0.01 * (number - 7) ** 2 for number in range(len(names))]
    return [
        epoch(name, 1 / (n + 1), n / len(names), loss, 1 - loss / 2)
        for n, (name, loss) in enumerate(zip(names, bowl, strict=True))
    ]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Capture the drawn figures instead of writing PNGs."""
    return capture_figures(curves, monkeypatch)


def texts(figure: Figure) -> list[list[str]]:
    """Return the stage names of each panel."""
    return [[text.get_text() for text in axes.texts] for axes in figure.axes]


def legends(figure: Figure) -> list[list[str]]:
    """Return the legend of each panel."""
    return [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]


def test_curves_are_a_png(tmp_path: Path) -> None:
    """The result is a PNG with panels side by side, and the same history gives the same bytes."""
    draw_curves(history(("head", 3)), tmp_path / "curves.png", best=1)
    data = (tmp_path / "curves.png").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert image.width > 2 * image.height
    draw_curves(history(("head", 3)), tmp_path / "curves.png", best=1)
    assert (tmp_path / "curves.png").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    "rows",
    [
        history(("head", 1)),
        history(("head", 1), ("fine-tune", 1)),
        history(("head", 500)),
        [epoch("head", float("nan"), 0.5, float("nan"), float("nan"))],
        [epoch("head", float("inf"), 0.5, 0.4, 1.0), *history(("head", 2))],
        [],
    ],
    ids=["one epoch", "two stages of one", "500 epochs", "only NaN", "an infinity", "nothing"],
)
def test_any_history_can_be_drawn(rows: Sequence[HistoryRow], tmp_path: Path) -> None:
    """Histories of no, one and very many epochs, and losses of NaN and Inf, can be drawn."""
    draw_curves(rows, tmp_path / "curves.png", min(1, len(rows)))
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_both_quantities_show_train_and_validation(figures: list[Figure]) -> None:
    """The left panel shows losses, the right panel accuracies, over epochs counted from 1."""
    rows = history(("head", 4), ("fine-tune", 6))
    draw_curves(rows, Path("curves.png"), best=1)
    loss, accuracy = figures[0].axes[:2]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    for axes, quantity in [(loss, "loss"), (accuracy, "accuracy")]:
        lines: dict[Any, Any] = {line.get_label(): line for line in axes.lines}
        assert list(lines["train"].get_xdata()) == list(range(1, 11))
        assert list(lines["train"].get_ydata()) == [row.metrics[quantity] for row in rows]
        assert list(lines["validation"].get_ydata()) == [row.metrics[f"val_{quantity}"] for row in rows]


def test_the_best_epoch_is_stated_in_numbers(figures: list[Figure]) -> None:
    """The legend gives the validation metrics of the best epoch, if there is one."""
    draw_curves(history(("head", 12)), Path("curves.png"), best=3)
    draw_curves(history(("head", 12)), Path("curves.png"), best=0)
    assert [legend[-1] for legend in legends(figures[0])][:2] == ["best epoch 3: 0.5500", "best epoch 3: 72.5 %"]
    assert legends(figures[1])[:2] == [["train", "validation"]] * 2


def test_the_last_epoch_is_not_called_the_best(figures: list[Figure]) -> None:
    """A run that keeps its last epoch names it so, also with validation images."""
    draw_curves(history(("head", 12)), Path("curves.png"), best=12, word=kept_epoch("last"))
    assert all(legend[-1].startswith("last epoch 12: ") for legend in legends(figures[0])[:2])


def test_without_validation_images_there_is_one_line(figures: list[Figure]) -> None:
    """The legend names the training metrics and the last epoch, whose weights are kept. Row 127."""
    rows = [replace(row, metrics={"loss": row.metrics["loss"], "accuracy": 0.75}) for row in history(("head", 4))]
    draw_curves(rows, Path("curves.png"), best=4, word="last")
    assert legends(figures[0])[:2] == [["train", "last epoch 4: 0.2500"], ["train", "last epoch 4: 75.0 %"]]


def test_stages_are_named_where_they_begin(figures: list[Figure]) -> None:
    """Several stages are separated by lines and named; a single stage is not."""
    draw_curves(history(("head", 4), ("fine-tune", 6)), Path("curves.png"), best=1)
    draw_curves(history(("head", 4)), Path("curves.png"), best=1)
    staged, plain = figures
    assert texts(staged)[:2] == [["head", "fine-tune"]] * 2
    assert texts(plain)[:2] == [[], []]
    assert len(staged.axes[0].lines) == len(plain.axes[0].lines) + 1
    divider: Any = staged.axes[0].lines[-1]
    assert list(divider.get_xdata()) == [4.5, 4.5]


def test_a_drawing_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """If drawing fails, the old PNG is unchanged."""
    draw_curves(history(("head", 3)), tmp_path / "curves.png", best=1)
    before = (tmp_path / "curves.png").read_bytes()
    with pytest.raises(AttributeError):
        draw_curves([object()], tmp_path / "curves.png", best=1)  # type: ignore[list-item]
    assert (tmp_path / "curves.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_the_users_own_style_stays_out_and_stays(tmp_path: Path) -> None:
    """The matplotlib style of a notebook does not affect the image, and drawing does not change that style."""
    draw_curves(history(("head", 3)), tmp_path / "plain.png", best=1)
    with matplotlib.rc_context({"axes.facecolor": "black", "text.color": "white", "font.size": 30}):
        draw_curves(history(("head", 3)), tmp_path / "dark.png", best=1)
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "dark.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_drawing_needs_no_window_and_no_tensorflow(tmp_path: Path) -> None:
    """Drawing imports neither pyplot, which keeps figures in memory, nor TensorFlow."""
    program = (
        "import sys; from pathlib import Path; from cnncli.report.curves import draw_curves; "
        f"draw_curves([], Path({str(tmp_path / 'curves.png')!r}), 0); "
        "print([name for name in ('matplotlib.pyplot', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_prints_nothing_without_a_home(tmp_path: Path) -> None:
    """Drawing prints nothing if the home folder is not writable or a font lacks a character."""
    program = (
        "from pathlib import Path; from cnncli.report.figures import save_figure\n"
        f"with save_figure(Path({str(tmp_path / 'figure.png')!r}), (2, 2)) as figure: figure.suptitle('\u732b')"
    )
    (tmp_path / "file").touch()
    home = {name: str(tmp_path / "file") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    environment = {**os.environ, **home, "MPLCONFIGDIR": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "figure.png").stat().st_size > 0
