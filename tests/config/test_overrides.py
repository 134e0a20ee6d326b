"""Settings from the command line and from environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.config.head_settings import DenseLayer, DropoutLayer
from cnncli.config.overrides import OTHER_VARIABLES, assign, parse_environment, parse_overrides, variable_notes
from cnncli.config.reader import load_config
from cnncli.config.schema import Config
from cnncli.config.tree import Node, Origin, shorten
from tests.config.conftest import Problems

PATH = "data: {path: images}\n"
HERE = Origin("", Path("/"))


def load(text: str, *overrides: str, **environment: str) -> Config:
    """Return the config of a text in the current folder."""
    Path("a.yaml").write_text(PATH + text)
    return load_config("a.yaml", overrides, environment=environment)


def test_values_are_yaml(folder: Path) -> None:
    """Values of overrides are parsed as YAML: numbers, words, null and lists of groups."""
    config = load(
        "",
        "head.layers=[{dropout: 0.3}]",
        "training.optimizer.learning_rate=1e-4",
        "training.early_stopping=null",
        "data.image_size=[64, 48]",
        " seed = 3 ",
    )
    assert config.head.layers == (DropoutLayer(dropout=0.3),)
    assert config.training.optimizer.learning_rate == 1e-4
    assert config.training.early_stopping is None
    assert (config.data.image_size, config.seed) == ((64, 48), 3)


def test_group_is_replaced_as_a_whole(folder: Path) -> None:
    """If an override replaces a group, settings that it does not contain are reset to their defaults."""
    text = "training: {optimizer: {name: sgd, momentum: 0.9, learning_rate: 0.5}}"
    optimizer = load(text, "training.optimizer={name: rmsprop}").training.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.arguments) == ("rmsprop", 1e-3, {})


def test_overriding_a_setting_of_an_absent_group_creates_the_group(folder: Path) -> None:
    """Overriding a setting inside a group that is absent, null or empty creates the group."""
    for text in ("", "training:\n", "training: {reduce_on_plateau: null}\n"):
        plateau = load(text, "training.reduce_on_plateau.patience=9").training.reduce_on_plateau
        assert plateau is not None
        assert plateau.patience == 9


def test_a_number_is_a_list_index(folder: Path) -> None:
    """A number in a key is the index of a list item, starting at 0."""
    stages = load("training: {stages: [{name: a}, {name: b}]}", "training.stages.1.epochs=3").training.stages
    assert stages is not None
    assert [stage.epochs for stage in stages] == [None, 3]


def test_later_overrides_are_applied_to_earlier_ones(folder: Path) -> None:
    """Overrides are applied in order, so that a later one replaces or modifies an earlier one."""
    assert load("", "seed=1", "seed=2").seed == 2
    optimizer = load("", "training.optimizer={name: sgd}", "training.optimizer.momentum=0.5").training.optimizer
    assert (optimizer.name, optimizer.arguments) == ("sgd", {"momentum": 0.5})


def test_settings_of_labels_join_the_path_of_a_table(folder: Path) -> None:
    """A table given as its path alone keeps this path when a setting of `data.labels` is added to it."""
    Path("labels.csv").touch()
    Path("table.yaml").write_text("data:\n  path: images\n  labels: labels.csv\n")
    Path("folder.yaml").write_text("data:\n  path: images\n")
    separator = "data.labels.separator=;"

    by_override = load_config("table.yaml", [separator], environment={}).data.labels
    by_variable = load_config("table.yaml", environment={"CNNCLI_DATA__LABELS__SEPARATOR": ";"}).data.labels
    after_override = load_config("folder.yaml", ["data.labels=labels.csv", separator], environment={}).data.labels

    assert by_override == by_variable == after_override
    assert (by_override.path, by_override.separator) == (folder / "labels.csv", ";")


@pytest.mark.parametrize(
    ("override", "code", "key"),
    [
        ("epochs", "config-override-malformed", ""),
        ("=3", "config-override-malformed", ""),
        ("training..x=3", "config-override-malformed", ""),
        ("a" + ".a" * 2000 + "=1", "config-override-malformed", ""),
        ("head.layers=[", "config-not-yaml", "head.layers"),
        ("head.layers.2.dropout=1", "config-override-misplaced", "head.layers.2.dropout"),
        ("head.layers.1=1", "config-override-misplaced", "head.layers.1"),
        ("head.layers.x=1", "config-override-misplaced", "head.layers.x"),
        ("head.layers." + "9" * 5000 + "=1", "config-override-misplaced", "head.layers." + "9" * 5000),
        ("seed.x=1", "config-override-misplaced", "seed.x"),
        ("sede=1", "config-unknown-key", "sede"),
        ("training.optimizer={nmae: sgd}", "config-unknown-argument", "training.optimizer.nmae"),
        ("head={pooling: avg, pooling: max}", "config-duplicate-key", "head.pooling"),
        ("seed=!!set {a}", "config-invalid-value", "seed"),
    ],
)
def test_wrong_override_is_one_problem_that_quotes_it(
    problems_of: Problems, override: str, code: str, key: str
) -> None:
    """A wrong override is reported as one problem, which starts with the shortened override."""
    (found,) = problems_of(PATH + "seed: 5\nhead: {layers: [{dropout: 0.5}]}\n", override)

    assert (found.code, found.facts["key"]) == (code, key)
    assert found.startswith(f"override {shorten(override)}: ")
    assert found.facts["source"] == f"override {shorten(override)}"
    assert found.count(f"{key}: ") <= 1 or key == "seed"


def test_environment_names_settings_with_two_underscores_for_a_dot(folder: Path) -> None:
    """Two underscores in a variable stand for a dot; groups are applied first, and empty variables are ignored."""
    config = load(
        "",
        CNNCLI_TRAINING__OPTIMIZER__LEARNING_RATE="1e-4",
        CNNCLI_TRAINING__OPTIMIZER="{name: sgd}",
        CNNCLI_SEED="7",
        CNNCLI_TRAINING__EPOCHS="",
        CNNCLI_DATA__IMAGE_SIZE="[64, 48]",
    )
    assert (config.training.optimizer.name, config.training.optimizer.learning_rate) == ("sgd", 1e-4)
    assert (config.seed, config.training.epochs, config.data.image_size) == (7, None, (64, 48))


def test_variables_that_are_not_settings_change_nothing(folder: Path) -> None:
    """Folder variables such as CNNCLI_RUNS, and variables that do not name a setting, do not change the config."""
    others = dict.fromkeys([*sorted(OTHER_VARIABLES), "CNNCLI_TELEMETRY", "SEED", "XCNNCLI_SEED", "CNNCLI"], "1")
    assert load("", **others) == load("")


@pytest.mark.parametrize(
    ("name", "code", "key", "hint"),
    [
        ("CNNCLI_TRAINING__EPOCS", "config-unknown-key", "training.epocs", "Did you mean training.epochs?"),
        ("CNNCLI_TRAINING__EPOCHS", "config-wrong-type", "training.epochs", ""),
        ("CNNCLI_SEDE", "config-unknown-key", "sede", "Did you mean seed?"),
        ("CNNCLI___", "config-override-malformed", "", ""),
        ("CNNCLI_CACHE__MAX_GB", "config-wrong-type", "cache.max_gb", ""),
    ],
)
def test_wrong_variable_is_one_problem_that_quotes_it(
    problems_of: Problems, name: str, code: str, key: str, hint: str
) -> None:
    """A misspelled setting or wrong value in a variable is reported as one problem, which starts with the variable."""
    (found,) = problems_of(PATH, **{name: "x"})

    assert (found.code, found.facts["key"], found.facts["hint"]) == (code, key, hint)
    assert found.startswith(f"environment {name}=x: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CNNCLI_TRAINING_EPOCHS", "Did you mean CNNCLI_TRAINING__EPOCHS?"),
        ("CNNCLI_EPOCH", "Did you mean CNNCLI_TRAINING__EPOCHS?"),
        ("CNNCLI_TRAINING_OPTIMIZER_LEARNING_RATE", "Did you mean CNNCLI_TRAINING__OPTIMIZER__LEARNING_RATE?"),
        ("CNNCLI_CACHE_MAX_GB", "Did you mean CNNCLI_CACHE__MAX_GB?"),
        ("CNNCLI_TELEMETRY", "Two underscores stand for a dot, as in CNNCLI_TRAINING__EPOCHS."),
    ],
)
def test_a_variable_that_is_not_a_setting_is_reported(name: str, hint: str) -> None:
    """The note on an unknown variable suggests the variable that was probably meant."""
    (note,) = variable_notes({name: "1"})

    assert (note.code, note.facts["key"], note.facts["received"]) == ("config-unknown-variable", name, "1")
    assert note.endswith(hint)


def test_other_variables_are_not_reported() -> None:
    """Folder variables, settings, variables of other programs and empty variables are not reported."""
    ours = {"CNNCLI_CACHE": "x", "CNNCLI_RUNS": "y", "CNNCLI_SEED": "1", "CNNCLI_TRAINING__EPOCHS": "3"}

    assert variable_notes({**ours, "CNNCLI_EPOCH": "", "_CNNCLI_COMPLETE": "z", "EPOCHS": "1"}) == ()


ODD_NAMES = [
    "set #2", "a: b", "*", "*cats", "!x", "&a", "- d", "yes", "null", "42", "1e3", "2026-01-31", "[1", "{a", "%x", "@x",
    "set ", "it's", '"a', "a\tb", "C:\\x", "a=b", "|", ">", "?", "'", "é",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_is_not_interpreted_as_yaml(folder: Path, name: str) -> None:
    """A path on the command line or in the environment is not interpreted as YAML."""
    (folder / name).mkdir()
    assert load("", f"data.path={name}").data.path == folder / name
    assert load("", CNNCLI_DATA__PATH=name).data.path == folder / name
    assert load("", f"data.path=./{name}/../{name}").data.path == folder / name


def test_quotes_around_a_whole_path_are_removed(folder: Path) -> None:
    """Quotes around a whole path and spaces around `=` are removed."""
    (folder / "set #2").mkdir()
    for text in ('data.path="set #2"', "data.path='set #2'", "data.path = set #2", 'data={path: "set #2"}'):
        assert load("", text).data.path == folder / "set #2"


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path `~` is the home folder, not YAML's null."""
    monkeypatch.setenv("HOME", str(folder / "images"))
    assert load("", "data.path=~").data.path == folder / "images"


