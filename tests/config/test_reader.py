"""From file, environment and command line to one config: precedence, paths, and every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnncli.config.fields import all_settings
from cnncli.config.reader import config_from_mapping, load_config, load_config_or_folder, load_resolved
from cnncli.config.schema import Config, DataConfig, TrainingConfig
from cnncli.errors import ConfigError
from tests.config.conftest import Lines

PATH = "data: {path: images}\n"


def load(text: str, *overrides: str, **environment: str) -> Config:
    """A config of a text in the current folder."""
    Path("a.yaml").write_text(text)
    return load_config("a.yaml", overrides, environment=environment)


def test_only_the_path_is_required(folder: Path) -> None:
    """Everything else has its default."""
    config = load(PATH)
    assert config == Config(data=DataConfig(path=folder / "images"))
    assert (config.mode, config.backbone.name, config.backbone.weights) == (
        "feature-extraction",
        "EfficientNetLite0",
        "imagenet",
    )
    assert (config.training.batch_size, config.training.optimizer.learning_rate) == (32, 1e-3)
    assert config.training.early_stopping is not None
    assert (config.training.early_stopping.monitor, config.training.early_stopping.patience) == ("val_loss", 5)


def test_command_line_beats_environment_beats_file_beats_default(folder: Path) -> None:
    """One setting in each, taken away from the top."""
    text, variable = PATH + "training: {epochs: 1}\n", {"CNNCLI_TRAINING__EPOCHS": "2"}
    assert load(text, "training.epochs=3", **variable).training.epochs == 3
    assert load(text, **variable).training.epochs == 2
    assert load(text).training.epochs == 1
    assert load(PATH).training.epochs is None


def test_environment_of_the_process_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another one is handed in."""
    Path("a.yaml").write_text(PATH)
    monkeypatch.setenv("CNNCLI_SEED", "7")
    assert load_config("a.yaml").seed == 7
    assert config_from_mapping({"data": {"path": "images"}}).seed == 7
    assert load_config("a.yaml", environment={}).seed == 0


def test_path_is_relative_to_where_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file: to the file's folder. On the command line and in the environment: to the current folder."""
    for place in ("configs/images", "here/images"):
        (folder / place).mkdir(parents=True)
    for place in ("configs/w.weights.h5", "here/w.weights.h5"):
        (folder / place).touch()
    source = folder / "configs/a.yaml"
    source.write_text(PATH + "backbone: {weights: w.weights.h5}\n")
    monkeypatch.chdir(folder / "here")
    in_file = load_config("../configs/a.yaml", environment={})
    assert in_file.data.path == folder / "configs/images"
    assert in_file.backbone.weights == str(folder / "configs/w.weights.h5")
    given = load_config(source, ["data.path=images"], environment={"CNNCLI_BACKBONE__WEIGHTS": "w.weights.h5"})
    assert given.data.path == folder / "here/images"
    assert given.backbone.weights == str(folder / "here/w.weights.h5")
    assert config_from_mapping({"data": {"path": "images"}}, environment={}).data.path == folder / "here/images"


def test_home_folder_and_dots_are_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder; `..` behind a link leads where the system says."""
    (folder / "far/away").mkdir(parents=True)
    (folder / "far/images").mkdir()
    (folder / "link").symlink_to("far/away")
    monkeypatch.setenv("HOME", str(folder))
    assert load("data: {path: ~/images}").data.path == folder / "images"
    assert load("data: {path: link/../images}").data.path == folder / "far/images"


def test_names_are_taken_in_any_case(folder: Path) -> None:
    """And given the catalogue's own spelling, so that equal configs are equal."""
    config = load(
        PATH
        + "backbone: {name: vgg16}\ntraining: {optimizer: {name: RMSprop}, stages: [{name: a, optimizer: {name: SGD}}]}"
    )
    assert config.backbone.name == "VGG16"
    assert config.training.optimizer.name == "rmsprop"
    assert config.training.stages is not None
    assert config.training.stages[0].optimizer is not None
    assert config.training.stages[0].optimizer.name == "sgd"


def test_from_scratch_means_no_weights(folder: Path) -> None:
    """The mode decides the default; to say it as well is no contradiction."""
    assert load(PATH + "mode: from-scratch").backbone.weights == "none"
    assert load(PATH + "mode: from-scratch\nbackbone: {weights: none}").backbone.weights == "none"


