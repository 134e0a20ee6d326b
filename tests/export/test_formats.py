"""Pairs of formats and precisions are refused before anything is done."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from cnncli.cli.export import command
from cnncli.errors import ConfigError, EngineError
from cnncli.export import formats
from cnncli.export.formats import FORMATS, PRECISIONS, choose_pairs, module_of
from tests.support.pages import DOCS


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_a_module_with_two_functions(name: str) -> None:
    """A format is written and loaded by the module with its name."""
    assert {"write", "load_for_parity"} <= set(vars(importlib.import_module(f"cnncli.export.{name}")))
    assert module_of(name).__name__ == f"cnncli.export.{name}"


def test_the_command_offers_every_format_and_precision() -> None:
    """The choices of the options, which are written out to keep the help fast, are those of the table."""
    choices = {option.name: getattr(option.type, "choices", None) for option in command.params}

    assert list(choices["formats"]) == list(FORMATS)
    assert list(choices["precisions"]) == list(PRECISIONS)


def test_pairs_are_all_combinations_without_repetition() -> None:
    """Every format is exported in every precision once, in the order given."""
    assert choose_pairs(["onnx", "litert", "onnx"], ["int8", "float32"]) == [
        ("onnx", "int8"),
        ("onnx", "float32"),
        ("litert", "int8"),
        ("litert", "float32"),
    ]


def test_all_refused_pairs_are_reported_together() -> None:
    """The error names every pair that a format cannot hold, and what it can hold."""
    with pytest.raises(ConfigError) as caught:
        choose_pairs(["keras", "onnx", "savedmodel"], ["float16", "int8"])

    pairs = [problem.facts["received"] for problem in caught.value.problems]
    assert pairs == [(name, precision) for name in ("keras", "savedmodel") for precision in ("float16", "int8")]
    assert set(caught.value.codes) == {"export-pair-refused"}
    assert caught.value.facts["expected"] == ["float32"]


def test_missing_packages_are_reported_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages are looked up before work starts; those for int8 only if it is requested."""
    lacking = replace(
        FORMATS["litert"], needs={"no_such_module": "no-such-package"}, needs_for_int8={"nor_this": "nor"}
    )
    monkeypatch.setattr(formats, "FORMATS", {**FORMATS, "litert": lacking})
    with pytest.raises(EngineError) as caught:
        choose_pairs(["openvino", "litert"], ["float32", "int8"])

    assert caught.value.codes == ("export-not-installed",)
    assert caught.value.facts["expected"] == ["no-such-package"]
    assert "pip install 'cnncli[export]'" in str(caught.value)


def test_the_documentation_shows_the_matrix() -> None:
    """The table of the how-to page has every pair: yes, or no where it is refused."""
    text = (DOCS / "how-to" / "export.md").read_text(encoding="utf-8")
    for name, facts in FORMATS.items():
        cells = ["no" if precision in facts.refused else "yes" for precision in PRECISIONS]
        assert f"| `{name}` | {' | '.join(cells)} |" in text, name
