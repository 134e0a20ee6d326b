"""Settings on the command line and in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.config.overrides import FOLDERS, assign, assignments_of, environment_assignments
from cnncli.config.reader import load_config
from cnncli.config.schema import Config, DropoutLayer
from cnncli.config.tree import Node, Origin
from tests.config.conftest import Lines

PATH = "data: {path: images}\n"
HERE = Origin("", Path("/"))


def load(text: str, *overrides: str, **environment: str) -> Config:
    """A config of a text in the current folder."""
    Path("a.yaml").write_text(PATH + text)
    return load_config("a.yaml", overrides, environment=environment)


def test_values_are_yaml(folder: Path) -> None:
    """Numbers, words, null, lists of groups."""
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
    """What the new group does not say has its default, not the file's value."""
    text = "training: {optimizer: {name: sgd, momentum: 0.9, learning_rate: 0.5}}"
    optimizer = load(text, "training.optimizer={name: rmsprop}").training.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.arguments) == ("rmsprop", 1e-3, {})


def test_setting_inside_a_group_that_is_off_switches_it_on(folder: Path) -> None:
    """Absent, null or an empty heading: the group is made."""
    for text in ("", "training:\n", "training: {reduce_on_plateau: null}\n"):
        plateau = load(text, "training.reduce_on_plateau.patience=9").training.reduce_on_plateau
        assert plateau is not None
        assert plateau.patience == 9


def test_number_counts_into_a_list(folder: Path) -> None:
    """From 0, as far as the list goes."""
    stages = load("training: {stages: [{name: a}, {name: b}]}", "training.stages.1.epochs=3").training.stages
    assert stages is not None
    assert [stage.epochs for stage in stages] == [None, 3]


def test_later_override_wins_and_works_on_the_earlier(folder: Path) -> None:
    """They are applied in their order."""
    assert load("", "seed=1", "seed=2").seed == 2
    optimizer = load("", "training.optimizer={name: sgd}", "training.optimizer.momentum=0.5").training.optimizer
    assert (optimizer.name, optimizer.arguments) == ("sgd", {"momentum": 0.5})


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("epochs", "override epochs: not an override, expected key=value, such as training.epochs=3."),
        ("=3", "override =3: not an override, expected key=value, such as training.epochs=3."),
        ("training..x=3", "override training..x=3: not an override, expected key=value, such as training.epochs=3."),
        (
            "head.layers=[",
            "override head.layers=[: not valid YAML: expected the node content, but found '<stream end>'.",
        ),
        (
            "head.layers.2.dropout=1",
            "override head.layers.2.dropout=1: cannot be set inside head.layers.2, which is no group (received null).",
        ),
        ("head.layers.1=1", "override head.layers.1=1: cannot be set in a list of 1, expected a number below 1."),
        ("head.layers.x=1", "override head.layers.x=1: cannot be set in a list of 1, expected a number below 1."),
        ("seed.x=1", "override seed.x=1: cannot be set inside seed, which is no group (received 5)."),
        ("sede=1", "override sede=1: unknown setting (received 1). Did you mean seed?"),
        (
            "training.optimizer={nmae: sgd}",
            "override training.optimizer={nmae: sgd}: training.optimizer.nmae: not an argument of Adam"
            " (received 'sgd'). Did you mean training.optimizer.name?",
        ),
        (
            "head={pooling: avg, pooling: max}",
            "override head={pooling: avg, pooling: max}: head.pooling: given twice (received 'max'), expected once.",
        ),
        (
            "a" + ".a" * 2000 + "=1",
            "override a" + ".a" * 39 + "…: not an override, expected key=value, such as training.epochs=3.",
        ),
        (
            "head.layers." + "9" * 5000 + "=1",
            "override head.layers." + "9" * 67 + "…: cannot be set in a list of 1, expected a number below 1.",
        ),
        ("seed=!!set {a}", "override seed=!!set {a}: not a value of a config: the tag !!set is not allowed."),
    ],
)
def test_wrong_override_is_one_line_that_quotes_it(lines_of: Lines, override: str, line: str) -> None:
    """The key is named once."""
    assert lines_of(PATH + "seed: 5\nhead: {layers: [{dropout: 0.5}]}\n", override) == [line]


def test_environment_names_settings_with_two_underscores_for_a_dot(folder: Path) -> None:
    """Capitals or not; groups before what is inside them; empty variables count as absent."""
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


def test_variables_that_are_no_settings_change_nothing(folder: Path) -> None:
    """The two folders, other programs' variables, and names that only share the prefix, which are warned of."""
    others = dict.fromkeys([*FOLDERS, "CNNCLI_TELEMETRY", "SEED", "XCNNCLI_SEED", "CNNCLI"], "1")
    assert load("", **others) == load("")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "CNNCLI_TRAINING__EPOCS",
            "environment CNNCLI_TRAINING__EPOCS=x: training.epocs: unknown setting (received 'x')."
            " Did you mean training.epochs?",
        ),
        (
            "CNNCLI_TRAINING__EPOCHS",
            "environment CNNCLI_TRAINING__EPOCHS=x: training.epochs: wrong type (received 'x'),"
            " expected a whole number of at least 1 or null.",
        ),
        ("CNNCLI_SEDE", "environment CNNCLI_SEDE=x: sede: unknown setting (received 'x'). Did you mean seed?"),
        ("CNNCLI___", "environment CNNCLI___=x: not a setting, expected a name such as CNNCLI_TRAINING__EPOCHS."),
        (
            "CNNCLI_CACHE__MAX_GB",
            "environment CNNCLI_CACHE__MAX_GB=x: cache.max_gb: wrong type (received 'x'),"
            " expected a number above 0 or null.",
        ),
    ],
)
def test_wrong_variable_is_one_line_that_quotes_it(lines_of: Lines, name: str, line: str) -> None:
    """A slip of the pen is not passed over."""
    (found,) = lines_of(PATH, **{name: "x"})
    assert found.startswith(line)


def test_path_of_raw_bytes_is_taken_as_it_is(folder: Path) -> None:
    """YAML cannot hold it, but a folder may be called so."""
    (folder / "caf\udce9").mkdir()
    assert load("", "data.path=caf\udce9").data.path == folder / "caf\udce9"


@settings(max_examples=200, deadline=None)
@given(
    key=st.lists(st.sampled_from(["data", "head", "layers", "0", "7", "seed", "x", ""]), min_size=1, max_size=4),
    value=st.text(max_size=10),
)
def test_no_override_breaks_the_reader(key: list[str], value: str) -> None:
    """Any text is assigned or is a problem, and the tree stays a tree."""
    tree = Node({"seed": Node(5, HERE), "head": Node({"layers": Node([Node(1, HERE)], HERE)}, HERE)}, HERE)
    assignments, problems = assignments_of([f"{'.'.join(key)}={value}"])
    for assignment in assignments:
        problem = assign(tree, assignment)
        found = tree.find(assignment.key)
        assert (found is assignment.node) == (problem is None)
    assert assignments or problems
    tree.plain()
    environment_assignments({f"CNNCLI_{'__'.join(key)}": value})
