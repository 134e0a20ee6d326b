"""`cnncli init`: writing a config for a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.cli import main
from cnncli.config.reader import load_config


def draw(folder: Path, n: int, size: tuple[int, int] = (300, 200), mode: str = "RGB") -> None:
    """Fill a folder with different noise images."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(len(str(folder)))
    for number in range(n):
        noise = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / f"{number}.png")


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two classes of different sizes, inside the current folder."""
    draw(tmp_path / "flowers/roses", 9)
    draw(tmp_path / "flowers/tulips", 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "flowers"


def test_the_config_is_adapted_to_the_folder(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The written config describes the classes and images of the folder, loads, and contains a relative data path."""
    (flowers.parent / "configs").mkdir()
    assert main(["init", "flowers", "--out", "configs/flowers.yaml"]) == 0
    assert capsys.readouterr().out == f"{Path('configs/flowers.yaml')}\n"
    text = Path("configs/flowers.yaml").read_text()
    assert text.startswith("# cnncli train configs/flowers.yaml\n")
    for words in (
        "2 classes: roses, tulips",
        "13 images, ",
        "smallest class: tulips, 4",
        "300 × 200",
    ):
        assert words in text
    assert "  path: ../flowers " in text
    config = load_config("configs/flowers.yaml", environment={})
    assert config.data.path == flowers
    assert (config.name, config.backbone.name, config.data.class_weights) == (
        "flowers",
        "EfficientNetLite0",
        "balanced",
    )


def test_splits_colors_sizes_and_damage_are_detected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The config is adapted to split folders and to grayscale, small and broken images."""
    for split in ("train", "test"):
        for label in ("a", "b"):
            draw(tmp_path / "digits" / split / label, 3, (28, 28), "L")
    (tmp_path / "digits/train/a/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    out = tmp_path / "digits.yaml"
    assert main(["init", str(tmp_path / "digits"), "--out", str(out)]) == 0
    assert "broken.png: " in capsys.readouterr().err
    data = load_config(out, environment={}).data
    assert data.path == tmp_path / "digits"
    assert (data.color, data.image_size, data.on_bad_image) == ("grayscale", 128, "skip")
    assert "  splits: {validation: 0.15} " in out.read_text()


def test_an_existing_file_is_kept_unless_forced(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is replaced only with --force."""
    Path("config.yaml").write_text("mine")
    assert main(["init", "flowers"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("[usage-out-exists]")
    assert Path("config.yaml").read_text() == "mine"
    assert main(["init", "flowers", "--force"]) == 0
    assert load_config("config.yaml", environment={}).data.path == flowers


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere"], "data-path-missing"),
        (["flowers/roses"], "data-no-class-folders"),
        (["flowers", "--out", "far/away.yaml"], "usage-out-folder-missing"),
        (["flowers", "--out", "flowers"], "usage-value-invalid"),
    ],
)
def test_impossible_requests_are_refused(
    flowers: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    """If the images, their classes or the output folder are missing, an error is reported and no file is written."""
    assert main(["init", *words]) == 2
    assert f"[{code}]" in capsys.readouterr().err
    assert not list(flowers.parent.glob("*.yaml"))


def test_special_characters_in_folder_names_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folder names with spaces, tildes, quotes or hashes are quoted in the config, so that it loads."""
    monkeypatch.chdir(tmp_path)
    for name in ("~my 'pets' #1", "1e3", "ünï çødé 猫"):
        draw(tmp_path / name / "a", 1)
        draw(tmp_path / name / "b", 1)
        assert main(["init", name, "--force", "-q"]) == 0
        config = load_config("config.yaml", environment={})
        assert config.data.path == tmp_path / name
        assert config.name
    assert "  path: ünï çødé 猫" in Path("config.yaml").read_text(encoding="utf-8")


def test_the_quickstart_needs_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--template quickstart writes the config and copies the sample images next to it, where it reads them."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--template", "quickstart"]) == 0
    config = load_config("quickstart.yaml", environment={})

    assert config.data.path == tmp_path / "data/sample"
    assert len(list(config.data.path.rglob("*.jpg"))) == 240
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["sample"]
    assert Path("quickstart.yaml").read_text().count("cnncli train quickstart.yaml") == 2
    assert main(["config", "validate", "quickstart.yaml"]) == 0


def test_images_next_to_a_template_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If data/sample is there, the sample is not copied over it."""
    monkeypatch.chdir(tmp_path)
    Path("data/sample").mkdir(parents=True)
    assert main(["init", "--template", "quickstart"]) == 0
    assert list(Path("data/sample").iterdir()) == []


def test_a_template_with_a_table_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of labels that a template reads is written next to it."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--template", "two-labels"]) == 0
    assert main(["config", "validate", "two-labels.yaml"]) == 0


def test_a_template_for_a_folder(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a folder, the template reads its images, relative to the file, and no images are copied."""
    (flowers.parent / "configs").mkdir()
    assert main(["init", "flowers", "--template", "resnet50-features", "--out", "configs/mine.yaml"]) == 0
    assert capsys.readouterr().out == f"{Path('configs/mine.yaml')}\n"
    config = load_config("configs/mine.yaml", environment={})
    assert (config.data.path, config.networks) == (flowers, "ResNet50")
    assert "  path: ../flowers\n" in Path("configs/mine.yaml").read_text()
    assert not Path("configs/data").exists()


def test_templates_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """--template without a name lists the templates with mode, backbone and images."""
    assert main(["init", "--template"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["template", "mode", "backbone", "images"]
    assert lines[1].split()[:4] == ["quickstart", "feature-extraction", "EfficientNetLite0", "sample"]
    assert len(lines) > 40


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["--template", "quikstart"], "usage-template-unknown", "Did you mean quickstart?"),
        (["--template", "zzz"], "usage-template-unknown", "cnncli init --template"),
        (["flowers", "--template", "two-labels"], "usage-options-conflict", "flowers"),
        (["--template", "quickstart", "--out", "far/away.yaml"], "usage-out-folder-missing", "far"),
        ([], "usage-argument-missing", "--template NAME"),
    ],
)
def test_impossible_templates_are_refused(
    flowers: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str, hint: str
) -> None:
    """An unknown template, or images that do not fit it, is an error, and nothing is written."""
    assert main(["init", *words]) == 2
    error = capsys.readouterr().err
    assert f"[{code}]" in error
    assert hint in error
    assert sorted(path.name for path in flowers.parent.iterdir()) == ["flowers"]
