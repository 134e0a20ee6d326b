"""The packages of cnncli in import order, as a diagram and a table."""

from __future__ import annotations

import ast
from pathlib import Path

from scripts.figures.svg import Drawing, Variant

PACKAGE = Path(__file__).resolve().parents[2] / "cnncli"
LAYERS: dict[str, tuple[str, ...]] = {
    "Commands": ("recipes", "cli"),
    "Results": ("report", "export", "serving", "cluster"),
    "Training and inference": ("training", "evaluation", "inference", "explanation"),
    "Networks": ("networks", "engines", "features"),
    "Data": ("config", "runs", "dataset"),
    "Vocabulary": ("catalogue", "metrics", "images", "augmentation"),
    "Foundation": ("errors", "runtime", "terminal", "storage", "shards"),
}
"""Layers from the top; within a layer, and from the last layer to the first, a package imports only earlier ones."""

WIDTH, LEFT, ROW, BOX_HEIGHT, GAP = 760, 170, 58, 40, 12


def package_docs() -> dict[str, str]:
    """Return the first line of the docstring of each package, in import order."""
    names = [name for layer in reversed(LAYERS.values()) for name in layer]
    return {name: _doc(path) for name in names if (path := _path(name)).is_file()}


def _path(name: str) -> Path:
    module = PACKAGE / f"{name}.py"
    return module if module.is_file() else PACKAGE / name / "__init__.py"


def _doc(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0].rstrip(".")


def packages_svg(variant: Variant) -> str:
    """Return the diagram with one row per layer; imports point down and to the left."""
    docs = package_docs()
    rows = {title: [name for name in names if name in docs] for title, names in LAYERS.items()}
    rows = {title: names for title, names in rows.items() if names}
    height = ROW * len(rows) + 46
    drawing = Drawing(WIDTH, height, "Packages of cnncli. Imports point down and to the left.", variant)
    kinds = {"Training and inference": "trained", "Networks": "frozen", "Data": "stored", "Commands": "result"}
    for number, (title, names) in enumerate(rows.items()):
        y = 12 + number * ROW
        drawing.text(LEFT - 18, y + BOX_HEIGHT / 2 + 5, title, size=13, faint=True, anchor="end")
        width = (WIDTH - LEFT - 12 - GAP * (len(names) - 1)) / len(names)
        for column, name in enumerate(names):
            x = LEFT + column * (width + GAP)
            drawing.box(x, y, width, BOX_HEIGHT, kinds.get(title, "plain"))
            drawing.text(x + width / 2, y + BOX_HEIGHT / 2 + 5, name, size=14, mono=True)
    drawing.line(LEFT, height - 32, LEFT, height - 10, arrow=True)
    drawing.text(
        LEFT + 14, height - 14, "imports point down, and to the left within a row", size=13, faint=True, anchor="start"
    )
    return drawing.svg()
