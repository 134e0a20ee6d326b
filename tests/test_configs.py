"""Every config of the project keeps the promises of its header."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.config.modes import stages_of
from cnncli.config.notes import notes_of
from cnncli.config.reader import load_config
from cnncli.config.schema import Config
from cnncli.config.sweep_plan import Draw, plan_searches
from cnncli.recipes.summary import summarize_config
from tests.support.commands import command_lines, parse
from tests.support.drawing import draw_dataset

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
EVERY_CONFIG = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)

NAMES = {
    "configs/quickstart.yaml",
    *(
        f"configs/dogs-vs-cats/{name}.yaml"
        for name in (
            "vgg16-features",
            "resnet50-features",
            "densenet121-features",
            "mobilenet-features",
            "xception-features",
            "efficientnetlite0-features",
            "vgg16-finetune",
            "resnet50-finetune",
            "convnet-from-scratch",
            "best",
        )
    ),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the configs, with drawn images as their data."""
    root = tmp_path_factory.mktemp("checkout")
    for path in CONFIGS:
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    for table in (ROOT / "configs").rglob("*.csv"):
        shutil.copy(table, root / table.relative_to(ROOT))
    for name in ("sample", "dogs-vs-cats", "mnist", "cifar10"):
        draw_dataset(root / "data" / name, 2, 2, 2, classes=("cats", "dogs"))
    return root


def header(path: Path) -> str:
    """The comment at the top of a config."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))])


def test_the_configs_exist() -> None:
    """There is a config for each network of the course, and one for beginners."""
    assert {path.relative_to(ROOT).as_posix() for path in CONFIGS} >= NAMES


@EVERY_CONFIG
def test_the_first_command_of_a_config_trains_it(path: Path) -> None:
    """The first command in a config's header is valid and names that config."""
    command = command_lines(header(path))[0]

    assert parse(command).command_path == "cnncli train"
    assert command == ["train", path.relative_to(ROOT).as_posix()]


@EVERY_CONFIG
def test_every_command_in_a_config_can_be_typed(path: Path) -> None:
    """All commands in the header of a config are valid."""
    for command in command_lines(header(path)):
        parse(command)


@EVERY_CONFIG
def test_the_settings_of_every_command_in_a_config_are_valid(path: Path) -> None:
    """The KEY=VALUE texts of all commands in the header of a config fit it; a sweep's are tried in all combinations."""

    def read(texts: Sequence[str]) -> Config:
        return load_config(path, texts, environment={}, check_paths=False)

    for verb, *words in command_lines(header(path)):
        if verb == "sweep":
            given = parse([verb, *words]).params
            draw = Draw(given["n_draws"], given["random_seed"]) if given["n_draws"] else None
            assert plan_searches(read, given["settings"], given["against"], draw=draw)
        else:
            read([word for word in words if re.match(r"[a-z][\w.]*=", word)])


@EVERY_CONFIG
def test_a_config_says_what_to_expect(path: Path) -> None:
    """The header names the images, the weights and an accuracy, measured or published."""
    lines = re.findall(r"^# (Images|Weights|Expect)   ", header(path), re.M)

    assert lines == ["Images", "Weights", "Expect"]
    assert re.search(r"^# Expect .*\d %", header(path), re.M | re.S)


@EVERY_CONFIG
def test_a_config_finds_its_images_where_it_says_to_put_them(path: Path) -> None:
    """The config reads the folder that `data prepare` creates."""
    data = load_config(path, environment={}, check_paths=False).data.path
    prepare = re.search(r"cnncli (data prepare .*)", header(path))

    if prepare is None:
        assert data == ROOT / "data" / "sample"
    else:
        assert ROOT / parse(prepare[1].split()).params["out"] == data


@EVERY_CONFIG
def test_a_config_is_valid(path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cnncli config validate` reports no problem."""
    copy = checkout / path.relative_to(ROOT)

    assert main(["config", "validate", str(copy)]) == 0
    assert capsys.readouterr() == (f"{copy}: ok\n", "")


@EVERY_CONFIG
def test_a_config_has_the_name_of_its_file(path: Path) -> None:
    """A config is named after its file, so that its runs can be told apart, and loading it gives no notes."""
    config = load_config(path, environment={}, check_paths=False)

    assert config.name == path.stem
    assert not list(notes_of(config))


@pytest.mark.parametrize("network", ["VGG16", "ResNet50", "DenseNet121", "MobileNet", "Xception", "EfficientNetLite0"])
def test_a_features_config_freezes_its_network(network: str) -> None:
    """A feature-extraction config has one stage with ImageNet weights and a frozen backbone."""
    path = ROOT / "configs" / "dogs-vs-cats" / f"{network.lower()}-features.yaml"
    config = load_config(path, environment={}, check_paths=False)

    assert (config.backbone.name, config.backbone.weights) == (network, "imagenet")
    assert [stage.unfreeze for stage in stages_of(config)] == [0]


@pytest.mark.parametrize(
    ("name", "first", "parameters"),
    [
        ("vgg16", "block5_conv1", 7_079_424),
        pytest.param("resnet50", "conv5_block1_1_conv", 14_953_472, marks=pytest.mark.slow),
    ],
)
def test_a_finetune_config_trains_the_top_of_its_network(
    name: str, first: str, parameters: int, checkout: Path
) -> None:
    """The first stage trains the head, the second also the last convolutional block, except batch normalization."""
    config = load_config(checkout / "configs" / "dogs-vs-cats" / f"{name}-finetune.yaml", environment={})
    summary = summarize_config(config)
    trained = [layer for layer in summary.layers if layer.trainable and not layer.name.startswith("head_")]

    assert [stage.unfreeze for stage in stages_of(config)] == [0, first]
    assert stages_of(config)[1].optimizer.learning_rate == stages_of(config)[0].optimizer.learning_rate / 10
    assert next(layer.name for layer in trained if layer.parameters) == first
    assert sum(layer.parameters for layer in trained) == parameters


def test_the_small_convnet_has_the_parameters_of_the_course(checkout: Path) -> None:
    """Four blocks, flatten, dropout, 512 units and one logit at 150 px have 3,453,121 parameters, all trainable."""
    config = load_config(checkout / "configs" / "dogs-vs-cats" / "convnet-from-scratch.yaml", environment={})
    summary = summarize_config(config)
    counts = [layer.parameters for layer in summary.layers if layer.parameters]

    assert counts == [896, 18_496, 73_856, 147_584, 3_211_776, 513]
    assert (summary.parameters, summary.trainable_parameters) == (3_453_121, 3_453_121)


@pytest.mark.slow
@EVERY_CONFIG
def test_the_network_of_a_config_can_be_built(path: Path, checkout: Path) -> None:
    """Head and backbone fit together at the image size of the config."""
    config = load_config(checkout / path.relative_to(ROOT), environment={})

    assert summarize_config(config).trainable_parameters > 0
