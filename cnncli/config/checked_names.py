"""Checks of values of several settings, as pydantic takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.catalogue.networks import is_model_file
from cnncli.terminal.suggestions import did_you_mean

MAX_LISTED_NAMES = 30
MAX_ITEMS = 100
"""Maximum number of backbones, of layers in a head, and of stages in a run."""


def not_empty(path: object) -> object:
    """Refuse an empty path, which would stand for the current folder."""
    if path == "":
        raise ValueError("the path is empty")
    # Converted here because pydantic accepts only UTF-8 text, but a file name can be any bytes.
    return Path(path) if isinstance(path, str) else path


def name_in(names: Iterable[str], kind: str, or_model_file: bool = False) -> AfterValidator:
    """Return a validator that ignores case, - and _, and returns names as spelled in the catalogue.

    On request, the path of a saved model is accepted, too.
    """

    def validate(name: str) -> str:
        if or_model_file and is_model_file(name):
            return name
        by_plain = {_plain(known): known for known in names}
        if _plain(name) in by_plain:
            return by_plain[_plain(name)]
        listed = f"There are {', '.join(by_plain.values())}." if len(by_plain) <= MAX_LISTED_NAMES else ""
        hint = did_you_mean(name, by_plain.values()) or listed
        raise PydanticCustomError("config-unknown-name", "unknown {kind}", {"kind": kind, "hint": hint})

    return AfterValidator(validate)


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name.lower())


def suggest(names: Iterable[str]) -> WithJsonSchema:
    """Suggest names to editors without forbidding others, because case is ignored."""
    return WithJsonSchema({"anyOf": [{"enum": list(names)}, {"type": "string", "minLength": 1}]})
