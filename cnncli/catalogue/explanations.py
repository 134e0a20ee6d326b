"""Explanations of the codes of errors and warnings, read from `messages/*.yaml`.

There is one file per domain, the part of a code before its first hyphen.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Explanation:
    """When the message of a code appears, and what the user can do, each in a sentence."""

    code: str
    cause: str
    remedy: str


def load_explanations() -> dict[str, Explanation]:
    """Return the explanations of all codes by code, sorted."""
    import yaml

    explanations: dict[str, Explanation] = {}
    for file in files("cnncli.catalogue").joinpath("messages").iterdir():
        for code, entry in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            if f"{code.partition('-')[0]}.yaml" != file.name:
                raise ValueError(f"{code} does not belong into {file.name}")
            explanations[code] = Explanation(code, **entry)
    return dict(sorted(explanations.items()))
