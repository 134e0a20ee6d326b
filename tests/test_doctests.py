"""Examples in docstrings produce the output that they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import cnncli

ROOT = Path(cnncli.__file__).parent
MODULES = sorted(
    ".".join(("cnncli", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


def test_there_are_examples() -> None:
    """At least three modules contain doctest examples."""
    assert len(MODULES) >= 3


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_show(module: str) -> None:
    """Every doctest in the module produces the output that it shows."""
    result = doctest.testmod(importlib.import_module(module))

    assert result.attempted > 0
    assert result.failed == 0
