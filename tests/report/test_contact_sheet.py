"""Contact sheets: positions of the images, and labels of any length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.report.contact_sheet import SheetRow, draw_contact_sheet, draw_tiles, load_font

RED, GREEN, BLUE = (250, 5, 5), (5, 250, 5), (5, 5, 250)


def plain(color: tuple[int, ...], height: int = 100, width: int = 120) -> NDArray[np.uint8]:
    """Return an image of a single color."""
    return np.full((height, width, len(color)), color, np.uint8)


def read_sheet(path: Path) -> NDArray[np.uint8]:
    """Return the sheet as an array."""
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        return np.asarray(sheet.convert("RGB"))


def places(sheet: NDArray[np.uint8], color: tuple[int, ...]) -> NDArray[np.intp]:
    """Return rows and columns of the pixels of a color."""
    return np.argwhere((sheet == color).all(axis=-1))


def test_every_image_is_on_the_sheet_at_its_size(tmp_path: Path) -> None:
    """Images of ordinary size are drawn pixel by pixel, row by row."""
    rows = [SheetRow("cats", "cat.0.jpg", [plain(RED), plain(GREEN)]), SheetRow("dogs", "dog.0.jpg", [plain(BLUE)] * 2)]
    draw_contact_sheet(rows, ["image", "view 1"], "title", "small print", tmp_path / "sheet.png")
    sheet = read_sheet(tmp_path / "sheet.png")
    red, green, blue = (places(sheet, color) for color in (RED, GREEN, BLUE))
    assert (len(red), len(green), len(blue)) == (100 * 120, 100 * 120, 2 * 100 * 120)
    assert red[:, 0].tolist() == green[:, 0].tolist()
    assert red[:, 1].max() < green[:, 1].min()
    assert red[:, 0].max() < blue[:, 0].min()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_captions_are_below_their_images(tmp_path: Path) -> None:
    """There is ink below the image with a caption, and none below the one without."""
    row = SheetRow("cats", "cat.0.jpg", [plain(RED), plain(GREEN)], ("", "0.917 dogs"))
    draw_contact_sheet([row], ["image", "1"], "title", "small print", tmp_path / "sheet.png")
    sheet = read_sheet(tmp_path / "sheet.png")
    below = {}
    for color in (RED, GREEN):
        (_, left), (bottom, right) = places(sheet, color).min(axis=0), places(sheet, color).max(axis=0)
        below[color] = (sheet[bottom + 1 :, left : right + 1] < 200).any()

    assert below == {RED: False, GREEN: True}


@pytest.mark.parametrize(
    ("size", "expected"),
    [((10, 20), (50, 100)), ((100, 100), (100, 100)), ((900, 450), (224, 112)), ((1, 1), (96, 96))],
)
def test_tiny_images_are_enlarged_and_large_ones_reduced(
    size: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    """Images keep their aspect ratio and are scaled to be visible and to fit on a screen."""
    draw_contact_sheet([SheetRow("a", "b", [plain(RED, *size)])], ["image"], "t", "l", tmp_path / "sheet.png")
    red = places(read_sheet(tmp_path / "sheet.png"), RED)
    assert tuple((red.max(axis=0) - red.min(axis=0) + 1).tolist()) == expected


def test_gray_images_are_gray(tmp_path: Path) -> None:
    """An image with one channel is drawn in gray."""
    draw_contact_sheet([SheetRow("a", "b", [plain((77,))])], ["image"], "t", "l", tmp_path / "sheet.png")
    assert len(places(read_sheet(tmp_path / "sheet.png"), (77, 77, 77))) == 100 * 120


@pytest.mark.parametrize("name", ["", "x" * 400, "Katze äöü", "猫と犬", "кошка", "a\\nb", "…", "cat 🐈"])
def test_any_name_fits(name: str, tmp_path: Path) -> None:
    """Labels of any length and script neither move nor cover the images."""
    rows = [SheetRow(name, name, [plain(RED), plain(RED)])]
    draw_contact_sheet(rows, ["image", "view 1"], "title", "small print", tmp_path / "sheet.png")
    sheet = read_sheet(tmp_path / "sheet.png")
    assert len(places(sheet, RED)) == 2 * 100 * 120
    assert sheet.shape[1] < 600


@pytest.mark.parametrize("heading", ["strawberry → raspberry 98.0 %", "x" * 400])
def test_headings_of_small_images_are_wider_than_the_images(heading: str, tmp_path: Path) -> None:
    """A heading is cut off at the width of labels, not at that of a tiny image, and columns do not overlap."""
    tiles = [(heading, plain(RED, 28, 28)), ("", plain(GREEN, 28, 28))]
    draw_tiles(tiles, "title", "small print", tmp_path / "sheet.png", columns=2)
    sheet = read_sheet(tmp_path / "sheet.png")
    red, green = places(sheet, RED), places(sheet, GREEN)
    top, left = red.min(axis=0)
    ink = np.flatnonzero((sheet[top - 18 : top] < 200).any(axis=(0, 2)))
    whole = min(load_font(13).getlength(heading), 190)

    assert len(red) == len(green) == 112 * 112
    assert whole - 10 < ink.max() - left < green[:, 1].min() - left


def test_the_small_print_is_never_cut_off(tmp_path: Path) -> None:
    """The sheet is at least as wide as its longest line of text."""
    draw_contact_sheet([SheetRow("a", "b", [plain(RED)])], ["p"], "t", "x\n" + "w" * 120, tmp_path / "sheet.png")
    sheet = read_sheet(tmp_path / "sheet.png")
    assert (sheet[:, -20:] == 255).all()
    assert sheet.shape[1] > 900


def test_the_letters_of_ordinary_names_are_read_sheet(tmp_path: Path) -> None:
    """Letters beyond ASCII are drawn, not replaced by identical boxes."""
    sheets = []
    for name in ("ä", "ß", "я", "×", "–"):
        draw_contact_sheet([SheetRow(name, "", [plain(RED)])], ["p"], "t", "l", tmp_path / "sheet.png")
        sheets.append((tmp_path / "sheet.png").read_bytes())
    assert len(set(sheets)) == 5
