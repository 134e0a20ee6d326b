"""The JSON Schema and the Markdown reference agree with the reader."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from cnncli.config.fields import all_settings
from cnncli.config.reader import config_from_mapping
from cnncli.config.reference import json_schema, markdown_reference
from cnncli.config.schema import Config, DataConfig
from cnncli.config.writer import settings_of
from tests.config.strategies import configs
from tests.config.test_wrong_values import CASES, nested

SCHEMA = Draft202012Validator(json_schema())


def test_schema_is_valid_and_describes_every_group() -> None:
    """The schema is draft 2020-12 with a title and a one-line description for each setting."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "cnncli config"
    for group in (schema, *schema["$defs"].values()):
        assert group["additionalProperties"] is False
        assert all("\n" not in field["description"] for field in group["properties"].values())


def test_schema_offers_choices_and_defaults() -> None:
    """The schema has enumerations for words, the names of the catalogues, defaults and limits."""
    schema = json_schema()
    groups = schema["$defs"]
    assert schema["properties"]["mode"]["enum"] == ["feature-extraction", "fine-tuning", "from-scratch"]
    assert groups["TrainingConfig"]["properties"]["batch_size"]["default"] == 32
    assert groups["TrainingConfig"]["properties"]["batch_size"]["anyOf"][0]["minimum"] == 1
    assert "VGG16" in groups["BackboneConfig"]["properties"]["name"]["anyOf"][0]["enum"]
    assert "momentum" in groups["OptimizerConfig"]["properties"]


@settings(max_examples=30, deadline=None)
@given(mapping=configs())
def test_schema_accepts_what_the_reader_accepts(mapping: dict[str, Any]) -> None:
    """Any config is accepted as written and as resolved."""
    config = config_from_mapping(mapping, environment={}, check_paths=False)
    for document in (mapping, settings_of(config)):
        assert not [error.message for error in SCHEMA.iter_errors(document)]


@pytest.mark.parametrize("text", [None, {"layers": None}])
def test_schema_accepts_headings_without_settings(text: object) -> None:
    """All lines below a heading may be commented out."""
    assert not list(SCHEMA.iter_errors({"data": {"path": "x"}, "head": text}))


def test_schema_refuses_what_the_reader_refuses() -> None:
    """Every wrong value of every setting is refused, except NaN, which JSON does not have."""
    missed = [
        f"{setting.key}={value!r}"
        for setting, value in CASES
        if value == value and not list(SCHEMA.iter_errors(nested(setting, setting.name, value)))
    ]
    assert not missed


def test_reference_has_a_line_for_each_setting() -> None:
    """Groups are headings, and lines too if they can be null; the groups of stages are described under training."""
    text = markdown_reference()
    for setting in all_settings():
        if setting.key.startswith("training.stages.N.") and setting.key.count(".") > 3:
            continue
        assert f"| `{setting.key}` |" in text or f"**`{setting.key}`**" in text, setting.key
    lines = text.splitlines()
    assert "| `data.path` | a folder of images | required | " in text
    assert "| `data.fit` | stretch, crop or pad | `stretch` | " in text
    assert all(line.count(" | ") == 3 for line in lines if line.startswith("| `"))


def test_defaults_of_the_reference_are_those_of_a_config() -> None:
    """The resolved default config has the same values."""
    resolved = settings_of(Config(data=DataConfig(path=".")))  # type: ignore[arg-type]
    text = markdown_reference()
    assert resolved["training"]["optimizer"] == {"name": "adam", "learning_rate": 0.001}
    assert "| `training.optimizer.learning_rate` | a number above 0 | `0.001` |" in text
