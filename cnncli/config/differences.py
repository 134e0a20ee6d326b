"""Where two configs differ, key by key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cnncli.config.schema import Config


def differences(before: Config, now: Config) -> list[str]:
    """A line for each setting that differs: its key, what it was, what it is.

    >>> one = Config.model_validate({"data": {"path": "images"}})
    >>> differences(one, one.model_copy(update={"seed": 7}))
    ['seed: was 0, is 7']
    """
    old, new = (dict(_settings("", config.model_dump(mode="json"))) for config in (before, now))
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: was {_shown(old.get(key))}, is {_shown(new.get(key))}" for key in keys if old.get(key) != new.get(key)
    ]


def _settings(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
