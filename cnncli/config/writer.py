"""A config as YAML, with every setting that has an effect written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cnncli.config.dialect import ConfigDumper
from cnncli.config.idle import idle_settings
from cnncli.config.modes import default_epochs, stages_of
from cnncli.config.names import network_of
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


def described(config: Config) -> str:
    """A resolved config as YAML with comments: what its null stands for, and the stages it means."""
    lines = dump_config(config).splitlines()
    info = network_of(config)
    if info is not None and config.data.image_size is None:
        lines = _remark(lines, "  image_size: null", f"{info.input_size}, {info.name}'s own")
    if config.training.epochs is None:
        lines = _remark(lines, "  epochs: null", f"{default_epochs(config)} where a stage does not say")
    stages = [
        f"#   {stage.name}: unfreeze {stage.unfreeze}, {stage.epochs} epochs, {stage.optimizer.name} "
        f"{stage.optimizer.learning_rate:g}, {stage.schedule.name}, batch norm: {stage.batch_norm}"
        for stage in stages_of(config)
    ]
    return "\n".join([*lines, "# stages:", *stages]) + "\n"


def _remark(lines: list[str], line: str, remark: str) -> list[str]:
    return [f"{text}  # {remark}" if text == line else text for text in lines]


def settings_of(config: Config) -> dict[str, Any]:
    """A config as nested dictionaries, lists and plain values, as `dump_config` writes it."""
    return _group(config, "", idle_settings(config))


def plain(value: Any) -> Any:
    """A value of a setting as YAML knows it: groups are dictionaries, tuples lists, paths text."""
    return _plain(value, "", {})


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
