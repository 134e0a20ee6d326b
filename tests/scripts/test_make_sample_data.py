"""The sample images are reproducible, and only the animal distinguishes the classes."""

from __future__ import annotations

import csv
import importlib.util
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import build_manifest, report_on_data
from cnncli.images.decode import PixelSpec, decode

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Import the script as a module."""
    spec = importlib.util.spec_from_file_location("make_sample_data", ROOT / "scripts" / "make_sample_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Return all images, each cat next to its dog."""
    found = sorted(SAMPLE.rglob("*.jpg"), key=lambda path: (path.parts[-3], int(path.stem.split(".")[1]), path.stem))
    assert len(found) == 240
    return found


def cross_validated(features: NDArray[np.float64], files: list[Path]) -> float:
    """Return the cross-validated accuracy of a logistic regression, with a cat and its dog in the same fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_dog = np.array([path.stem.startswith("dog") for path in files])
    pairs = np.repeat(np.arange(len(files) // 2), 2)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = GroupKFold(10, shuffle=True, random_state=0)
    return float(cross_val_score(model, features, is_dog, groups=pairs, cv=folds).mean())


def test_drawing_again_gives_the_same_bytes(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The same version of Pillow draws the same bytes."""
    if PIL.__version__ != script.PILLOW:
        pytest.skip(f"drawn with Pillow {script.PILLOW}, this is {PIL.__version__}")
    assert script.main(["--check"]) == 0
    assert capsys.readouterr().out == f"{SAMPLE}: OK\n"


def test_check_names_what_differs(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names missing, foreign and changed files, and drawing again restores the folder."""
    monkeypatch.setattr(script, "PAIRS", {"train": 2, "test": 1})
    out = tmp_path / "sample"
    assert script.main(["--out", str(out)]) == 0
    assert sum(path.is_file() for path in out.rglob("*")) == 6
    (out / "train/cats/cat.0.jpg").unlink()
    (out / "train/dogs/dog.0.jpg").write_bytes(b"x")
    (out / "notes.txt").write_bytes(b"x")
    assert script.main(["--out", str(out), "--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "train/cats/cat.0.jpg: missing",
        "notes.txt: not part of the sample",
        "train/dogs/dog.0.jpg: different bytes",
    ]
    assert script.main(["--out", str(out)]) == 0
    assert script.main(["--out", str(out), "--check"]) == 0


def test_the_folder_has_no_problems(script: ModuleType) -> None:
    """The sample has three splits of two equal classes, no duplicates, and no problems or notes."""
    facts, _ = report_on_data(DataConfig(path=SAMPLE))
    assert facts["counts"] == {split: {"cats": n, "dogs": n} for split, n in script.PAIRS.items()}
    assert (facts["issues"], facts["duplicates_within"], facts["left_out"]) == ([], [], {})
    assert facts["formats"] == {"JPEG": 240}
    assert len({row.digest for row in build_manifest(DataConfig(path=SAMPLE), 0).rows}) == 240


def test_folder_is_small(files: list[Path]) -> None:
    """The sample takes at most 1 MB, also in blocks of 4 KiB."""
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) <= 1_000_000
    assert max(sizes) <= 4096


def test_color_does_not_distinguish_the_classes(files: list[Path]) -> None:
    """A logistic regression on the mean color, or on mean and standard deviation, is close to chance."""
    pixels = [np.asarray(Image.open(path)).astype(float) for path in files]
    mean = np.array([image.mean((0, 1)) for image in pixels])
    deviation = np.array([image.std((0, 1)) for image in pixels])
    assert abs(cross_validated(mean, files) - 0.5) < 0.1
    assert abs(cross_validated(np.hstack([mean, deviation]), files) - 0.5) < 0.1


def test_size_does_not_distinguish_the_classes(files: list[Path]) -> None:
    """A cat and its dog have the same width and height, and the file size is close to chance."""
    for cat, dog in list(pairwise(files))[::2]:
        assert cat.stem.replace("cat", "dog") == dog.stem
        with Image.open(cat) as one, Image.open(dog) as other:
            assert one.size == other.size
    sizes = np.array([[path.stat().st_size] for path in files], dtype=float)
    assert abs(cross_validated(sizes, files) - 0.5) < 0.1


@pytest.mark.slow
def test_features_of_the_default_network_distinguish_the_classes() -> None:
    """A logistic regression on features of EfficientNetLite0 classifies at least 90 % of the test images correctly."""
    from sklearn.linear_model import LogisticRegression

    from cnncli.config.backbone_settings import BackboneConfig
    from cnncli.networks.backbone import build_backbone

    recipe = PixelSpec(224, 224)
    backbone = build_backbone(BackboneConfig(), (recipe.height, recipe.width, 3), 0)
    manifest = build_manifest(DataConfig(path=SAMPLE), 0)
    features, labels = {}, {}
    for split in ("train", "test"):
        rows = manifest.split(split)
        pixels = np.stack([decode(row.path, recipe) for row in rows]).astype(np.float32)
        features[split] = backbone.predict((pixels - 127) / 128, verbose=0).mean((1, 2))
        labels[split] = manifest.labels(rows)
    model = LogisticRegression(max_iter=1000).fit(features["train"], labels["train"])
    assert model.score(features["test"], labels["test"]) >= 0.9


def test_the_table_of_labels_is_that_of_the_drawings(script: ModuleType, files: list[Path]) -> None:
    """Row 118: the exercise on two labels has a row for each image, and a light fur has a color of that brightness."""
    text = script.label_table()
    rows = dict(zip(("image", "split", "labels"), zip(*csv.reader(text.splitlines()[1:]), strict=True), strict=True))
    furs = [tuple(sorted(row.split(";"))) for row in rows["labels"]]

    assert script.LABELS.read_text() == text
    assert sorted(rows["image"]) == sorted(path.relative_to(SAMPLE).as_posix() for path in files)
    assert all(image.startswith(split) for image, split in zip(rows["image"], rows["split"], strict=True))
    assert {len(set(one)) for one in zip(furs[::2], furs[1::2], strict=True)} == {2}  # a cat and its dog share the fur
    assert 0.3 < sum("light" in one for one in furs) / len(furs) < 0.7
