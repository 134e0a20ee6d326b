"""The README: its commands are tested, its links resolve, and it is short."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from cnncli.catalogue.networks import NETWORKS
from tests.support.pages import PAGES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_COMMANDS = re.findall(r"^```sh\n(python3 [^\n]*)\n```$", README, re.M)


def test_the_two_commands_are_one_line_each() -> None:
    """Training and testing are one line each to copy, and install the pinned versions."""
    start = "python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt "

    train, test = FIRST_COMMANDS
    assert train == f"{start}. && cnncli train configs/quickstart.yaml"
    assert test == f"{start}'.[test]' && python -m pytest"


def test_continuous_integration_runs_the_two_commands() -> None:
    """Continuous integration runs the commands of the README and stops at the first failure."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    for command in FIRST_COMMANDS:
        assert f"\n    {command}\n)\n" in script
    assert "\nset -euo pipefail\n" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(("failing", "code"), [("pip", 4), ("cnncli", 3), ("python", 5), ("", 0)])
def test_continuous_integration_fails_where_a_command_does(failing: str, code: int, tmp_path: Path) -> None:
    """The script ends with the exit code of the first command that fails."""
    checkout = tmp_path / "checkout"
    (checkout / ".ci").mkdir(parents=True)
    (checkout / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    (checkout / "scripts").mkdir()
    (checkout / "scripts" / "check").write_text("#!/bin/sh\necho checked\n")
    (checkout / "scripts" / "check").chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    bodies = {
        "git": "exit 128",
        "python3": "mkdir -p .venv/bin && : > .venv/bin/activate",
        "pip": "exit 4" if failing == "pip" else "exit 0",
        "cnncli": "exit 3" if failing == "cnncli" else "echo trained",
        "python": "exit 5" if failing == "python" else "echo tested",
    }
    for name, body in bodies.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(checkout / ".ci" / "run")], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )

    assert done.returncode == code
    assert (
        done.stdout
        == {"pip": "", "cnncli": "", "python": "trained\n", "": "trained\ntested\nchecked\ntested\ntested\n"}[failing]
    )
    assert not (checkout / ".venv").exists()


def test_the_constraints_pin_names_and_versions_only() -> None:
    """Every requirement is pinned to a version, without addresses, options or ranges; cnncli itself is not listed."""
    import tomllib

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["docs"], *extras["dev"]]
    names = {re.match(r"[A-Za-z0-9_.-]+", one)[0].lower().replace("_", "-") for one in wanted}  # type: ignore[index]
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}

    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.!]+", pin)] == []
    assert names - {"cnncli"} - pinned == set()
    assert "cnncli" not in pinned


def test_the_readme_is_short() -> None:
    """The README has about 150 lines; details belong in docs/."""
    assert len(README.splitlines()) <= 160


def test_the_networks_are_counted() -> None:
    """The README states the number of networks in the catalogue."""
    assert f"{len(NETWORKS)} networks are available by name" in " ".join(README.split())


def test_both_variants_of_a_figure_exist() -> None:
    """Every figure has a light and a dark variant."""
    light, dark = (
        re.findall(rf'(?:src|srcset)="(docs/figures/[^"]*-{name}.svg)"', README) for name in ("light", "dark")
    )

    assert [name.replace("-light", "-dark") for name in light] == dark
    assert len(light) >= 2
    assert all((ROOT / name).is_file() for name in [*light, *dark])


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"])
def test_a_checkout_is_all_a_reader_needs(name: str) -> None:
    """No page refers to a document outside the repository, except that CONTRIBUTING names data for tests."""
    found = set(re.findall(r"\.\./shared[\w./-]*", (ROOT / name).read_text(encoding="utf-8")))

    assert found <= ({"../shared/data/dogs-vs-cats", "../shared/weights"} if name == "CONTRIBUTING.md" else set())
