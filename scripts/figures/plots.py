"""Figures from real runs: the curves of a fine-tuned run, and augmented images of the sample."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scripts.figures.session import ROOT, run, workspace
from scripts.figures.svg import THEMES, VARIANTS, Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINING = (
    "cnncli train configs/quickstart.yaml -q name=curves mode=fine-tuning training.unfreeze=4 data.image_size=96 "
    "training.epochs=8 training.early_stopping=null augmentation.horizontal_flip=true "
    "training.optimizer.learning_rate=5e-4"
)
AUGMENTATION = {
    "rotation_range": 20,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "brightness_range": [0.7, 1.3],
    "saturation_range": [0.5, 1.5],
    "hue_range": 0.05,
    "random_erasing": {"probability": 0.4, "scale": [0.02, 0.1]},
}
TILE, GAP, HEADING, ROWS, COLUMNS = 112, 6, 24, 3, 6


def draw_curves(folder: Path) -> None:
    """Train with two stages and write curves-light.png and curves-dark.png."""
    with workspace() as place:
        run(TRAINING, place)
        (history,) = (place / "runs").glob("*/history.csv")
        with history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    for variant in VARIANTS:
        with _figure(folder / f"curves-{variant}.png", variant) as figure:
            _draw_panels(figure, rows, variant)


@contextmanager
def _figure(path: Path, variant: Variant) -> Iterator[Figure]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    theme = THEMES[variant]
    settings: dict[Any, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.text
    )
    with rc_context({**settings, "axes.edgecolor": theme.faint, "font.size": 10}):
        figure = Figure(figsize=(7.6, 2.9), dpi=150, layout="constrained")
        yield figure
        figure.savefig(path, transparent=True, metadata={"Software": None})


def _draw_panels(figure: Figure, rows: list[dict[str, str]], variant: Variant) -> None:
    from matplotlib.ticker import MaxNLocator

    theme = THEMES[variant]
    epochs = range(1, len(rows) + 1)
    first_of_second = next(number for number, row in enumerate(rows) if row["stage"] != rows[0]["stage"])
    for axes, quantity, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        for name, label, kind, marker in (("", "train", "frozen", "o"), ("val_", "validation", "trained", "s")):
            values = [scale * float(row[name + quantity]) for row in rows]
            axes.plot(epochs, values, color=theme.fills[kind][1], marker=marker, markersize=3.5, label=label)
        axes.axvline(first_of_second + 0.5, color=theme.faint, linestyle=":", linewidth=1.2)
        for place, stage in ((0.5, rows[0]["stage"]), (first_of_second + 0.5, rows[-1]["stage"])):
            axes.annotate(
                stage, (place, 1), xycoords=axes.get_xaxis_transform(), xytext=(4, 3), textcoords="offset points"
            )
        axes.set(xlabel="epoch", ylabel=quantity if scale == 1 else "accuracy (%)", xlim=(0.5, len(rows) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=theme.faint, alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, labelcolor=theme.text)


def draw_augmentation(folder: Path) -> None:
    """Write augmentation-light.webp and augmentation-dark.webp: images of the sample and their augmented views."""
    from cnncli.augmentation.views import render_view
    from cnncli.config.reader import config_from_mapping
    from cnncli.dataset.build import build_manifest
    from cnncli.images.decode import decode
    from cnncli.recipes.augment import choose_images

    settings = {"data": {"path": str(ROOT / "data" / "sample"), "image_size": TILE}, "augmentation": AUGMENTATION}
    config = config_from_mapping(settings, environment={})
    spec = config.data.pixel_spec((TILE, TILE))
    tiles = []
    for row in choose_images(build_manifest(config.data, config.seed).split("train"), ROWS, seed=3):
        pixels = decode(row.path, spec)
        tiles.append([render_view(pixels, config.augmentation, row.digest, view) for view in range(COLUMNS)])
    for variant in VARIANTS:
        _sheet(tiles, variant).save(folder / f"augmentation-{variant}.webp", quality=88, method=6)


def _sheet(tiles: list[list[np.ndarray]], variant: Variant) -> Image.Image:
    size = (COLUMNS * (TILE + GAP) + GAP, HEADING + len(tiles) * (TILE + GAP))
    sheet = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    for column in range(COLUMNS):
        left = column * (TILE + GAP) + (GAP if column else 0)
        heading = "image" if column == 0 else f"view {column}"
        pen.text((left, 3), heading, THEMES[variant].text, ImageFont.load_default(14))
        for line, row in enumerate(tiles):
            sheet.paste(Image.fromarray(row[column]), (left, HEADING + line * (TILE + GAP)))
    return sheet
