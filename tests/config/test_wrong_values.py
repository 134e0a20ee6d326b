"""Wrong values of every kind for every setting of the schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_origin

import pytest
from typing_extensions import is_typeddict

from cnncli.catalogue.settings import BelowOne, Count, Counts, Option, Positive
from cnncli.config.checked_names import MAX_ITEMS
from cnncli.config.fields import Setting, all_settings, alternatives, expectation, groups_in
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.config.tree import format_value
from cnncli.errors import ConfigError, Message

SETTINGS = tuple(all_settings())
REQUIRED = {"dense": 8, "conv": 8, "dropout": 0.5, "batch_norm": True, "activation": "relu", "name": "a-stage"}
"""Values for the settings that list items require."""


def item_for(setting: Setting) -> dict[str, Any]:
    """Return a list item that accepts the setting, with its required settings."""
    if setting.key.startswith("training.stages."):
        return {"name": REQUIRED["name"]}
    return {name: REQUIRED[name] for name, field in setting.group.model_fields.items() if field.is_required()}


def nested(setting: Setting, name: str, value: object) -> dict[str, Any]:
    """Return a config mapping with one setting, under the given name; its lists have one item."""
    mapping: dict[str, Any] = {"data": {"path": "."}}
    words = setting.key.split(".")[:-1]
    node: Any = mapping
    for word, following in zip(words, [*words[1:], setting.name], strict=False):
        empty: Any = [item_for(setting)] if following == "N" else {}
        node = node[0] if word == "N" else node.setdefault(word, empty)
    node[name] = value
    if ".options." in setting.key:
        mapping["mode"] = "from-scratch"
        backbone = mapping["backbone"]
        (backbone[0] if isinstance(backbone, list) else backbone)["name"] = "ConvNet"
    return mapping


def wrong_values(setting: Setting) -> Iterator[object]:
    """Yield values that a setting rejects: of a wrong type, beyond each limit, or not one of its choices."""
    kinds = list(alternatives(setting.field.annotation, tuple(setting.field.metadata)))
    groups = list(groups_in(setting.field))
    takes_mapping = bool(groups) or any(get_origin(kind) is dict or is_typeddict(kind) for kind, _ in kinds)
    # A text is the path of a table, and a list of texts its columns or the names of layers.
    yield (5 if setting.key == "data.labels" else "no group") if takes_mapping else {"no": "value"}
    if not any(end for end, _ in groups):
        lists = {"data.labels.label": [1, 2], "training.gradual_unfreezing": [1.5], "training.metrics": [1, 2]}
        yield lists.get(setting.key, ["a", "list"])
    if NoneType not in dict(kinds) and not takes_mapping:
        yield None
    for kind, metadata in kinds:
        if kind in (int, float) and str not in dict(kinds):
            yield "text"
            yield float("nan")
            yield True
        if kind is int and float not in dict(kinds):
            yield 1.5
        if kind is str or get_origin(kind) is Literal:
            yield ""
        for limit in metadata:
            yield from ([limit.ge - 1] if hasattr(limit, "ge") else [])
            yield from ([limit.gt] if hasattr(limit, "gt") else [])
            yield from ([limit.le + 1] if hasattr(limit, "le") else [])
            yield from ([limit.lt] if hasattr(limit, "lt") else [])


WRONG_VALUES = {
    "config-argument-not-allowed",
    "config-out-of-range",
    "config-unknown-choice",
    "config-unknown-name",
    "config-wrong-form",
    "config-wrong-type",
}
CASES = [(setting, value) for setting in SETTINGS for value in wrong_values(setting)]


def problems_of(mapping: dict[str, Any]) -> tuple[Message, ...]:
    """Return the problems of a mapping."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping(mapping, environment={})
    return caught.value.problems


def test_there_are_cases_for_every_setting() -> None:
    """Every setting has at least one wrong value, and the average is more than three."""
    assert {setting.key for setting, _ in CASES} == {setting.key for setting in SETTINGS}
    assert len(CASES) > 3 * len(SETTINGS)


