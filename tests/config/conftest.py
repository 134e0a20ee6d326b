"""What the tests of configs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.config.reader import load_config
from cnncli.errors import ConfigError

Lines = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which has a folder `images`."""
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lines_of(folder: Path) -> Lines:
    """The lines of the error that a YAML text raises as `a.yaml`, with overrides and environment variables."""

    def lines_of(text: str | bytes, *overrides: str, **environment: str) -> list[str]:
        Path("a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load_config("a.yaml", overrides, environment=environment)
        return list(caught.value.problems)

    return lines_of
