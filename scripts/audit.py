"""Check the installed packages for known vulnerabilities.

    python scripts/audit.py

Runs pip-audit on the current environment. Exits with 1 if a vulnerability has a fixed version and is not accepted
below. If pip-audit is missing or gets no answer, for example without a network, prints one line and exits with 0.
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
"""Accepted vulnerabilities: identifier -> reason, such as why it cannot be exploited or what forbids the update."""

TIMEOUT_S = 120
COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"),
    *("--timeout", "5"),
)


@dataclass(frozen=True)
class Finding:
    """A vulnerability of an installed package.

    Attributes:
        package: Name and version.
        names: Identifiers; the first is the one that pip-audit uses.
        fixed_in: Versions in which it is fixed.
    """

    package: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    @property
    def reason(self) -> str | None:
        """Reason for accepting the vulnerability, or None."""
        return next((ACCEPTED[name] for name in self.names if name in ACCEPTED), None)

    @property
    def is_due(self) -> bool:
        """Whether the package must be updated."""
        return bool(self.fixed_in) and self.reason is None

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no fix yet"
        accepted = f"; accepted: {self.reason}" if self.reason else ""
        return f"{self.package}: {' = '.join(self.names)}, {fixed}{accepted}"


def main() -> int:
    """Print the known vulnerabilities and return the exit code."""
    if importlib.util.find_spec("pip_audit") is None:
        return _skip("pip-audit is not installed (pip install -c constraints.txt '.[dev]')")
    try:
        answer = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        found = list(findings(json.loads(answer.stdout)))
    except LookupError as error:
        return _skip(str(error))
    except subprocess.TimeoutExpired:
        return _skip(f"no answer within {TIMEOUT_S} s")
    except ValueError:
        return _skip(_last_line(answer.stderr))
    for finding in found:
        print(finding)
    due = sum(finding.is_due for finding in found)
    print(f"audit: {due} vulnerable packages to update, {len(found) - due} accepted or without a fix")
    return 1 if due else 0


def findings(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the vulnerabilities in a pip-audit report.

    Raises:
        LookupError: The report contains no result for any package.
    """
    dependencies = report.get("dependencies") or ()
    if not any("vulns" in one for one in dependencies):
        reasons = [str(one["skip_reason"]) for one in dependencies if "skip_reason" in one]
        raise LookupError((reasons or ["no package was looked up"])[0])
    for one in dependencies:
        for vulnerability in one.get("vulns", ()):
            names = (vulnerability["id"], *vulnerability.get("aliases", ()))
            yield Finding(f"{one['name']} {one['version']}", names, tuple(vulnerability.get("fix_versions", ())))


def _skip(reason: str) -> int:
    print(f"audit skipped: {reason}")
    return 0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["pip-audit gave no answer"])[-1][:300]


if __name__ == "__main__":
    sys.exit(main())
