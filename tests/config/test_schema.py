"""The JSON Schema of configs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import json_schema
from cnncli.config.writer import settings_of
from tests.config.strategies import configs
from tests.config.test_wrong_values import CASES, nested

SCHEMA = Draft202012Validator(json_schema())


def test_schema_is_valid_and_describes_every_group() -> None:
    """The schema is valid under draft 2020-12 and has a title and a one-line description for each setting."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "cnncli config"
    for group in (schema, *schema["$defs"].values()):
        assert group["additionalProperties"] is (group["title"] == "NetworkOptions")
        assert all("\n" not in field["description"] for field in group["properties"].values())


def test_schema_offers_choices_and_defaults() -> None:
    """The schema lists allowed words, catalogue names, optimizer arguments, defaults and limits."""
    schema = json_schema()
    groups = schema["$defs"]
    assert schema["properties"]["mode"]["enum"] == ["feature-extraction", "fine-tuning", "from-scratch"]
    assert groups["TrainingConfig"]["properties"]["batch_size"]["default"] == 32
    assert groups["TrainingConfig"]["properties"]["batch_size"]["anyOf"][0]["minimum"] == 1
    assert "VGG16" in groups["BackboneConfig"]["properties"]["name"]["anyOf"][0]["enum"]
    assert "momentum" in groups["OptimizerConfig"]["properties"]


def test_schema_needs_no_source_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an installation without source files, only the descriptions of the settings are missing."""

    def refuse(module: object) -> str:
        raise OSError

    monkeypatch.setattr("inspect.getsource", refuse)
    schema = json_schema()
    assert schema["$defs"].keys() == SCHEMA.schema["$defs"].keys()
    assert "description" not in schema["properties"]["seed"]


@given(mapping=configs())
def test_schema_accepts_every_valid_config(mapping: dict[str, Any]) -> None:
    """The schema accepts every valid config, both as written and with all its settings resolved."""
    config = config_from_mapping(mapping, environment={}, check_paths=False)
    for document in (mapping, settings_of(config)):
        assert not [error.message for error in SCHEMA.iter_errors(document)]


@pytest.mark.parametrize("text", [None, {"layers": None}])
def test_schema_accepts_headings_without_settings(text: object) -> None:
    """The schema accepts null for a group or list, so that all lines below a heading can be commented out."""
    assert not list(SCHEMA.iter_errors({"data": {"path": "x"}, "head": text}))


def test_schema_refuses_wrong_values() -> None:
    """The schema refuses every wrong value of every setting, except NaN, which JSON cannot represent."""
    missed = [
        f"{setting.key}={value!r}"
        for setting, value in CASES
        if value == value and not list(SCHEMA.iter_errors(nested(setting, setting.name, value)))
    ]
    assert not missed
