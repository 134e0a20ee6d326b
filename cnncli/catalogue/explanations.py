"""Explanations of error and warning codes, read from `messages/*.yaml`.

There is one file per domain, the part of a code before its first hyphen.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class CodeExplanation:
    """Cause of a message and remedy, one sentence each."""

    code: str
    cause: str
    remedy: str


def load_explanations() -> dict[str, CodeExplanation]:
    """Return the explanations of all codes, sorted by code."""
    import yaml

    texts = [file.read_text(encoding="utf-8") for file in files("cnncli.catalogue").joinpath("messages").iterdir()]
    entries = [item for text in texts for item in yaml.safe_load(text).items()]
    return {code: CodeExplanation(code, **entry) for code, entry in sorted(entries)}