def test_heading_without_settings_means_the_defaults(folder: Path) -> None:
    """All lines below it may be commented out."""
    text = PATH + "head:\n  # pooling: max\n  layers:\nbackbone: {options: }\ntraining:\n  optimizer:\n"
    assert load(text) == load(PATH)


def test_null_switches_off_what_can_be_off(folder: Path) -> None:
    """Early stopping is on by default."""
    assert load(PATH + "training: {early_stopping: null}").training.early_stopping is None


def test_folder_means_its_images_and_the_defaults(folder: Path) -> None:
    """As in `cnncli train DIR`."""
    assert load_config_or_folder("images", ["seed=3"]) == Config(seed=3, data=DataConfig(path=folder / "images"))
    Path("a.yaml").write_text(PATH)
    assert load_config_or_folder("a.yaml") == load_config("a.yaml")


def test_settings_from_python(folder: Path) -> None:
    """Nested mappings, tuples, paths, settings of the schema; overrides as a mapping."""
    mapping: dict[str, object] = {
        "data": {"path": Path("images"), "image_size": (64, 48)},
        "training": TrainingConfig(epochs=4),
    }
    config = config_from_mapping(mapping, {"training.optimizer.learning_rate": 1, "head.layers": [{"dense": 3}]})
    assert config.data.image_size == (64, 48)
    assert (config.training.epochs, config.training.optimizer.learning_rate) == (4, 1.0)
    assert len(config.head.layers) == 1


def test_resolved_config_is_read_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's own config: the environment does not change it, and its data may have gone."""
    Path("a.yaml").write_text("data: {path: /gone}\nbackbone: {weights: /gone.weights.h5}")
    monkeypatch.setenv("CNNCLI_SEED", "7")
    config = load_resolved("a.yaml")
    assert (config.seed, config.data.path) == (0, Path("/gone"))


EVERYTHING = """\
name: 2024
epochs: 3
seed: -1
seed: 2
data:
  path: nowhere
  image_size: [10, 20, 30]
  spltis: {validation: 0.5}
backbone: {name: VGG61}
head:
  layers: [{dense: 8, activation: relux}, {dropout: 1.5}, flatten]
augmentation: {zoom_range: [1.2, 0.8]}
training:
  optimizer: {name: adam, beta1: 0.9, learning_rate: "1e-3"}
"""

EVERY_LINE = """\
a.yaml:1:1: name: wrong type (received 2024), expected a name of at most 100 letters, digits, ., - and _ or null. Write it in quotes.
a.yaml:2:1: epochs: unknown setting (received 3). Did you mean training.epochs?
a.yaml:3:1: seed: out of range (received -1), expected a whole number from 0 to 4294967295.
a.yaml:4:1: seed: given twice (received 2), expected once. The first is at a.yaml:3:1.
a.yaml:6:3: data.path: no such folder: {folder}/nowhere (received 'nowhere'), expected a folder of images. Beside it are a.yaml, images.
a.yaml:7:3: data.image_size: wrong form (received [10, 20, 30]), expected a whole number of at least 1 or [height, width] or null.
a.yaml:8:3: data.spltis: unknown setting (received {validation: 0.5}). Did you mean data.splits?
a.yaml:9:12: backbone.name: unknown network (received 'VGG61'), expected a name of `cnncli backbones`. Did you mean VGG19 or VGG16?
a.yaml:11:23: head.layers.0.activation: unknown activation (received 'relux'), expected an activation of Keras by name. Did you mean relu?
a.yaml:11:44: head.layers.1.dropout: out of range (received 1.5), expected a number from 0 to below 1.
a.yaml:11:59: head.layers.2: wrong form (received 'flatten'), expected {dense: …}, {dropout: …}, {batch_norm: …} or {activation: …}.
a.yaml:12:16: augmentation.zoom_range: out of range (received [1.2, 0.8]), expected a number from 0 to below 1 or [lowest, highest] above 0. The lowest comes first: [0.8, 1.2].
a.yaml:14:27: training.optimizer.beta1: not an argument of Adam (received 0.9). Did you mean training.optimizer.beta_1?
a.yaml:14:39: training.optimizer.learning_rate: wrong type (received '1e-3'), expected a number above 0. Write it without quotes.
environment CNNCLI_TRAINING__EPOCS=3: training.epocs: unknown setting (received 3). Did you mean training.epochs?
override training.epochs=abc: wrong type (received 'abc'), expected a whole number of at least 1 or null.
override mode=finetuning: unknown choice (received 'finetuning'), expected feature-extraction, fine-tuning or from-scratch. Did you mean fine-tuning?
"""  # noqa: E501