@pytest.mark.parametrize(("setting", "value"), CASES, ids=[f"{case[0].key}={format_value(case[1])}" for case in CASES])
def test_a_wrong_value_is_reported_with_its_key(setting: Setting, value: object) -> None:
    """A wrong value is reported as exactly one problem, with its code, key, received value and expected values."""
    key = setting.key.replace(".N", ".0")
    (problem,) = problems_of(nested(setting, setting.name, value))
    received = problem.facts["received"]
    assert problem.code in WRONG_VALUES
    assert problem.facts["key"] == key
    assert received == value or received != received
    assert problem.startswith(f"{key}: ")
    assert f"(received {format_value(value)})" in problem
    assert problem.facts["expected"] or str(problem.facts["hint"]).startswith("There are ")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_a_wrong_value_is_reported_with_line_and_column(setting: Setting, tmp_path: Path) -> None:
    """A wrong value in a file is reported with the file, line and column of its key."""
    import yaml

    from cnncli.config.reader import load_config

    key = setting.key.replace(".N", ".0")
    value = next(wrong_values(setting))
    source = tmp_path / "config.yaml"
    source.write_text(yaml.safe_dump(nested(setting, setting.name, value), sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_config(source, environment={})
    (problem,) = caught.value.problems
    row, column = problem.facts["line"], problem.facts["column"]
    assert isinstance(row, int)
    assert isinstance(column, int)
    assert problem.facts["path"] == source
    assert problem.startswith(f"{source}:{row}:{column}: {key}: ")
    text = source.read_text().splitlines()[row - 1][column - 1 :]
    assert text.startswith(f"{setting.name}:")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_documented(setting: Setting) -> None:
    """Every setting has a description, a text for its expected values, and a default if it is optional."""
    assert setting.doc
    assert "annotation" not in expectation(setting.field)
    last = setting.key.rpartition(".")[2]
    items = (".conv", ".dense", ".dropout", ".batch_norm", ".activation", ".name")
    assert not setting.field.is_required() or setting.key in ("data", "data.path") or f".{last}" in items


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_misspelled_setting_is_reported_with_the_right_name(setting: Setting) -> None:
    """For a setting with two swapped letters, the correct name is suggested."""
    name = setting.name
    wrong = name[:-2] + name[:-3:-1] if len(name) > 2 and name[-1] != name[-2] else f"{name}x"
    (problem,) = problems_of(nested(setting, wrong, 1))
    group = setting.key.replace(".N", ".0").removesuffix(name)
    assert problem.code in ("config-unknown-key", "config-unknown-argument")
    assert problem.facts["key"] == f"{group}{wrong}"
    assert "Did you mean " in str(problem.facts["hint"])
    assert f"{group}{name}" in str(problem.facts["hint"])


@pytest.mark.parametrize("name", ["early_stopping", "reduce_on_plateau"])
def test_a_group_that_may_be_null_expects_null_too(name: str) -> None:
    """For a wrong value of a group that can be null, null is among the expected values; for others, it is not."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"data": {"path": "."}, "training": {name: False, "best": False}}, environment={})
    first, second = caught.value.problems

    assert caught.value.codes == ("config-wrong-type",) * 2
    assert (first.facts["key"], second.facts["key"]) == (f"training.{name}", "training.best")
    assert str(first.facts["expected"]).endswith(") or null")
    assert "null" not in str(second.facts["expected"])


@pytest.mark.parametrize(("key", "item"), [("head.layers", "{dense: 4}"), ("training.stages", "{name: a}")])
def test_a_long_list_is_one_problem(key: str, item: str, tmp_path: Path) -> None:
    """A list with more than the maximum number of items is reported once, even if it is written with aliases."""
    group, name = key.split(".")
    file = tmp_path / "long.yaml"
    file.write_text(f"data: {{path: {tmp_path}}}\n{group}:\n  {name}: [&a {item}{', *a' * 500}]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)

    (problem,) = [problem for problem in caught.value.problems if problem.facts["key"] == key]
    assert problem.code == "config-list-too-long"
    assert "501" in problem
    assert problem.facts["expected"] == f"at most {MAX_ITEMS}"


@pytest.mark.parametrize(
    ("kind", "default", "words"),
    [
        (Positive, 1.0, "a number above 0"),
        (BelowOne, 0.0, "a number of at least 0 and below 1"),
        (Count, None, "an integer of at least 1 or null"),
        (bool, False, "true or false"),
        (Literal["valid", "same"], "valid", "valid or same"),
        (Counts, (1, 2), "a list of integers of at least 1"),
    ],
)
def test_options_of_the_catalogue_are_described_like_settings(kind: Any, default: object, words: str) -> None:
    """The expected values of a catalogue option are described like those of a setting."""
    assert expectation(Option(kind, default, "an option")) == words
