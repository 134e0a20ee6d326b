"""A known vulnerability with a fix fails the audit; a machine without an answer does not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from typing import Any

import pytest

from scripts import audit


def _answering(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> None:
    def run(*args: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(args, 1, stdout, stderr)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", run)


def _report(*fixes: str, name: str = "PYSEC-1") -> str:
    vulnerability = {"id": name, "aliases": ["CVE-1"], "fix_versions": fixes}
    safe = {"name": "numpy", "version": "2.4", "vulns": []}
    return json.dumps({"dependencies": [{"name": "keras", "version": "3.14", "vulns": [vulnerability]}, safe]})


def test_vulnerability_with_a_fix_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with the version that has the fix."""
    _answering(monkeypatch, _report("3.15.0"))
    assert audit.main() == 1
    assert capsys.readouterr().out.splitlines()[0] == "keras 3.14: PYSEC-1 = CVE-1, fixed in 3.15.0"


@pytest.mark.parametrize(("fixes", "accepted"), [((), {}), (("3.15.0",), {"CVE-1": "it cannot be reached"})])
def test_what_cannot_or_need_not_be_mended_is_told_and_passes(
    fixes: tuple[str, ...],
    accepted: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a fix nothing can be done; with a reason nothing need be."""
    monkeypatch.setattr(audit, "ACCEPTED", accepted)
    _answering(monkeypatch, _report(*fixes))
    assert audit.main() == 0
    assert "PYSEC-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stdout", "why"),
    [
        ("", "ERROR: cannot connect"),
        ("{", "ERROR: cannot connect"),
        ("{}", "no package was looked up"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', "not found"),
    ],
)
def test_no_answer_is_said_aloud_and_fails_nothing(
    stdout: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why nothing was found out."""
    _answering(monkeypatch, stdout, "Traceback\nERROR: cannot connect")
    assert audit.main() == 0
    assert capsys.readouterr().out == f"audit skipped: {why}\n"


def test_slow_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After two minutes."""

    def run(*args: Any, **settings: Any) -> None:
        raise subprocess.TimeoutExpired("pip-audit", settings["timeout"])

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == 0
    assert capsys.readouterr().out == "audit skipped: no answer within 120 s\n"


def test_missing_tool_is_said_aloud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("audit skipped: pip-audit is not installed")


def test_every_accepted_vulnerability_has_a_reason() -> None:
    """A sentence, not a word."""
    assert all(len(reason.split()) > 3 for reason in audit.ACCEPTED.values())
