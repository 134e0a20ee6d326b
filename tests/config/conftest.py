"""Fixtures of the tests of configs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.config.reader import load_config
from cnncli.errors import ConfigError, Message

Problems = Callable[..., tuple[Message, ...]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which contains a folder `images`."""
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def problems_of(folder: Path) -> Problems:
    """The problems of a YAML text in `a.yaml`, with overrides and environment variables."""

    def problems_of(text: str | bytes, *overrides: str, **environment: str) -> tuple[Message, ...]:
        Path("a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load_config("a.yaml", overrides, environment=environment)
        return caught.value.problems

    return problems_of


def summary(problem: Message) -> str:
    """Code, line, column and key of a problem, such as `config-unknown-key 2:1 epochs`."""
    facts = problem.facts
    place = f"{facts['line']}:{facts['column']}" if "line" in facts else str(facts.get("source", "-"))
    return " ".join(filter(None, [problem.code, place, str(facts["key"])]))
