"""The audit fails for a known vulnerability with a fix, but not for a missing answer."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from typing import Any

import pytest

from scripts import audit


def _answer_with(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> None:
    def run(*args: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(args, 1, stdout, stderr)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", run)


def _report(*fixes: str, name: str = "PYSEC-1") -> str:
    vulnerability = {"id": name, "aliases": ["CVE-1"], "fix_versions": fixes}
    safe = {"name": "numpy", "version": "2.4", "vulns": []}
    return json.dumps({"dependencies": [{"name": "keras", "version": "3.14", "vulns": [vulnerability]}, safe]})


def test_vulnerability_with_a_fix_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A vulnerability with a fix fails the audit, which names the fixed version."""
    _answer_with(monkeypatch, _report("3.15.0"))
    assert audit.main() == 1
    assert capsys.readouterr().out.splitlines()[0] == "keras 3.14: PYSEC-1 = CVE-1, fixed in 3.15.0"


@pytest.mark.parametrize(("fixes", "accepted"), [((), {}), (("3.15.0",), {"CVE-1": "it cannot be reached"})])
def test_vulnerability_without_a_fix_or_accepted_passes(
    fixes: tuple[str, ...],
    accepted: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A vulnerability without a fix, or accepted with a reason, is printed and does not fail the audit."""
    monkeypatch.setattr(audit, "ACCEPTED", accepted)
    _answer_with(monkeypatch, _report(*fixes))
    assert audit.main() == 0
    assert "PYSEC-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stdout", "reason"),
    [
        ("", "ERROR: cannot connect"),
        ("{", "ERROR: cannot connect"),
        ("{}", "no package was looked up"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', "not found"),
    ],
)
def test_missing_answer_is_reported_and_passes(
    stdout: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing answer is reported in one line with the reason."""
    _answer_with(monkeypatch, stdout, "Traceback\nERROR: cannot connect")
    assert audit.main() == 0
    assert capsys.readouterr().out == f"audit skipped: {reason}\n"


def test_slow_answer_is_abandoned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The audit stops waiting after two minutes."""

    def run(*args: Any, **settings: Any) -> None:
        raise subprocess.TimeoutExpired("pip-audit", settings["timeout"])

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == 0
    assert capsys.readouterr().out == "audit skipped: no answer within 120 s\n"


def test_missing_tool_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message contains the command that installs pip-audit."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("audit skipped: pip-audit is not installed")


def test_every_accepted_vulnerability_has_a_reason() -> None:
    """The reason of an accepted vulnerability is a sentence."""
    assert all(len(reason.split()) > 3 for reason in audit.ACCEPTED.values())
