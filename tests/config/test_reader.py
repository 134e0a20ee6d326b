"""Merging the file, the environment and the command line into one config, and reporting all problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnncli.config.data_settings import DataConfig
from cnncli.config.fields import all_settings
from cnncli.config.reader import cache_settings, config_from_mapping, load_config, load_config_or_folder, load_resolved
from cnncli.config.schema import CacheConfig, Config
from cnncli.config.training_settings import TrainingConfig
from cnncli.config.tree import format_value
from cnncli.errors import ConfigError, Message
from tests.config.conftest import Problems, summary

PATH = "data: {path: images}\n"


def load(text: str, *overrides: str, **environment: str) -> Config:
    """Return the config of a text in the current folder."""
    Path("a.yaml").write_text(text)
    return load_config("a.yaml", overrides, environment=environment)


def test_only_the_path_is_required(folder: Path) -> None:
    """A config that contains only `data.path` is valid, because every other setting has a default."""
    config = load(PATH)
    assert config == Config(data=DataConfig(path=folder / "images"), training=TrainingConfig(solver="exact"))
    assert (config.mode, config.backbone.name, config.backbone.weights) == (
        "feature-extraction",
        "EfficientNetLite0",
        "imagenet",
    )
    assert (config.training.batch_size, config.training.optimizer.learning_rate) == (32, 1e-3)
    assert config.training.early_stopping is not None
    assert (config.training.early_stopping.monitor, config.training.early_stopping.patience) == ("val_loss", 5)


def test_command_line_beats_environment_beats_file_beats_default(folder: Path) -> None:
    """The command line overrides the environment, which overrides the file, which overrides the defaults."""
    text, variable = PATH + "training: {epochs: 1}\n", {"CNNCLI_TRAINING__EPOCHS": "2"}
    assert load(text, "training.epochs=3", **variable).training.epochs == 3
    assert load(text, **variable).training.epochs == 2
    assert load(text).training.epochs == 1
    assert load(PATH).training.epochs is None


def test_the_environment_of_the_process_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read from the environment of the process unless another environment is passed."""
    Path("a.yaml").write_text(PATH)
    monkeypatch.setenv("CNNCLI_SEED", "7")
    assert load_config("a.yaml").seed == 7
    assert config_from_mapping({"data": {"path": "images"}}).seed == 7
    assert load_config("a.yaml", environment={}).seed == 0


def test_path_is_relative_to_where_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in a config file are relative to its folder; all other paths are relative to the current folder."""
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
    """In paths, `~` is expanded to the home folder, and `..` after a symbolic link refers to the link's target."""
    (folder / "far/away").mkdir(parents=True)
    (folder / "far/images").mkdir()
    (folder / "link").symlink_to("far/away")
    monkeypatch.setenv("HOME", str(folder))
    assert load("data: {path: ~/images}").data.path == folder / "images"
    assert load("data: {path: link/../images}").data.path == folder / "far/images"


def test_names_are_case_insensitive(folder: Path) -> None:
    """Names of networks and optimizers are case-insensitive and normalized to the spelling of the catalogue."""
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
    """In mode `from-scratch`, the weights default to `none`, and setting them to `none` is allowed."""
    assert load(PATH + "mode: from-scratch").backbone.weights == "none"
    assert load(PATH + "mode: from-scratch\nbackbone: {weights: none}").backbone.weights == "none"


def test_a_group_without_settings_has_the_defaults(folder: Path) -> None:
    """A group without settings, for example with all its lines commented out, is filled with its defaults."""
    text = PATH + "head:\n  # pooling: max\n  layers:\nbackbone: {options: }\ntraining:\n  optimizer:\n"
    assert load(text) == load(PATH)


def test_null_switches_early_stopping_off(folder: Path) -> None:
    """Setting `early_stopping` to null disables early stopping."""
    assert load(PATH + "training: {early_stopping: null}").training.early_stopping is None


def test_folder_of_images_has_the_defaults(folder: Path) -> None:
    """A folder of images is read as the default config with this data path."""
    data, training = DataConfig(path=folder / "images"), TrainingConfig(solver="exact")
    assert load_config_or_folder("images", ["seed=3"]) == Config(seed=3, data=data, training=training)
    Path("a.yaml").write_text(PATH)
    assert load_config_or_folder("a.yaml") == load_config("a.yaml")


