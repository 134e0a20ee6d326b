"""`cnncli augment`: a contact sheet of the renderings that training would see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.settings import augmentation_notes, describe
from cnncli.augmentation.views import number_of_views, render_fresh, render_view
from cnncli.catalogue.networks import network
from cnncli.config.modes import run_name, stages_of
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.watching import watching
from cnncli.errors import CnncliError, ConfigError, printable
from cnncli.images.decode import PixelSpec, decode
from cnncli.report.contact_sheet import SheetRow, draw_contact_sheet
from cnncli.runtime.random_keys import digest_words, uniform_words
from cnncli.runtime.threads import batched
from cnncli.terminal.console import Console

MOST_COLUMNS = 6
"""Of a sheet for which nobody said how many views to show."""

A_LINE = 6
"""Operations in one line of the sheet's small print."""

Renderer = Callable[[NDArray[np.uint8], str], NDArray[np.uint8]]
"""From an image's pixels and digest to one of its renderings."""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet that was written.

    Attributes:
        path: of the PNG, absolute.
        images: the images on it, row by row.
        columns: what its columns show.
        notes: sentences about settings that do something else than it seems.
    """

    path: Path
    images: tuple[Path, ...]
    columns: tuple[str, ...]
    notes: tuple[str, ...]


def augment(config: Config, out: Path | None, images: int, views: int | None, console: Console) -> Sheet:
    """Draw training images next to the augmented views that training would use.

    Args:
        config: resolved, see `config.reader`.
        out: the PNG; default: named after the config, in the current folder. What lies there is replaced.
        images: how many, at most.
        views: how many columns, the image itself among them; default: all views, of many the first few.
        console: shows progress.

    Raises:
        ConfigError: no operation is switched on.
        DataError: the images cannot be used.
        CnncliError: `out` is no name for a PNG.
    """
    if not config.augmentation.is_active:
        raise ConfigError(
            "augmentation: no operation is switched on, so there is nothing to show; "
            "try augmentation.rotation_range=20 augmentation.horizontal_flip=true"
        )
    path = _png(out or Path(f"{run_name(config)}-augmentation.png"))
    with watching(console) as progress:
        manifest = build_manifest(config.data, config.seed, progress)
    manifest.log_issues()
    size = network(config.backbone.name).input_size
    recipe = config.data.pixel_spec((size, size))
    stage = stages_of(config)[0]
    available = number_of_views(config.augmentation, trunk_is_empty=stage.unfreeze == "all")
    columns = _columns(config, stage.name, available, views or MOST_COLUMNS)
    rows = choose_images(manifest.split("train"), images, config.seed)
    sheet = [_sheet_row(row, recipe, columns.values()) for row in rows]
    draw_contact_sheet(sheet, list(columns), *_titles(config, recipe), path)
    notes = augmentation_notes(config.augmentation) + _mixing_note(config) + _more_than_there_are(views, available)
    return Sheet(path, tuple(row.path for row in rows), tuple(columns), notes)


def choose_images(rows: Sequence[ImageRecord], count: int, seed: int) -> list[ImageRecord]:
    """So many images, the classes taken in turn; which ones depends on the seed and the images, not on the list."""
    words = uniform_words(digest_words([row.digest for row in rows]), "contact sheet", seed).tolist()
    turns: Counter[str] = Counter()
    in_turn = []
    for word, row in sorted(zip(words, rows, strict=True), key=lambda pair: pair[0]):
        in_turn.append((turns[row.label], word, row))
        turns[row.label] += 1
    chosen = sorted(in_turn, key=lambda entry: entry[:2])[:count]
    return [row for _, _, row in sorted(chosen, key=lambda entry: (entry[2].label, entry[0]))]


def _columns(config: Config, stage: str, available: int | Literal["fresh"], shown: int) -> dict[str, Renderer]:
    """Return at most `shown` columns by heading: the first views, or the first epochs of the first stage."""
    if available == "fresh":
        rendered = {f"epoch {epoch + 1}": _fresh(config, stage, epoch) for epoch in range(shown - 1)}
    else:
        rendered = {f"view {k}": _view(config, k) for k in range(1, min(shown, available))}
    return {"image": _view(config, 0), **rendered}


def _more_than_there_are(views: int | None, available: int | Literal["fresh"]) -> tuple[str, ...]:
    """Return a note if more views were requested than training uses."""
    if views is None or available == "fresh" or views <= available:
        return ()
    return (f"Training would use {available} views of an image, so no more are shown; see augmentation.views.",)


def _mixing_note(config: Config) -> tuple[str, ...]:
    """Return a note if training mixes images, which a sheet of single images cannot show."""
    if not config.augmentation.mixes:
        return ()
    return ("augmentation: MixUp and CutMix mix batches of what the sheet shows, and are not on it.",)


def _view(config: Config, k: int) -> Renderer:
    return lambda pixels, digest: render_view(pixels, config.augmentation, digest, k)


def _fresh(config: Config, stage: str, epoch: int) -> Renderer:
    return lambda pixels, digest: render_fresh(pixels, config.augmentation, digest, config.seed, stage, epoch)


def _sheet_row(row: ImageRecord, recipe: PixelSpec, renderers: Iterable[Renderer]) -> SheetRow:
    pixels = decode(row.path, recipe)
    renderings = [render(pixels, row.digest) for render in renderers]
    return SheetRow(printable(row.label), printable(row.path.name), renderings)


def _titles(config: Config, recipe: PixelSpec) -> tuple[str, str]:
    """Return the title of the sheet, and the lines below it."""
    size = f"{recipe.height} × {recipe.width} pixels, {recipe.color}, fit {recipe.fit}"
    operations = "\n".join(" · ".join(words) for words in batched(describe(config.augmentation), A_LINE))
    return f"{run_name(config)}: augmentation", f"{operations}\n{size}"


def _png(path: Path) -> Path:
    """Return the absolute path of a PNG file to write."""
    if path.suffix.lower() != ".png":
        raise CnncliError(f"--out {printable(path)}: the sheet is a PNG; choose a name that ends in .png")
    if not path.parent.is_dir():
        raise CnncliError(f"--out {printable(path)}: there is no folder {printable(path.parent)}; make it first")
    return path.resolve()
