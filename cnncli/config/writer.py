"""A config as YAML, with every setting that has an effect written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cnncli.config.dialect import ConfigDumper
from cnncli.config.idle import idle_settings
from cnncli.config.schema import Config, Settings, StageConfig
from cnncli.config.tree import join


def dump_config(config: Config) -> str:
    """A resolved config as YAML; reading it gives an equal config.

    Left out is what would be refused when it is read again, since it has no effect beside the rest, and what a stage
    takes from `training`.
    """
    text: str = yaml.dump(
        settings_of(config),
        Dumper=ConfigDumper,
        sort_keys=False,
        allow_unicode=True,
        width=2**20,
        default_flow_style=False,
    )
    return text


def settings_of(config: Config) -> dict[str, Any]:
    """A config as nested dictionaries, lists and plain values, as `dump_config` writes it."""
    return _group(config, "", idle_settings(config))


def _group(group: Settings, key: str, idle: dict[str, tuple[str, str]]) -> dict[str, Any]:
    written = {}
    plain = type(group).model_construct()
    for name, value in (*((name, getattr(group, name)) for name in type(group).model_fields), *_extra(group)):
        is_idle = join(key, name) in idle and value == getattr(plain, name, None)
        is_inherited = isinstance(group, StageConfig) and name not in group.model_fields_set and name != "unfreeze"
        if not is_idle and not is_inherited:
            written[name] = _plain(value, join(key, name), idle)
    return written


def _extra(group: Settings) -> list[tuple[str, Any]]:
    return list((group.model_extra or {}).items())


def _plain(value: Any, key: str, idle: dict[str, tuple[str, str]]) -> Any:
    if isinstance(value, Settings):
        return _group(value, key, idle)
    if isinstance(value, list | tuple):
        return [_plain(item, join(key, str(number)), idle) for number, item in enumerate(value)]
    return str(value) if isinstance(value, Path) else value
