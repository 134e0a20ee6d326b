"""Every code of a config problem is explained, and every explanation belongs to a code."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

import cnncli

PACKAGE = Path(cnncli.__file__).parent
EXPLANATIONS = yaml.safe_load((PACKAGE / "catalogue" / "messages" / "config.yaml").read_text(encoding="utf-8"))


def codes_in(path: Path) -> set[str]:
    """The literal codes of config problems in a module: text that begins with the domain and has no spaces."""
    texts = (node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and text.startswith("config-") and text.count(" ") == 0}


def test_every_code_is_explained_once() -> None:
    """The codes in the package are exactly those in the catalogue of messages."""
    used = set().union(*(codes_in(path) for path in PACKAGE.rglob("*.py")))

    assert used == set(EXPLANATIONS)


def test_every_explanation_has_cause_and_remedy() -> None:
    """Both are one sentence."""
    for code, entry in EXPLANATIONS.items():
        assert set(entry) == {"cause", "remedy"}, code
        assert all(text.endswith(".") and "\n" not in text for text in entry.values()), code
