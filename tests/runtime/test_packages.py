"""Which packages are installed, and which are missing."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cnncli.runtime.packages import Missing, missing_packages, own_requirements

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_for_users_is_known() -> None:
    """The extras are those of pyproject.toml that are not for developers; everything always needed is installed."""
    found = own_requirements()
    assert set(found) == {"", *PROJECT["optional-dependencies"]} - {"test", "docs", "dev"}
    assert len(found[""]) == len(PROJECT["dependencies"])
    assert missing_packages(found[""]) == []


def test_a_missing_or_old_package_is_found() -> None:
    """A package that is not installed, or in another version, is missing; one that fits is not."""
    needed = [Requirement(line) for line in ("no-such-package>=1", "click<1", "click>=8")]
    assert missing_packages(needed) == [Missing("no-such-package>=1", None), Missing("click<1", version("click"))]


@pytest.mark.parametrize(("extra", "expected"), [("socks", "PySocks"), ("no-such-extra", None)])
def test_the_extras_of_a_package_are_followed(extra: str, expected: str | None) -> None:
    """The requirements of an extra of an installed package are required, too."""
    names = [one.needed.split("!")[0].split(">")[0] for one in missing_packages([Requirement(f"requests[{extra}]")])]
    assert names in ([], [expected])
