"""The schema of configs as JSON Schema for editors and as Markdown for readers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Settings
from cnncli.config.fields import Setting, all_settings, expectation, takes_null
from cnncli.config.schema import Config
from cnncli.config.tree import format_value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, with which editors complete and check.

    It checks each setting on its own; contradictions and missing files are found by `cnncli config validate`.
    """
    # Descriptions have the line breaks of the source.
    schema: dict[str, Any] = json.loads(json.dumps(Config.model_json_schema()).replace("\\n", " "))
    groups = schema["$defs"]
    arguments = {name: option for info in OPTIMIZERS.values() for name, option in info.arguments.items()}
    groups["OptimizerConfig"]["properties"].update(
        {
            name: {**TypeAdapter(option.annotation).json_schema(), "description": option.doc}
            for name, option in arguments.items()
        }
    )
    groups["OptimizerConfig"]["additionalProperties"] = False
    # A heading whose lines are all commented out is null and stands for the defaults.
    for group in (schema, *groups.values()):
        for field in group["properties"].values():
            if "$ref" in field:
                group_name = field["$ref"].rpartition("/")[2]
                field.setdefault("description", groups[group_name]["description"])
                field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}]
    for group, name in (("HeadConfig", "layers"), ("BackboneConfig", "options")):
        field = groups[group]["properties"][name]
        field["type"] = [field["type"], "null"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "cnncli config"}


def markdown_reference() -> str:
    """Return every setting as Markdown: one table per group, one line per key."""
    tables: dict[str, list[Setting]] = {"": []}
    for setting in all_settings():
        group = setting.key.rpartition(".")[0]
        if setting.is_group:
            tables[setting.key] = []
        if not setting.is_group or takes_null(setting.field) or setting.is_list:
            tables.setdefault(group, []).append(setting)
    parts = []
    for group, settings in tables.items():
        # The settings of a stage that `training` has too are described there.
        if settings and not group.startswith("training.stages.N."):
            parts.append("\n".join([*_heading(group), *_table(settings)]))
    return "\n\n".join(parts) + "\n"


def _heading(group: str) -> Iterator[str]:
    found = {setting.key: setting for setting in all_settings()}.get(group.removesuffix(".N"))
    if found is not None:
        yield f"**`{group}`** {_cell(found.field.description or '')}"
        yield ""


def _table(settings: list[Setting]) -> Iterator[str]:
    yield "| Key | Values | Default | Description |"
    yield "|---|---|---|---|"
    for setting in settings:
        doc = _cell(setting.field.description or "")
        yield f"| `{setting.key}` | {_cell(_takes(setting))} | {_default(setting)} | {doc} |"


def _takes(setting: Setting) -> str:
    words = expectation(setting.field)
    if not words.startswith("a group of settings ("):
        return words
    return f"a group as `training.{setting.name}` or null" if ".N." in setting.key else "the group below or null"


def _default(setting: Setting) -> str:
    if setting.field.is_required():
        return "names the layer" if setting.key.startswith("head.layers.") else "required"
    if setting.key.startswith("training.stages.N.") and takes_null(setting.field):
        return f"that of `training.{setting.name}`"
    default = setting.field.get_default(call_default_factory=True, validated_data={})
    plain = default.model_dump() if isinstance(default, Settings) else default
    return f"`{plain if isinstance(plain, str) else format_value(plain)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
