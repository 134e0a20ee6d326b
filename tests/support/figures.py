"""Figures as objects instead of PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.figure import Figure


def capture_figures(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return a list to which the `save_figure` of a module then appends its figures instead of writing them."""
    drawn: list[Figure] = []

    @contextmanager
    def keep(path: Path, size_inches: tuple[float, float]) -> Iterator[Figure]:
        drawn.append(Figure(figsize=size_inches))
        yield drawn[-1]

    monkeypatch.setattr(module, "save_figure", keep)
    return drawn
