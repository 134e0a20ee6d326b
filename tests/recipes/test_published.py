"""`cnncli recipes`: published recipes are valid configs, and are compared with their published values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnncli.catalogue.published import find_published, load_published
from cnncli.cli import main
from cnncli.config.modes import stages_of
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.errors import CnncliError
from cnncli.recipes.recipes import config_text, settings_of_recipe
from tests.support.drawing import draw_dataset

RECIPES = load_published()

PRINTED: dict[str, tuple[int, float | None, str | None, list[tuple[str, float, int | str]]]] = {
    "convnet-2017": (20, 0.0, None, [("rmsprop", 1e-4, "all")]),
    "convnet-augmented-2017": (32, 0.5, "nearest", [("rmsprop", 1e-4, "all")]),
    "mobilenetv2-tutorial-2019": (
        *(32, 0.2, "reflect"),
        [("adam", 1e-4, 0), ("rmsprop", 1e-5, "block_11_depthwise")],  # layers[100:], whose first one has no weights
    ),
    "vgg16-augmented-2017": (20, 0.0, "nearest", [("rmsprop", 2e-5, 0)]),
    "vgg16-augmented-2021": (32, 0.5, "reflect", [("rmsprop", 1e-3, 0)]),
    "vgg16-finetuned-2017": (20, 0.0, "nearest", [("rmsprop", 2e-5, 0), ("rmsprop", 1e-5, "block5_conv1")]),
    "vgg16-finetuned-2021": (32, 0.5, "reflect", [("rmsprop", 1e-3, 0), ("rmsprop", 1e-5, "block5_conv1")]),
    "vgg16-frozen-2017": (20, 0.5, None, [("rmsprop", 2e-5, 0)]),
    "vgg16-frozen-2017-caffe": (20, 0.5, None, [("rmsprop", 2e-5, 0)]),
    "vgg16-frozen-2021": (32, 0.5, None, [("rmsprop", 1e-3, 0)]),
    "xception-augmented-2025": (64, 0.25, "reflect", [("adam", 1e-3, 0)]),
    "xception-frozen-2025": (64, 0.25, None, [("adam", 1e-3, 0)]),
    "xception-guide-2020": (32, 0.2, "reflect", [("adam", 1e-3, 0)]),
}
"""Batch size, dropout, fill mode of augmentation, and optimizer, learning rate and trained layers of each stage in the
published notebooks. `RandomRotation` and `RandomZoom` fill by reflection by default, ImageDataGenerator by the nearest
pixel."""
LINEAR_DENSE = {"vgg16-augmented-2021", "vgg16-finetuned-2021", "vgg16-frozen-2021", "xception-augmented-2025"}
"""Recipes whose dense layer of 256 units is printed without an activation."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_config(name: str, tmp_path: Path) -> None:
    """The settings of each recipe are valid, and `recipes show` prints them as a config with source and results."""
    recipe = RECIPES[name]
    text = config_text(recipe, tmp_path)
    (tmp_path / "recipe.yaml").write_text(text)

    config = load_config(tmp_path / "recipe.yaml", environment={})
    assert config == config_from_mapping(settings_of_recipe(recipe, tmp_path), environment={})
    assert config.name == name
    assert recipe.source.split(".")[0] in text
    assert f"{recipe.published:.1%}".replace("%", " %") in text


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_printed_settings(name: str) -> None:
    """Batch size, head, augmentation and the stages of each recipe are those of the published notebook."""
    config = config_from_mapping(settings_of_recipe(RECIPES[name], Path("data")), environment={}, check_paths=False)
    layers, augmentation = config.head.layers, config.augmentation
    stages = [(one.optimizer.name, one.optimizer.learning_rate, one.unfreeze) for one in stages_of(config)]
    dropout = sum(getattr(layer, "dropout", 0.0) for layer in layers)
    activations = {layer.activation for layer in layers if getattr(layer, "dense", None) == 256}
    fill = augmentation.fill_mode if augmentation.is_active else None

    assert (config.training.batch_size, dropout, fill, stages) == PRINTED[name]
    assert activations <= ({None} if name in LINEAR_DENSE else {"relu"})


@pytest.mark.parametrize("name", RECIPES)
def test_results_of_a_recipe_are_fractions(name: str) -> None:
    """Published and measured values are accuracies, and measured ones say how they were measured."""
    recipe = RECIPES[name]

    assert recipe.metric in ("val_accuracy", "test_accuracy")
    assert all(0.5 < value < 1 for value in (recipe.published, *recipe.measured.values()))
    assert bool(recipe.measured) == bool(recipe.conditions)


def test_recipes_are_listed_with_their_results(capsys: pytest.CaptureFixture[str]) -> None:
    """`recipes list` prints a row for each recipe, with the published value."""
    assert main(["recipes", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line.split()[0] for line in lines[1:]] == list(RECIPES)
    assert all(f"{RECIPES[line.split()[0]].published:.1%}".replace("%", " %") in line for line in lines[1:])
    assert main(["recipes", "list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == list(RECIPES)


def test_an_unknown_recipe_is_refused() -> None:
    """The error about an unknown recipe suggests a similar name."""
    with pytest.raises(CnncliError) as caught:
        find_published("convnet-2018")

    assert caught.value.code == "usage-recipe-unknown"
    assert "convnet-2017" in str(caught.value)


def test_a_recipe_is_trained_with_several_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recipes run` trains a run per seed, with overrides, and compares them with the published value."""
    monkeypatch.chdir(tmp_path)
    data = draw_dataset(tmp_path / "data", 3, 2, 2, classes=("cats", "dogs"))
    settings = ["data.image_size=50", "training.epochs=1", "backbone.options={filters: [4, 4], padding: valid}"]
    words = ["recipes", "run", "convnet-2017", *settings, "--data", str(data), "--seeds", "0,1", "--json"]

    assert main([*words, "--out", "curves.png"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in document["runs"]] == ["convnet-2017-seed-0", "convnet-2017-seed-1"]
    assert all("test" in run["metrics"] for run in document["runs"])
    assert document["published"] == [{"value": 0.724, "name": "F. Chollet"}]
    assert (tmp_path / "curves.png").is_file()