def test_settings_from_python(folder: Path) -> None:
    """From Python, configs accept nested mappings, tuples, paths, schema objects and a mapping of overrides."""
    mapping: dict[str, object] = {
        "data": {"path": Path("images"), "image_size": (64, 48)},
        "training": TrainingConfig(epochs=4),
    }
    config = config_from_mapping(mapping, {"training.optimizer.learning_rate": 1, "head.layers": [{"dense": 3}]})
    assert config.data.image_size == (64, 48)
    assert (config.training.epochs, config.training.optimizer.learning_rate) == (4, 1.0)
    assert len(config.head.layers) == 1


def test_resolved_config_is_read_unchanged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolved config of a run is read without applying the environment or checking that its paths exist."""
    Path("a.yaml").write_text("data: {path: /gone}\nbackbone: {weights: /gone.weights.h5}")
    monkeypatch.setenv("CNNCLI_SEED", "7")
    config = load_resolved("a.yaml")
    assert (config.seed, config.data.path) == (0, Path("/gone"))


@pytest.mark.parametrize(
    ("text", "solver"),
    [
        ("", "exact"),
        ("head: {l2: 0.1, activation: sigmoid}", "exact"),
        ("training: {label_smoothing: 0.1}", "exact"),
        ("training: {loss: hinge}", "exact"),
        ("data: {path: images, splits: {validation: 0}}", "exact"),
        ("augmentation: {horizontal_flip: true}", "exact"),
        ("augmentation: {horizontal_flip: true, views: fresh}", "gradient"),
        ("augmentation: {mixup: 0.2}", "gradient"),
        ("training: {epochs: 20}", "gradient"),
        ("training: {early_stopping: null}", "gradient"),
        ("training: {loss: focal}", "gradient"),
        ("training: {loss: hinge}\nhead: {activation: softmax}", "gradient"),
        ("head: {layers: [{dropout: 0.5}]}", "gradient"),
        ("head: {l1: 0.1}", "gradient"),
        ("mode: fine-tuning", "gradient"),
        ("mode: from-scratch", "gradient"),
        ("training: {solver: gradient}", "gradient"),
    ],
)
def test_a_linear_head_is_solved_exactly_unless_gradients_are_asked_for(folder: Path, text: str, solver: str) -> None:
    """`training.solver: auto` is exact for one linear layer with a convex loss, unless a setting is of gradients."""
    assert load(text if text.startswith("data") else PATH + text).training.solver == solver


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

EVERY_PROBLEM = """\
config-wrong-type 1:1 name
config-unknown-key 2:1 epochs
config-out-of-range 3:1 seed
config-duplicate-key 4:1 seed
config-path-missing 6:3 data.path
config-wrong-form 7:3 data.image_size
config-unknown-key 8:3 data.spltis
config-unknown-name 9:12 backbone.name
config-unknown-name 11:23 head.layers.0.activation
config-out-of-range 11:44 head.layers.1.dropout
config-wrong-form 11:59 head.layers.2
config-out-of-range 12:16 augmentation.zoom_range
config-unknown-argument 14:27 training.optimizer.beta1
config-wrong-type 14:39 training.optimizer.learning_rate
config-unknown-key environment CNNCLI_TRAINING__EPOCS=3 training.epocs
config-wrong-type override training.epochs=abc training.epochs
config-unknown-choice override mode=finetuning mode
"""


def test_all_problems_are_reported_at_once(folder: Path, problems_of: Problems) -> None:
    """Problems of all sources are reported in order, each with its place, key, received value and expected value."""
    problems = problems_of(EVERYTHING, "training.epochs=abc", "mode=finetuning", CNNCLI_TRAINING__EPOCS="3")

    assert [summary(problem) for problem in problems] == EVERY_PROBLEM.splitlines()
    first = problems[0].facts
    assert (first["path"], first["received"]) == (Path("a.yaml"), 2024)
    for problem in problems:
        assert f"(received {format_value(problem.facts['received'])})" in problem
        assert not problem.facts["expected"] or f", expected {problem.facts['expected']}." in problem


def test_problems_of_overrides_are_reported_with_an_invalid_file(folder: Path, problems_of: Problems) -> None:
    """If the file is invalid YAML, problems of overrides are still reported, but missing settings are not."""
    assert [summary(problem) for problem in problems_of("seed: [", "training.epochs=0", "data.path=nowhere")] == [
        "config-not-yaml 1:8",
        "config-out-of-range override training.epochs=0 training.epochs",
        "config-path-missing override data.path=nowhere data.path",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lr: 1", "Did you mean training.optimizer.learning_rate?"),
        ("training: {learning_rate: 1}", "Did you mean training.optimizer.learning_rate?"),
        ("training: {lerning_rate: 1}", "Did you mean training.optimizer.learning_rate?"),
        ("data: {rotation_range: 1}", "Did you mean augmentation.rotation_range?"),
        ("backbone: {nme: 1}", "Did you mean backbone.name?"),
        ("Training: {}", "Did you mean training?"),
        ("training: {batch-size: 1}", "Did you mean training.batch_size?"),
        ("image_size: 1", "Did you mean data.image_size?"),
        (
            "monitor: 1",
            "Did you mean training.reduce_on_plateau.monitor, training.early_stopping.monitor or "
            "training.best.monitor?",
        ),
        ("model: 1", "Did you mean backbone.name?"),
        ("training.epochs: 1", "Write it nested: training: {epochs: …}."),
        ("data: {splits: {tset: 1}}", "Did you mean data.splits.test?"),
        ("head: {layers: [{dropout: 0.5, activation: relu}]}", "Each layer is an item of its own."),
        (
            "xyzzy: 1",
            "There are name, mode, seed, data, backbone, head, augmentation, training, evaluation, engine, precision, "
            "tracking, cache.",
        ),
    ],
)
def test_an_unknown_setting_is_reported_with_a_hint(problems_of: Problems, text: str, hint: str) -> None:
    """The hint on an unknown setting is a similar name, a setting in another group, a synonym, or all names."""
    (problem,) = problems_of(text, "data.path=images")

    assert problem.code == "config-unknown-key"
    assert problem.facts["hint"] == hint


@pytest.mark.parametrize("text", ["errors: 1", "training: {wrong: 1}", "head: {merge: 1}", "data: {maximum: 1}"])
def test_dissimilar_names_are_not_suggested(problems_of: Problems, text: str) -> None:
    """For an unknown setting without a similar name, all names are listed instead of a guess."""
    (problem,) = problems_of(text, "data.path=images")

    assert problem.code == "config-unknown-key"
    assert str(problem.facts["hint"]).startswith("There are ")


@pytest.mark.parametrize(
    ("override", "code", "hint"),
    [
        ("training.epochs='3'", "config-wrong-type", "Write it without quotes."),
        ("training.unfreeze=true", "config-wrong-type", ""),
        ("backbone.output_layer=''", "config-wrong-form", ""),
        ("data.path=''", "config-out-of-range", "The path is empty."),
        ("training.batch_size=1e9999", "config-wrong-type", ""),
        ("training.batch_size=" + "9" * 5000, "config-invalid-value", ""),
    ],
)
def test_a_wrong_value_is_reported_with_a_remedy(problems_of: Problems, override: str, code: str, hint: str) -> None:
    """A wrong value is reported as one problem, with a hint if its quotes are superfluous or it is empty."""
    (problem,) = problems_of(PATH, override)

    assert str(problem.facts["source"]).startswith("override ")
    assert (problem.code, problem.facts["hint"]) == (code, hint)


def test_long_values_and_keys_are_abbreviated(problems_of: Problems) -> None:
    """Long values and keys are abbreviated in problems."""
    (problem,) = problems_of(PATH + f"seed: {'x' * 10_000}")
    assert len(problem) < 250
    (problem,) = problems_of(PATH + f"{'x' * 1000}: [{'1, ' * 500}]")
    assert len(problem) < 400


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


@example(tree={"name": {"\n": None}})
@given(tree=st.dictionaries(st.sampled_from(list(Config.model_fields)), TREES, max_size=6))
def test_no_settings_break_the_reader(tree: dict[str, Any]) -> None:
    """Any values under any keys return a config or raise an error with one line per problem."""
    problems: tuple[Message, ...] = ()
    try:
        config_from_mapping(tree, environment={})
    except ConfigError as error:
        problems = error.problems
    assert all(len(line) < 2000 and "\n" not in line and line.code for line in problems)


def test_the_cache_limit_of_this_machine_takes_precedence() -> None:
    """The cache limit in the environment overrides that of a run, which may come from another machine."""
    recorded = CacheConfig(max_gb=3.0)

    assert cache_settings(recorded, {"CNNCLI_CACHE__MAX_GB": "2", "CNNCLI_SEED": "no"}).max_gb == 2.0
    assert cache_settings(recorded, {}).max_gb == 3.0
    assert cache_settings(None, {}).max_gb is None


def test_a_table_in_place_of_a_config_is_named(folder: Path) -> None:
    """The error says that the file is a table, and names the commands for it."""
    Path("t.csv").write_text("image,label\n")
    with pytest.raises(ConfigError) as caught:
        load_config("t.csv")
    assert caught.value.code == "config-is-table"
    assert "`cnncli data check t.csv`" in str(caught.value.facts["hint"])
