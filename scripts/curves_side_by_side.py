"""Draw the curves of several runs side by side with common scales.

Usage: python scripts/curves_side_by_side.py OUT.png RUN RUN [RUN ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cnncli.metrics.table import METRICS
from cnncli.report.curves import PANEL_INCHES, draw_panel
from cnncli.report.figures import png_figure
from cnncli.runs.folder import runs_dir_from
from cnncli.runs.listing import open_run
from cnncli.runs.records import HistoryRow, read_history


def main(out: Path, names: list[str]) -> None:
    """Draw the histories of runs, given by directory or name."""
    columns = []
    for name in names:
        run = open_run(name, runs_dir_from(None))
        facts = run.read_facts()
        columns.append((facts["name"], read_history(run.history), facts.get("best_epoch", 0)))
    draw_curves_side_by_side(columns, out)
    print(out)


def draw_curves_side_by_side(runs: Sequence[tuple[str, Sequence[HistoryRow], int]], path: Path) -> None:
    """Draw title, history and best epoch of each run as a PNG, one column per run, with common scales."""
    width, height = PANEL_INCHES
    epochs = max(len(rows) for _, rows, _ in runs)
    room_for_stages = 26 if any(len({row.stage for row in rows}) > 1 for _, rows, _ in runs) else 8
    with png_figure(path, (len(runs) * width, len(METRICS) * height)) as figure:
        grid = figure.subplots(len(METRICS), len(runs), sharex=True, sharey="row", squeeze=False)
        for number, (metric, line) in enumerate(zip(METRICS.values(), grid, strict=True)):
            for (title, rows, best), axes in zip(runs, line, strict=True):
                draw_panel(axes, metric, rows, epochs, best)
                axes.label_outer()
                if number == 0:
                    axes.set_title(title, loc="left", fontweight="bold", pad=room_for_stages)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
