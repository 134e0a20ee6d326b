"""Packages that cnncli and its extras need, and which of them are missing. Reads metadata, and imports none of them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.runtime.environment import package_version

if TYPE_CHECKING:
    from packaging.requirements import Requirement

FOR_DEVELOPERS = ("test", "docs", "dev")
"""Extras that no command needs."""


@dataclass(frozen=True)
class Missing:
    """A package that is needed, and is not installed, or only in a version that does not fit.

    Attributes:
        needed: Name and versions, such as `click>=8.4,<9`.
        installed: Version that is installed, or None.
    """

    needed: str
    installed: str | None


def own_requirements() -> dict[str, list[Requirement]]:
    """Return what cnncli needs, by extra; what it always needs has the key "".

    In a checkout that is not installed, pyproject.toml has the requirements.
    """
    by_extra = _of_checkout() or requirements_of("cnncli")
    return {extra: of_it for extra, of_it in by_extra.items() if extra not in FOR_DEVELOPERS}


def missing_packages(requirements: Sequence[Requirement]) -> list[Missing]:
    """Return the packages that are missing, with those that extras of installed packages need."""
    return list(_missing(requirements))


def _missing(requirements: Sequence[Requirement]) -> Iterator[Missing]:
    for one in requirements:
        installed = package_version(one.name)
        if installed is None or not one.specifier.contains(installed, prereleases=True):
            yield Missing(f"{one.name}{one.specifier}", installed)
        elif one.extras:
            by_extra = requirements_of(one.name)
            for extra in one.extras:
                yield from _missing(by_extra.get(extra, []))


def requirements_of(name: str) -> dict[str, list[Requirement]]:
    """Return the requirements of an installed package on this platform by extra; see `own_requirements`."""
    from packaging.requirements import Requirement

    try:
        fields = metadata(name)
    except PackageNotFoundError:
        return {}
    requirements = [Requirement(line) for line in fields.get_all("Requires-Dist") or []]
    extras = ["", *(fields.get_all("Provides-Extra") or [])]
    return {extra: [one for one in requirements if _is_for(one, extra)] for extra in extras}


def _is_for(requirement: Requirement, extra: str) -> bool:
    """Return whether a package is needed for an extra, and not without it."""
    marker = requirement.marker
    if marker is None:
        return not extra
    return marker.evaluate({"extra": extra}) and not (extra and marker.evaluate({"extra": ""}))


def _of_checkout() -> dict[str, list[Requirement]]:
    from packaging.requirements import Requirement

    path = Path(__file__).parents[2] / "pyproject.toml"
    if not path.is_file():
        return {}
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    by_extra = {"": project["dependencies"], **project["optional-dependencies"]}
    parsed = {extra: map(Requirement, lines) for extra, lines in by_extra.items()}
    return {
        extra: [one for one in found if one.marker is None or one.marker.evaluate()] for extra, found in parsed.items()
    }
