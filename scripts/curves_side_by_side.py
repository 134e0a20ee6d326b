"""Draw the curves of several runs side by side with common scales.

Usage: python scripts/curves_side_by_side.py OUT.png RUN RUN [RUN ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from cnncli.report.curves import draw_curves_side_by_side
from cnncli.runs.folder import runs_dir_from
from cnncli.runs.listing import open_run
from cnncli.runs.records import read_history


def main(out: Path, names: list[str]) -> None:
    """Draw the histories of runs, given by directory or name."""
    runs = [open_run(name, runs_dir_from(None)) for name in names]
    draw_curves_side_by_side([(run.read_facts()["name"], read_history(run.history)) for run in runs], out)
    print(out)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
