"""Whether anything that is installed is known to be vulnerable, where somebody answers that question.

    python scripts/audit.py

Asks pip-audit about the environment it runs in. Ends with 1 where a vulnerability is known, a version without it is
there, and nobody has said below why that can wait. Where pip-audit is missing or gets no answer, it says so in one
line and ends with 0: a machine without a network is no vulnerability.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ACCEPTED: Mapping[str, str] = {}
"""Identifier of a vulnerability -> why its fix can wait: by what it cannot be reached, or what forbids the version."""

SECONDS = 120
COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"),
    *("--timeout", "5"),
)


@dataclass(frozen=True)
class Finding:
    """A vulnerability of an installed package.

    Attributes:
        package: name and version.
        names: its identifiers, the first one pip-audit's own.
        fixed_in: versions without it; none where there is none yet.
    """

    package: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    @property
    def reason(self) -> str | None:
        """Why it is accepted; None where it is not."""
        return next((ACCEPTED[name] for name in self.names if name in ACCEPTED), None)

    @property
    def is_due(self) -> bool:
        """Whether something can and must be done about it."""
        return bool(self.fixed_in) and self.reason is None

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no fix yet"
        accepted = f"; accepted: {self.reason}" if self.reason else ""
        return f"{self.package}: {' = '.join(self.names)}, {fixed}{accepted}"


def main() -> int:
    """Say what is known; gives the exit code."""
    if importlib.util.find_spec("pip_audit") is None:
        return _skipped("pip-audit is not installed (pip install -c constraints.txt '.[dev]')")
    try:
        answer = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS, check=False)
        found = list(findings(json.loads(answer.stdout)))
    except LookupError as error:
        return _skipped(str(error))
    except subprocess.TimeoutExpired:
        return _skipped(f"nobody answered within {SECONDS} s")
    except ValueError:
        return _skipped(_last_line(answer.stderr))
    for finding in found:
        print(finding)
    due = sum(finding.is_due for finding in found)
    print(f"audit: {due} vulnerable packages to update, {len(found) - due} that nothing can be done about or need be")
    return 1 if due else 0


def findings(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What a report of pip-audit tells, package by package.

    Raises: LookupError: no package was known to whoever answered.
    """
    dependencies = report.get("dependencies") or ()
    if not any("vulns" in one for one in dependencies):
        reasons = [str(one["skip_reason"]) for one in dependencies if "skip_reason" in one]
        raise LookupError((reasons or ["no package was looked up"])[0])
    for one in dependencies:
        for vulnerability in one.get("vulns", ()):
            names = (vulnerability["id"], *vulnerability.get("aliases", ()))
            yield Finding(f"{one['name']} {one['version']}", names, tuple(vulnerability.get("fix_versions", ())))


def _skipped(why: str) -> int:
    print(f"audit skipped: {why}")
    return 0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["pip-audit gave no answer"])[-1][:300]


if __name__ == "__main__":
    sys.exit(main())