def test_everything_that_is_wrong_is_told_at_once(folder: Path, lines_of: Lines) -> None:
    """In the order of the sources, a sentence each: the place, the setting, what was received and what is expected."""
    lines = lines_of(EVERYTHING, "training.epochs=abc", "mode=finetuning", CNNCLI_TRAINING__EPOCS="3")
    assert lines == EVERY_LINE.replace("{folder}", str(folder)).splitlines()


def test_what_is_wrong_elsewhere_is_told_with_a_file_that_cannot_be_read(folder: Path, lines_of: Lines) -> None:
    """A file that is no YAML does not hide the command line; and what it lacks is not held against it."""
    assert lines_of("seed: [", "training.epochs=0", "data.path=nowhere") == [
        "a.yaml:1:8: not valid YAML: expected the node content, but found '<stream end>'.",
        "override training.epochs=0: out of range (received 0), expected a whole number of at least 1 or null.",
        f"override data.path=nowhere: no such folder: {folder}/nowhere (received 'nowhere'), expected a folder"
        " of images. Beside it are a.yaml, images.",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lr: 1", "Did you mean training.optimizer.learning_rate?"),
        ("training: {learning_rate: 1}", "Did you mean training.optimizer.learning_rate?"),
        ("training: {lerning_rate: 1}", "Did you mean training.optimizer.learning_rate?"),
        ("data: {rotation_range: 1}", "Did you mean augmentation.rotation_range?"),
        ("Training: {}", "Did you mean training?"),
        ("training: {batch-size: 1}", "Did you mean training.batch_size?"),
        ("image_size: 1", "Did you mean data.image_size?"),
        (
            "monitor: 1",
            "Did you mean training.reduce_on_plateau.monitor or training.early_stopping.monitor or training.best.",
        ),
        ("model: 1", "Did you mean backbone.name?"),
        ("training.epochs: 1", "Write it nested: training: {epochs: …}."),
        ("data: {splits: {tset: 1}}", "Did you mean data.splits.test?"),
        ("head: {layers: [{dropout: 0.5, activation: relu}]}", "Each layer is an item of its own."),
        ("backbone: {options: {alpha: 1}}", "EfficientNetLite0"),
        (
            "xyzzy: 1",
            "There are name, mode, seed, data, backbone, head, augmentation, training, engine, precision, cache.",
        ),
    ],
)
def test_unknown_setting_is_answered_with_what_was_meant(lines_of: Lines, text: str, hint: str) -> None:
    """A near name in the group, the same name in another group, words of other tools, or what there is."""
    (line,) = lines_of(text, "data.path=images")
    assert hint in line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs='3'", "Write it without quotes."),
        ("name=1e3", "Write it in quotes."),
        ("training.unfreeze=true", "a layer's name or all."),
        ("backbone.output_layer=''", "wrong form (received '')"),
        ("data.path=''", "out of range (received ''), expected a folder of images. It is empty."),
        ("training.batch_size=1e9999", "wrong type (received inf)"),
        ("training.batch_size=" + "9" * 5000, "not a value of a config: '9999"),
    ],
)
def test_wrong_value_is_answered_with_a_remedy(lines_of: Lines, override: str, words: str) -> None:
    """Where quotes are missing or too much, the line says so, and only there."""
    (line,) = lines_of(PATH, override)
    assert line.startswith("override ")
    assert words in line
    assert ("quotes" in words) == ("quotes" in line)


def test_error_is_short_whatever_was_received(lines_of: Lines) -> None:
    """Values and keys are cut."""
    (line,) = lines_of(PATH + f"seed: {'x' * 10_000}")
    assert len(line) < 250
    (line,) = lines_of(PATH + f"{'x' * 1000}: [{'1, ' * 500}]")
    assert len(line) < 400


KEYS = sorted({word for setting in all_settings() for word in setting.key.split(".")} - {"N"})
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*KEYS, "all", "none", "adam", "\0", "é"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@example(tree={"name": {"\n": None}})
@given(tree=st.dictionaries(st.sampled_from(list(Config.model_fields)), TREES, max_size=6))
def test_no_settings_break_the_reader(tree: dict[str, Any]) -> None:
    """Whatever is written under any key, there is a config or an error that says what is wrong."""
    problems: tuple[str, ...] = ()
    try:
        config_from_mapping(tree, environment={})
    except ConfigError as error:
        problems = error.problems
    assert all(len(line) < 2000 and "\n" not in line for line in problems)
