"""Explanations of the codes of errors and warnings, read from `messages/*.yaml`.

There is one file per domain, the part of a code before its first hyphen.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Explanation:
    """Explanation of a message code.

    Attributes:
        code: the code, e.g. `data-class-missing`.
        cause: when the message appears, in a sentence.
        remedy: what the user can do, in a sentence.
    """

    code: str
    cause: str
    remedy: str


def load_explanations() -> dict[str, Explanation]:
    """Return the explanations of all codes by code, sorted.

    Raises:
        ValueError: an entry is in the file of another domain.
        TypeError: an entry has other keys than cause and remedy.
    """
    import yaml

    explanations: dict[str, Explanation] = {}
    for file in files("cnncli.catalogue").joinpath("messages").iterdir():
        for code, entry in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            if f"{code.partition('-')[0]}.yaml" != file.name:
                raise ValueError(f"{code} does not belong into {file.name}")
            explanations[code] = Explanation(code, **entry)
    return dict(sorted(explanations.items()))
