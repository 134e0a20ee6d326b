"""The explanations of message codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnncli.catalogue import explanations as module
from cnncli.catalogue.explanations import CodeExplanation, load_explanations
from tests.support.messages import CODE, disagreements, sites_of

EXPLANATIONS = load_explanations()


def test_codes_and_explanations_agree() -> None:
    """Every message has an explanation, and every explanation belongs to a message."""
    assert disagreements() == []


def test_codes_begin_with_their_domain() -> None:
    """Codes are in kebab case and belong to a known domain."""
    assert [code for code in EXPLANATIONS if not CODE.fullmatch(code)] == []


@pytest.mark.parametrize("explanation", EXPLANATIONS.values(), ids=lambda explanation: explanation.code)
def test_causes_and_remedies_are_sentences_on_one_line(explanation: CodeExplanation) -> None:
    """The cause and the remedy of an explanation are each written on one line and end with a period."""
    for text in (explanation.cause, explanation.remedy):
        assert re.fullmatch(r"([A-Z`~-]|[a-z]+\.[a-z])[^\n]*\.", text), text


def test_the_search_finds_messages_of_every_kind(tmp_path: Path) -> None:
    """Messages are found in literals, f-strings, concatenations, conditional codes, named constants and tables."""
    source = tmp_path / "module.py"
    source.write_text(
        "ROWS = {1: ('data-a', 'text')}\n"
        "TEXTS = {'image-g': 'of {path}'}\n"
        "text = f'{n:,} images'\n"
        "Message('data-b', text, path='a')\n"
        "Message('run-c', f'{path}: missing', path=path)\n"
        "Message('run-d', 'one ' + f'{n:,} two')\n"
        "Message(cause.code or 'run-e', 'why')\n"
        "self.add('config-f', node, 'what', hint='do this')\n"
        "print('not-a-code', 'text')\n"
    )

    assert sorted((site.code, site.template) for site in sites_of(source)) == [
        ("config-f", "what · do this"),
        ("data-a", "text"),
        ("data-b", "{n} images"),
        ("image-g", "of {path}"),
        ("run-c", "{path}: missing"),
        ("run-d", "one {n} two"),
        ("run-e", "why"),
    ]


def test_entries_are_in_the_file_of_their_domain() -> None:
    """A code is found in the file of its domain, and once."""
    messages = Path(module.__file__).parent / "messages"
    codes = {file.stem: re.findall(r"(?m)^([\w-]+):", file.read_text(encoding="utf-8")) for file in messages.iterdir()}

    assert {code for domain, found in codes.items() for code in found if code.partition("-")[0] != domain} == set()
    assert sum(map(len, codes.values())) == len(EXPLANATIONS)
