"""`cnncli crossval` and `cnncli learning-curve`: on cached features, without Keras and without test images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnncli.cli import main
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.errors import ConfigError
from cnncli.evaluation.cross_validation import CrossValidation
from cnncli.recipes.crossval import crossval, load_pool
from cnncli.recipes.learning_curve import learning_curve
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)
WARM = """
import sys
from cnncli.cli import main

code = main(["crossval", sys.argv[1], "--json"]) or main(["learning-curve", sys.argv[1], "--json"])
print(code, *sorted(name for name in ("tensorflow", "keras", "sklearn") if name in sys.modules), file=sys.stderr)
"""

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 80 images of stripes and dots for training and validation, and 8 for the test."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 30, 10, 4)


@pytest.fixture(scope="module")
def config(data: Path, cache: Path) -> Config:
    """Return a config whose features are in the cache."""
    config = tiny_config(data, training={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        load_pool(config, "crossval", CONSOLE)
    return config


@pytest.fixture
def file(config: Config, tmp_path: Path) -> Path:
    """Write the config."""
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    return path


def test_neither_keras_nor_scikit_learn_is_imported(file: Path) -> None:
    """A process that cross-validates cached features and extrapolates their learning curve imports no TensorFlow."""
    done = subprocess.run([sys.executable, "-c", WARM, str(file)], check=False, capture_output=True, text=True)

    assert done.stderr.strip().splitlines()[-1] == "0"


def test_the_pool_has_no_test_images(config: Config, data: Path) -> None:
    """Training and validation images are pooled; none of the test split is among them."""
    pool = load_pool(config, "crossval", CONSOLE)

    assert len(pool.images) == 80
    assert not any(image.path.is_relative_to(data / "test") for image in pool.images)


def test_folds_come_from_the_option_or_the_config(config: Config, file: Path) -> None:
    """--folds wins over `data.folds`, which wins over 5."""
    with_folds = config.model_copy(update={"data": config.data.model_copy(update={"folds": 4})})

    assert crossval(config, CONSOLE).n_folds == 5
    assert crossval(with_folds, CONSOLE).n_folds == 4
    assert crossval(with_folds, CONSOLE, folds=3).n_folds == 3


def test_views_belong_to_training_only(data: Path, config: Config) -> None:
    """With augmentation, heads are solved on all views of an image, and evaluated on the image itself."""
    augmented = tiny_config(data, training={}, augmentation={"horizontal_flip": True, "views": 2})
    pool = load_pool(augmented, "crossval", CONSOLE)

    assert len(pool.views) == 2
    assert crossval(augmented, CONSOLE).n == 80


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"head": {"layers": [{"dense": 4}]}}, "head.layers"),
        ({"mode": "fine-tuning"}, "mode"),
        ({"training": {"loss": "focal"}}, "training.loss"),
        ({"augmentation": {"horizontal_flip": True, "views": "fresh"}}, "augmentation.views"),
    ],
    ids=lambda value: str(value),
)
def test_other_heads_are_refused_by_name(data: Path, changes: dict[str, Any], key: str) -> None:
    """A head that cannot be solved exactly is refused with the setting that prevents it."""
    config = tiny_config(data, **changes)
    for recipe in (crossval, learning_curve):
        with pytest.raises(ConfigError) as caught:
            recipe(config, CONSOLE)
        assert (caught.value.code, caught.value.facts["key"]) == ("config-not-exact", key)


def test_a_head_with_epochs_is_solved_for_the_folds(data: Path, config: Config) -> None:
    """A linear head that its config trains by gradients is solved exactly, as a message says."""
    assert crossval(tiny_config(data), CONSOLE).accuracy == crossval(config, CONSOLE).accuracy


def test_the_document_has_folds_seeds_and_intervals(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one document with the results of every fold of every seed."""
    assert main(["crossval", str(file), "--repeats", "2", "--folds", "4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert (document["n"], document["n_folds"], len(document["seeds"])) == (80, 4, 2)
    assert [len(seed["folds"]) for seed in document["seeds"]] == [4, 4]
    assert document["ci95"][0] <= document["accuracy"] <= document["ci95"][1]
    assert document["seeds_ci95"][0] <= document["accuracy"] <= document["seeds_ci95"][1]
    assert set(document["per_class"]) == {"stripes", "dots"}


def test_the_table_has_a_row_per_seed(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a row for each seed, then the mean and the classes, and writes the predictions."""
    out = tmp_path / "predictions.csv"
    assert main(["crossval", str(file), "--repeats", "3", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line.split()[0] for line in lines[:4]] == ["seed", "0", "1", "2"]
    assert {line.split()[0] for line in lines[-2:]} == {"stripes", "dots"}
    assert len(out.read_text().splitlines()) == 1 + 3 * 80


def test_the_learning_curve_is_a_document_and_a_figure(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints measured and predicted accuracies with intervals, and --out draws them."""
    for suffix in ("png", "svg"):
        out = tmp_path / f"curve.{suffix}"
        assert main(["learning-curve", str(file), "--json", "--target", "0.999", "--out", str(out)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert out.stat().st_size > 10_000
    with Image.open(tmp_path / "curve.png") as image:
        assert image.format == "PNG"
    assert [point["size"] for point in document["points"]] == sorted(point["size"] for point in document["points"])
    assert [one["factor"] for one in document["forecasts"]] == [1, 2, 4, 10]
    assert document["target"]["accuracy"] == 0.999
    for one in (*document["points"], *document["forecasts"]):
        assert one["accuracy"]["low"] <= one["accuracy"]["value"] <= one["accuracy"]["high"]


def test_the_learning_curve_says_whether_more_images_would_help(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a row for each size, and what twice as many images would change."""
    assert main(["learning-curve", str(file), "--target", "0.5"]) == 0
    out = capsys.readouterr().out

    assert "measured" in out
    assert "10 × as many" in out
    assert "Twice as many images would help" in out
    assert "50.0 %" in out


def test_a_result_is_shown_before_its_file_is_written(config: Config, tmp_path: Path) -> None:
    """If the file cannot be written in the end, the result of the work was already shown."""
    shown: list[CrossValidation] = []

    def show(found: CrossValidation) -> None:
        shown.append(found)
        (tmp_path / "out").rmdir()

    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError):
        crossval(config, CONSOLE, out=tmp_path / "out/predictions.csv", show=show)
    assert shown[0].n == 80


def test_a_run_with_folds_has_their_results(data: Path, tmp_path: Path, config: Config) -> None:
    """With `data.folds`, training also cross-validates the head, as `crossval` does, and keeps the results."""
    with_folds = config.model_copy(update={"data": config.data.model_copy(update={"folds": 3})})
    run = train(with_folds, tmp_path, CONSOLE).folder
    document = json.loads(run.crossval.read_text())

    assert document["n_folds"] == 3
    assert document["accuracy"] == crossval(with_folds, CONSOLE).accuracy
    assert not train(config, tmp_path, CONSOLE).folder.crossval.exists()


def test_folds_have_no_effect_on_gradients(data: Path) -> None:
    """A config that trains by gradients and asks for folds is refused, because its training would ignore them."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"data": {"path": str(data), "folds": 5}, "training": {"epochs": 3}}, environment={})
    assert (caught.value.code, caught.value.facts["key"]) == ("config-without-effect", "data.folds")
