"""Draw the figures of the documentation: `python -m scripts.figures [NAME …]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from scripts.figures import diagrams
from scripts.figures.svg import VARIANTS, Variant

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"
DIAGRAMS: dict[str, Callable[[Variant], str]] = {"cut": diagrams.cut_svg, "flow": diagrams.flow_svg}


def main(names: list[str]) -> None:
    """Draw the named figures, or all of them."""
    from scripts.figures import plots, terminal

    runs = {"quickstart": terminal.draw, "curves": plots.draw_curves, "augmentation": plots.draw_augmentation}
    known = [*DIAGRAMS, *runs]
    if unknown := set(names) - set(known):
        sys.exit(f"unknown figures: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in names or known:
        if name in DIAGRAMS:
            for variant in VARIANTS:
                (FOLDER / f"{name}-{variant}.svg").write_text(DIAGRAMS[name](variant), encoding="utf-8")
        else:
            runs[name](FOLDER)
        print(f"{FOLDER / name}-*")


if __name__ == "__main__":
    main(sys.argv[1:])
