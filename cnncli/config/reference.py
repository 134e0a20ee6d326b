"""The schema of configs as JSON Schema for editors and as Markdown for readers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter

from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.config.fields import Setting, all_settings, expectation, item_groups_of, takes_null
from cnncli.config.schema import Config
from cnncli.config.tree import format_value
from cnncli.config.writer import plain


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, with which editors complete and check.

    It checks each setting on its own; contradictions and missing files are found by `cnncli config validate`.
    """
    # Descriptions have the line breaks of the source.
    schema: dict[str, Any] = json.loads(json.dumps(Config.model_json_schema()).replace("\\n", " "))
    groups = schema["$defs"]
    _suggest(groups["BackboneConfig"]["properties"]["name"], NETWORKS)
    _suggest(groups["OptimizerConfig"]["properties"]["name"], OPTIMIZERS)
    _suggest(groups["ActivationLayer"]["properties"]["activation"], ACTIVATIONS)
    _suggest(groups["DenseLayer"]["properties"]["activation"], ACTIVATIONS)
    groups["DataConfig"]["properties"]["path"]["minLength"] = 1
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
        if not setting.is_group or takes_null(setting.field) or item_groups_of(setting.field):
            tables.setdefault(group, []).append(setting)
    parts = []
    for group, settings in tables.items():
        # The settings of a stage that `training` has too are described there.
        if settings and not group.startswith("training.stages.N."):
            parts.append("\n".join([*_heading(group), *_table(settings)]))
    return "\n\n".join(parts) + "\n"


def _suggest(field: dict[str, Any], names: Iterable[str]) -> None:
    """Offer names without forbidding others: they may be written in upper or lower case."""
    kinds = field.pop("anyOf", [{"type": field.pop("type", "string")}])
    field["anyOf"] = [{"enum": list(names)}, *({**kind, **_NOT_EMPTY.get(kind["type"], {})} for kind in kinds)]


_NOT_EMPTY: dict[str, dict[str, Any]] = {"string": {"minLength": 1}}


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
    default = plain(setting.field.get_default(call_default_factory=True, validated_data={}))
    return f"`{format_value(default) if not isinstance(default, str) else default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
