"""Every setting there is reports a wrong value by its key: completeness, not samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest

from cnncli.config.fields import Setting, all_settings, alternatives, expectation, item_groups_of, takes_null
from cnncli.config.problems import shown
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.errors import ConfigError

SETTINGS = tuple(all_settings())
REQUIRED = {"dense": 8, "dropout": 0.5, "batch_norm": True, "activation": "relu", "name": "a-stage"}
"""What an item of a list needs so that it is one."""


def item_for(setting: Setting) -> dict[str, Any]:
    """An item of a list that has the setting, with the one name it cannot lack."""
    if setting.key.startswith("training.stages."):
        return {"name": REQUIRED["name"]}
    return {name: REQUIRED[name] for name, field in setting.group.model_fields.items() if field.is_required()}


def nested(setting: Setting, name: str, value: object) -> dict[str, Any]:
    """A mapping with one setting, under its own or another name; its lists are one item long."""
    mapping: dict[str, Any] = {"data": {"path": "."}}
    words = setting.key.split(".")[:-1]
    node: Any = mapping
    for word, following in zip(words, [*words[1:], setting.name], strict=False):
        empty: Any = [item_for(setting)] if following == "N" else {}
        node = node[0] if word == "N" else node.setdefault(word, empty)
    node[name] = value
    return mapping


def wrong_values(setting: Setting) -> Iterator[object]:
    """Values no setting of this kind takes: of another type, beyond each limit, no word of its list."""
    kinds = list(alternatives(setting.field.annotation, tuple(setting.field.metadata)))
    takes_mapping = setting.is_group or any(get_origin(kind) is dict for kind, _ in kinds)
    yield "no group" if takes_mapping else {"no": "value"}
    if not item_groups_of(setting.field):
        yield ["a", "list"]
    if not takes_null(setting.field) and not takes_mapping:
        yield None
    for kind, metadata in kinds:
        if kind in (int, float) and str not in dict(kinds):
            yield "no number"
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


CASES = [(setting, value) for setting in SETTINGS for value in wrong_values(setting)]


def lines_of(mapping: dict[str, Any]) -> list[str]:
    """The lines of the error that a mapping raises."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping(mapping, environment={})
    return list(caught.value.problems)


def test_there_are_cases_for_every_setting() -> None:
    """No setting takes just anything."""
    assert {setting.key for setting, _ in CASES} == {setting.key for setting in SETTINGS}
    assert len(CASES) > 3 * len(SETTINGS)


@pytest.mark.parametrize(("setting", "value"), CASES, ids=[f"{case[0].key}={shown(case[1])}" for case in CASES])
def test_wrong_value_is_reported_by_its_key(setting: Setting, value: object) -> None:
    """One line, which begins with the key, quotes the value and says what is expected."""
    key = setting.key.replace(".N", ".0")
    lines = lines_of(nested(setting, setting.name, value))
    own = [line for line in lines if line.startswith(f"{key}: ")]
    assert len(own) == 1, lines
    assert f"(received {shown(value)})" in own[0]
    assert ", expected " in own[0] or ". There are " in own[0]
    assert lines == own, "no other setting is drawn into it"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_wrong_value_is_found_in_a_file_by_line_and_column(setting: Setting, tmp_path: Path) -> None:
    """The same value in YAML: the line names the file, the line and the column of the key."""
    import yaml

    from cnncli.config.reader import load_config

    key = setting.key.replace(".N", ".0")
    value = next(wrong_values(setting))
    source = tmp_path / "config.yaml"
    source.write_text(yaml.safe_dump(nested(setting, setting.name, value), sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_config(source, environment={})
    assert caught.value.keys == (key,)
    (line,) = caught.value.problems
    place, _, rest = line.removeprefix(f"{source}:").partition(": ")
    row, column = map(int, place.split(":"))
    assert rest.startswith(f"{key}: ")
    text = source.read_text().splitlines()[row - 1][column - 1 :]
    assert text.startswith(f"{setting.name}:")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_documented_and_says_what_it_takes(setting: Setting) -> None:
    """One line of documentation, words for what is expected, and a default unless there can be none."""
    assert setting.field.description
    assert "annotation" not in expectation(setting.field)
    last = setting.key.rpartition(".")[2]
    items = (".dense", ".dropout", ".batch_norm", ".activation", ".name")
    assert not setting.field.is_required() or setting.key in ("data", "data.path") or f".{last}" in items


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_misspelt_setting_is_reported_with_the_right_name(setting: Setting) -> None:
    """Two letters changed places."""
    name = setting.name
    wrong = name[:-2] + name[:-3:-1] if len(name) > 2 and name[-1] != name[-2] else f"{name}x"
    lines = lines_of(nested(setting, wrong, 1))
    assert len(lines) == 1, lines
    group = setting.key.replace(".N", ".0").removesuffix(name)
    assert lines[0].startswith(f"{group}{wrong}: ")
    assert "Did you mean " in lines[0]
    assert f"{group}{name}" in lines[0]


@pytest.mark.parametrize("name", ["early_stopping", "reduce_on_plateau"])
def test_a_group_that_null_switches_off_says_so(name: str) -> None:
    """Whoever writes false means null; a group that is always there does not offer it."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"data": {"path": "."}, "training": {name: False, "best": False}}, environment={})
    first, second = caught.value.problems

    assert first.startswith(f"training.{name}: wrong type (received false), expected a group of settings (monitor, ")
    assert first.endswith(") or null.")
    assert second == "training.best: wrong type (received false), expected a group of settings (monitor)."


@pytest.mark.parametrize(("key", "item"), [("head.layers", "{dense: 4}"), ("training.stages", "{name: a}")])
def test_a_list_without_end_is_one_line(key: str, item: str, tmp_path: Path) -> None:
    """A few aliases make thousands of entries, and a config that nobody can read again."""
    group, name = key.split(".")
    file = tmp_path / "long.yaml"
    file.write_text(f"data: {{path: {tmp_path}}}\n{group}:\n  {name}: [&a {item}{', *a' * 500}]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)

    (told,) = [line for line in caught.value.problems if f" {key}: " in line]
    assert f"{key}: a list of 501 (received " in told
    assert told.endswith("expected at most 100.")
