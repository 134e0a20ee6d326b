"""`cnncli augment`: a sheet of exactly the views that training would use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.augmentation.examples import examples
from cnncli.augmentation.views import render_fresh, render_view
from cnncli.cli import main
from cnncli.config.reader import load_config
from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.verify import ImageFacts
from cnncli.recipes.augment import OPERATION_COLUMNS, choose_images
from cnncli.report.contact_sheet import draw_tiles

SIDE = 100
AUGMENTATION = (
    "augmentation: {rotation_range: 25, width_shift_range: 0.1, horizontal_flip: true, views: 3,"
    " channel_shift_range: 20, noise_stddev: 5, random_resized_crop: {}, random_erasing: {}, rand_augment: {}}"
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a config with augmentation and three classes of four training images, and change to an empty folder."""
    random = np.random.default_rng(0)
    for split, count in [("train", 4), ("validation", 2)]:
        for label in ("ants", "bees", "cats"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for n in range(count):
                noise = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{label}.{n}.png")
    path = tmp_path / "insects.yaml"
    path.write_text(f"name: insects\ndata: {{path: data, image_size: {SIDE}}}\n{AUGMENTATION}\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


def on_sheet(path: Path, pixels: NDArray[np.uint8]) -> bool:
    """Return whether a sheet contains exactly the given pixels."""
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    corners = np.argwhere((sheet == pixels[0, 0]).all(axis=-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], pixels) for y, x in corners.tolist())


def rows_of(config: Path) -> dict[str, ImageRecord]:
    """Return the training images of a config by path."""
    settings = load_config(config)
    return {str(row.path): row for row in build_manifest(settings.data, settings.seed).split("train")}


def test_the_sheet_shows_the_views_of_training(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sheet shows each chosen image in all its views, at the image size of the config."""
    assert main(["augment", str(config), "--json", "--images", "4"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["path"]) == Path.cwd() / "insects-augmentation.png"
    assert document["columns"] == ["image", "view 1", "view 2"]
    assert len(document["images"]) == 4
    settings, rows = load_config(config), rows_of(config)
    for path in document["images"]:
        pixels = decode(Path(path), PixelSpec(SIDE, SIDE))
        for k in range(3):
            view = render_view(pixels, settings.augmentation, rows[path].digest, k)
            assert on_sheet(Path(document["path"]), view)


def test_the_sheet_shows_fresh_views_by_epoch(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With fresh views, the columns show the first epochs of the config's first stage with its seed."""
    words = ["augmentation.views=fresh", "seed=7", "--json", "--views", "3", "--images", "1"]
    assert main(["augment", str(config), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["columns"] == ["image", "epoch 1", "epoch 2"]
    settings, (path,) = load_config(config, ["augmentation.views=fresh"]), document["images"]
    pixels, digest = decode(Path(path), PixelSpec(SIDE, SIDE)), rows_of(config)[path].digest
    for epoch in range(2):
        view = render_fresh(pixels, settings.augmentation, digest, 7, "head", epoch)
        assert on_sheet(Path(document["path"]), view)


def test_grayscale_images_have_a_sheet(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sheet of grayscale images is written to the file given by --out."""
    assert main(["augment", str(config), "data.color=grayscale", "--out", "gray.png", "--images", "1"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == Path.cwd() / "gray.png"
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"


def test_stdout_has_only_the_path(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the path of the sheet is printed to stdout; warnings go to stderr, and a second call replaces the sheet."""
    for _ in range(2):
        assert (
            main(["augment", str(config), "augmentation.shear_range=0.2", "augmentation.mixup=0.2", "--views", "9"])
            == 0
        )
        out, err = capsys.readouterr()
        assert out == f"{Path.cwd() / 'insects-augmentation.png'}\n"
        codes = re.findall(r"\[(augmentation-[a-z-]+)\]", err)
        assert codes == ["augmentation-unit", "augmentation-mixing-not-shown", "augmentation-fewer-views"]
    assert [path.name for path in Path.cwd().iterdir()] == ["insects-augmentation.png"]


def test_the_same_config_gives_the_same_sheet(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sheets of the same config are identical byte for byte."""
    assert main(["augment", str(config), "--out", "one.png"]) == 0
    assert main(["augment", str(config), "--out", "two.png"]) == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["augmentation={}"], "augmentation-off"),
        (["--out", "sheet.jpg"], "usage-suffix"),
        (["--out", "no/sheet.png"], "usage-out-folder-missing"),
    ],
)
def test_an_error_is_one_line(words: list[str], code: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid request prints one line with its code to stderr, exits with 2 and writes no file."""
    assert main(["augment", str(config), *words]) == 2
    out, err = capsys.readouterr()
    assert (out, re.findall(r"^error: .*\[(\S+)\]$", err, re.M)) == ("", [code])
    assert err.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(("count", "labels"), [(2, 2), (3, 3), (7, 3), (99, 3)])
def test_images_are_spread_over_the_classes(count: int, labels: int) -> None:
    """Images are chosen from all classes as evenly as possible, without repetition, and depend only on the seed."""
    rows = [
        ImageRecord(f"/{label}/{n}", (label,), "train", ImageFacts(f"{n:02}{ord(label):02x}" * 16, 1))
        for label in "abc"
        for n in range(5)
    ]
    chosen = choose_images(rows, count, seed=0)
    assert len(chosen) == len(set(chosen)) == min(count, len(rows))
    counts = [sum(row.label == label for row in chosen) for label in "abc"]
    assert max(counts) - min(counts) <= 1
    assert sum(count > 0 for count in counts) == labels
    assert [row.label for row in chosen] == sorted(row.label for row in chosen)
    assert choose_images(rows[::-1], count, seed=0) == chosen
    assert count > len(rows) or choose_images(rows, count, seed=1) != chosen


def test_a_sheet_needs_no_tensorflow(config: Path) -> None:
    """`cnncli augment` imports neither TensorFlow, Keras nor OpenVINO."""
    program = (
        f"import sys; from cnncli.cli import main; code = main(['augment', {str(config)!r}]); "
        "print(code, [name for name in ('tensorflow', 'keras', 'openvino') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_an_image_is_shown_under_each_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 146-149. The sheet of an image has a tile per operation by name, the first being the image itself."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(3).integers(0, 256, (150, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("dog-2109.png")
    assert main(["augment", "dog-2109.png", "--seed", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(tmp_path / "dog-2109-operations.png")
    names = ["original", "horizontal flip", "vertical flip", "both flips", "rotate left", "rotate right"]
    names += [
        f"{name} {k}" for name, n in (("color", 4), ("noise", 2), ("crop", 2), ("scale", 2)) for k in range(1, n + 1)
    ]
    assert found["columns"][: len(names)] == names
    assert {"barrel lens", "pincushion", "elastic warp", "PCA color", "shear", "stretch"} < {*found["columns"]}
    path = Path(found["path"])
    for shown in (pixels, pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1]):
        assert on_sheet(path, shown)
    first = path.read_bytes()
    assert main(["augment", "dog-2109.png", "--seed", "4", "--out", "again.png"]) == 0
    assert Path("again.png").read_bytes() == first
    tiles = list(examples(decode(Path("dog-2109.png"), PixelSpec(150, 120)), 4))
    text = "dog-2109.png, 120 × 150 pixels, seed 4"  # width first, as everywhere
    draw_tiles(tiles, "Augmentation operations", text, tmp_path / "drawn.png", OPERATION_COLUMNS)
    assert Path("drawn.png").read_bytes() == first
    assert main(["augment", "dog-2109.png", "--seed", "5", "--out", "other.png"]) == 0
    assert Path("other.png").read_bytes() != first


def test_an_image_that_is_damaged_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not an image exits with 2 and writes no sheet."""
    (tmp_path / "x.jpg").write_bytes(b"no image")
    assert main(["augment", str(tmp_path / "x.jpg"), "--out", str(tmp_path / "x.png")]) == 2
    assert "image-unknown-format" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
