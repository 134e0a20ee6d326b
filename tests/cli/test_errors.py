"""`cnncli errors`: explanations of error and warning codes."""

from __future__ import annotations

import json

import pytest

from cnncli.catalogue.explanations import load_explanations
from cnncli.cli import main

CODE = "machine-disk-full"


def test_all_codes_are_listed_with_their_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """If stdout is not a terminal, each code is listed with its cause on one line."""
    assert main(["errors"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].split() == ["code", "cause"]
    assert [tuple(line.split(maxsplit=1)) for line in lines[1:]] == [
        (explanation.code, explanation.cause) for explanation in load_explanations().values()
    ]


@pytest.mark.parametrize("code", [CODE, f"[{CODE}]"])
def test_a_code_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The cause and remedy of a code are printed, whether or not the code is enclosed in brackets."""
    assert main(["errors", code]) == 0
    explanation = load_explanations()[CODE]

    assert capsys.readouterr().out.splitlines() == [
        CODE,
        "",
        f"Cause: {explanation.cause}",
        f"Remedy: {explanation.remedy}",
    ]


def test_the_explanations_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the entry of the given code, or the list of all entries."""
    assert main(["errors", CODE, "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert main(["errors", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)

    assert set(entry) == {"code", "cause", "remedy"}
    assert entry in entries
    assert len(entries) == len(load_explanations())


@pytest.mark.parametrize(("code", "suggestion"), [("machine-disk-ful", CODE), ("xyzzy", "cnncli errors")])
def test_an_unknown_code_is_refused(code: str, suggestion: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown code exits with 2 and suggests a similar code or the command that lists all codes."""
    assert main(["errors", code]) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    assert "[usage-code-unknown]" in captured.err
    assert suggestion in captured.err
