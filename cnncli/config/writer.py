"""Write a config as YAML with every setting that has an effect, and compare two configs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cnncli.config.idle_settings import idle_settings
from cnncli.config.modes import default_epochs, stages_of
from cnncli.config.schema import Config
from cnncli.config.solver import describe_solver
from cnncli.config.tree import format_value
from cnncli.config.yaml_document import ConfigDumper

MOST_UP = 2
"""Number of folders above a config up to which its paths are written relative to it."""


def dump_config(config: Config, *, is_short: bool = False, folder: Path | None = None) -> str:
    """Return a resolved config as YAML; reading it returns an equal config.

    Settings without effect, which the reader refuses, and settings that a stage inherits from `training` are omitted,
    and so are those with their default value if the text `is_short`. For a file in `folder`, near images and labels are
    relative to it, so that they can be moved together.
    """
    settings = settings_of(config, is_short=is_short)
    if folder is not None:
        data = settings["data"]
        for group in [data, data["labels"]] if config.data.labels.path else [data]:
            group["path"] = near_path(group["path"], folder)
    return to_yaml(settings, default_flow_style=False)


def near_path(path: str, folder: Path) -> str:
    """Return an absolute path relative to a folder if it lies below the folder or one of those just above it.

    >>> near_path("/home/ada/cats/data", Path("/home/ada/cats/configs"))
    '../data'
    >>> near_path("/data", Path("/home")), near_path("s3://cats/data", Path("/home"))
    ('/data', 's3://cats/data')
    """
    folder = folder.resolve()
    above = [one for one in (folder, *folder.parents)[: 1 + MOST_UP] if one.parent != one]
    if not any(Path(path).is_relative_to(one) for one in above):
        return path
    relative = os.path.relpath(path, folder)
    return f"./{relative}" if relative.startswith("~") else relative


def to_yaml(value: object, **options: Any) -> str:
    """Return a value as YAML that the config reader understands, without wrapping lines or escaping letters."""
    text: str = yaml.dump(value, Dumper=ConfigDumper, sort_keys=False, width=2**20, allow_unicode=True, **options)
    return text


def describe_config(config: Config) -> str:
    """Return a resolved config as YAML, with comments that explain its null values and list its stages."""
    info = config.backbones[0].network
    comments = {
        "  image_size: null": f"{info.input_size}, the default of {info.name}",
        "  epochs: null": f"{default_epochs(config)} unless a stage sets its own",
    }
    lines = [f"{line}  # {comments[line]}" if line in comments else line for line in dump_config(config).splitlines()]
    if config.training.solver == "exact":
        return "\n".join([*lines, f"# the head is {describe_solver(config)}"]) + "\n"
    stages = [
        f"#   {stage.name}: unfreeze {stage.unfreeze}, {stage.epochs} epochs, {stage.optimizer.name} "
        f"{stage.optimizer.learning_rate:g}, {stage.schedule.name}, batch norm: {stage.batch_norm}"
        for stage in stages_of(config)
    ]
    return "\n".join([*lines, "# stages:", *stages]) + "\n"


def settings_of(config: Config, *, is_short: bool = False) -> dict[str, Any]:
    """Return a config as nested dictionaries, lists and plain values, as written by `dump_config`."""
    settings = config.model_dump(mode="json", exclude_defaults=is_short)
    if config.training.stages is not None:
        settings["training"]["stages"] = [
            stage.model_dump(mode="json", include=stage.model_fields_set | {"unfreeze"})
            for stage in config.training.stages
        ]
    for key in idle_settings(config):
        *groups, name = key.split(".")
        inner: Any = settings
        with suppress(KeyError):  # a default that is omitted
            for group in groups:
                inner = inner[int(group) if isinstance(inner, list) else group]
            del inner[name]
    return settings


def differences(before: Config, now: Config) -> list[str]:
    """Return one line for each setting that differs, with its key and both values.

    >>> one = Config.model_validate({"data": {"path": "images"}})
    >>> differences(one, one.model_copy(update={"seed": 7}))
    ['seed: was 0, is 7']
    """
    old, new = plain_settings(before), plain_settings(now)
    return [
        f"{key}: was {format_value(old.get(key))}, is {format_value(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def plain_settings(config: Config, *, is_short: bool = False) -> dict[str, Any]:
    """Return the plain values of all settings by dotted key, or only of those that differ from their defaults."""
    return dict(_leaves("", config.model_dump(mode="json", exclude_defaults=is_short)))


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values inside groups and lists of groups, each with its dotted key."""
    for name, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            yield from _leaves(f"{prefix}{name}.", {str(number): item for number, item in enumerate(value)})
        elif isinstance(value, Mapping) and value:
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value