@pytest.mark.parametrize("name", ["42", "1e3", "yes", "2026-01-31", "off", "010"])
def test_name_is_text(folder: Path, name: str) -> None:
    """A run name that looks like a number, date or boolean is kept as text."""
    assert load("", f"name={name}").name == name
    assert load("", CNNCLI_NAME=name).name == name
    assert load("", f'name="{name}"').name == name


def test_null_and_numbers_are_accepted_by_settings_that_allow_them(folder: Path) -> None:
    """Settings that accept text as well as null or a number still interpret null and numbers."""
    text = "name: x\nmode: fine-tuning\nbackbone: {output_layer: y}"
    config = load(text, "name=null", "backbone.output_layer=~", "training.unfreeze=8")
    assert (config.name, config.backbone.output_layer, config.training.unfreeze) == (None, None, 8)
    assert load(text, "training.unfreeze=block #5").training.unfreeze == "block #5"
    layer = load("", "head.layers=[{dense: 3}]", "head.layers.0.activation=null").head.layers[0]
    assert isinstance(layer, DenseLayer)
    assert layer.activation is None


def test_text_inside_a_group_needs_shell_quoting(problems_of: Problems) -> None:
    """If text inside a group needs quotes, the hint explains shell quoting for overrides, but not for files."""
    (in_shell,) = problems_of(PATH, "training.stages=[{name: 42}]")
    (in_file,) = problems_of(PATH + "name: 42")

    assert in_shell.facts["hint"] == (
        'Write it in quotes: "42". In a shell, put single quotes around the whole KEY=VALUE.'
    )
    assert in_file.facts["hint"] == 'Write it in quotes: "42".'
    assert load("", 'training.stages=[{name: "42"}]').training.stages is not None


def test_a_path_of_raw_bytes_is_used_unchanged(folder: Path) -> None:
    """A path override with bytes that are not UTF-8, which YAML cannot represent, is used unchanged."""
    (folder / "caf\udce9").mkdir()
    assert load("", "data.path=caf\udce9").data.path == folder / "caf\udce9"


@given(
    key=st.lists(st.sampled_from(["data", "head", "layers", "0", "7", "seed", "x", ""]), min_size=1, max_size=4),
    value=st.text(max_size=10),
)
def test_no_override_breaks_the_reader(key: list[str], value: str) -> None:
    """Any override is either assigned or reported as a problem, and the tree remains valid."""
    tree = Node({"seed": Node(5, HERE), "head": Node({"layers": Node([Node(1, HERE)], HERE)}, HERE)}, HERE)
    assignments, problems = parse_overrides([f"{'.'.join(key)}={value}"])
    for name, node in assignments:
        problem = assign(tree, name, node)
        assert (tree.find(name) is node) == (problem is None)
    assert assignments or problems
    tree.plain()
    parse_environment({f"CNNCLI_{'__'.join(key)}": value})
