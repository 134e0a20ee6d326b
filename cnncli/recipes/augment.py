"""`cnncli augment`: draw a contact sheet of the views that training would use, or of one image and each operation."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnncli.augmentation.examples import examples
from cnncli.augmentation.settings import augmentation_notes, describe
from cnncli.augmentation.views import number_of_views, render_fresh, render_view
from cnncli.config.modes import run_name, stages_of
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import ConfigError, ImageError, Message, printable
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify
from cnncli.report.contact_sheet import TILE_SIDES, SheetRow, draw_contact_sheet, draw_tiles
from cnncli.runtime.random_keys import digest_words, uniform_words
from cnncli.runtime.threads import batched
from cnncli.storage.atomic import output_path
from cnncli.terminal.console import Console

MAX_COLUMNS = 6
"""Number of columns of a sheet by default."""

OPERATION_COLUMNS = 6
"""Number of columns of a sheet with each operation."""

OPERATIONS_PER_LINE = 6
"""Number of operations in one line of the small print of a sheet."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sheet:
    """A contact sheet that was written: its images by row, the column headings, and warnings about settings."""

    path: Path
    images: tuple[Path, ...]
    columns: tuple[str, ...]
    notes: tuple[Message, ...]


def augment(config: Config, out: Path | None, images: int, views: int | None, console: Console) -> Sheet:
    """Draw training images next to the augmented views that training would use.

    Args:
        config: A resolved config.
        out: Path of the PNG, which is replaced if it exists; default: named after the config, in the current folder.
        images: Maximum number of images.
        views: Maximum number of columns, including the image itself; default: 6.
        console: Console for progress.

    Raises:
        ConfigError: No operation is enabled.
        DataError: The images cannot be used.
        CnncliError: `out` is not the name of a PNG, or its folder does not exist.
    """
    settings, name = config.augmentation, run_name(config)
    if not settings.is_active:
        text = "augmentation: no operation is switched on, so there is nothing to show."
        remedy = "Try augmentation.rotation_range=20 augmentation.horizontal_flip=true"
        raise ConfigError(Message("augmentation-off", f"{text} {remedy}", key="augmentation"))
    path = output_path(out or Path(f"{name}-augmentation.png"), (".png",))
    manifest = build_manifest(config.data, config.seed, console)
    manifest.log_issues()
    available = number_of_views(settings, trunk_is_empty=stages_of(config)[0].unfreeze == "all")
    notes = (*augmentation_notes(settings), *_notes(config, views, available))
    for note in notes:
        log.warning(note)
    size = config.backbones[0].network.input_size
    spec = config.data.pixel_spec((size, size))
    rows = choose_images(manifest.split("train"), images, config.seed)
    is_fresh, count = available == "fresh", views or MAX_COLUMNS
    count = count if available == "fresh" else min(count, available)
    sheet = [_sheet_row(row, config, spec, count, is_fresh) for row in rows]
    columns = ("image", *(f"epoch {n}" if is_fresh else f"view {n}" for n in range(1, count)))
    operations = "\n".join(" · ".join(words) for words in batched(describe(settings), OPERATIONS_PER_LINE))
    small_print = f"{operations}\n{spec.width} × {spec.height} pixels, {spec.color}, fit {spec.fit}"
    draw_contact_sheet(sheet, columns, f"{name}: augmentation", small_print, path)
    return Sheet(path, tuple(row.path for row in rows), columns, notes)


def show_operations(image: Path, out: Path | None, seed: int) -> Sheet:
    """Draw one image under each augmentation operation, with the name of the operation above it.

    Args:
        image: The image file.
        out: Path of the PNG, which is replaced if it exists; default: named after the image, in the current folder.
        seed: Seed of the operations that are drawn.

    Raises:
        ImageError: The image cannot be used.
        CnncliError: `out` is not the name of a PNG, or its folder does not exist.
    """
    path = output_path(out or Path(f"{image.stem}-operations.png"), (".png",))
    facts = verify(image, MAX_PIXELS)
    if facts.problem:
        raise ImageError(image, facts.problem)
    shrink = max(1.0, max(facts.width, facts.height) / TILE_SIDES[1])
    spec = PixelSpec(max(1, round(facts.height / shrink)), max(1, round(facts.width / shrink)))
    tiles = list(examples(decode(image, spec), seed))
    small_print = f"{printable(image.name)}, {facts.width} × {facts.height} pixels, seed {seed}"
    draw_tiles(tiles, "Augmentation operations", small_print, path, OPERATION_COLUMNS)
    return Sheet(path, (image,), tuple(name for name, _ in tiles), ())


def choose_images(rows: Sequence[ImageRecord], count: int, seed: int) -> list[ImageRecord]:
    """Choose at most `count` images, an equal number of each class if possible.

    The choice depends on the seed and the images, not on the order of `rows`.
    """
    words = uniform_words(digest_words([row.digest for row in rows]), "contact sheet", seed).tolist()
    turns: Counter[str] = Counter()
    in_turn = []
    for word, row in sorted(zip(words, rows, strict=True), key=lambda pair: pair[0]):
        in_turn.append((turns[row.label], word, row))
        turns[row.label] += 1
    chosen = sorted(in_turn, key=lambda entry: entry[:2])[:count]
    return [row for _, _, row in sorted(chosen, key=lambda entry: (entry[2].label, entry[0]))]


def _notes(config: Config, views: int | None, available: int | Literal["fresh"]) -> Iterator[Message]:
    """Yield notes about views that the sheet does not show: mixed images, and more views than training uses."""
    if config.augmentation.mixes:
        text = "augmentation: MixUp and CutMix mix the images of a batch, and are not shown on the sheet."
        yield Message("augmentation-mixing-not-shown", text, key="augmentation")
    if views is not None and available != "fresh" and views > available:
        text = f"Only {available} views are shown, because training uses no more; see augmentation.views."
        yield Message("augmentation-fewer-views", text, key="augmentation.views", received=views, expected=available)


def _sheet_row(row: ImageRecord, config: Config, spec: PixelSpec, count: int, is_fresh: bool) -> SheetRow:
    """Return an image with its first views, or with those of the first epochs of the first stage."""
    pixels, settings = decode(row.path, spec), config.augmentation
    if is_fresh:
        stage = stages_of(config)[0].name
        fresh = [render_fresh(pixels, settings, row.digest, config.seed, stage, epoch) for epoch in range(count - 1)]
        views = [pixels, *fresh]
    else:
        views = [render_view(pixels, settings, row.digest, k) for k in range(count)]
    return SheetRow(printable(row.label), printable(row.path.name), views)
