"""Fixtures for the tests of configs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.config.reader import load_config
from cnncli.errors import ConfigError, Message

Problems = Callable[..., tuple[Message, ...]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a temporary folder that contains a folder `images` and is the current folder."""
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def problems_of(folder: Path) -> Problems:
    """Return a function that returns the problems of a YAML text with overrides and environment variables."""

    def problems_of(text: str | bytes, *overrides: str, **environment: str) -> tuple[Message, ...]:
        Path("a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load_config("a.yaml", overrides, environment=environment)
        return caught.value.problems

    return problems_of


def summary(problem: Message) -> str:
    """Return the code, line, column and key of a problem, such as `config-unknown-key 2:1 epochs`."""
    facts = problem.facts
    place = f"{facts['line']}:{facts['column']}" if "line" in facts else str(facts.get("source", "-"))
    return " ".join(filter(None, [problem.code, place, str(facts["key"])]))
