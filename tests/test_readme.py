"""The README is true where a program can tell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from signal import SIGHUP, SIGTERM, SIGXCPU

import pytest

import cnncli
from cnncli import errors
from cnncli.catalogue.networks import NETWORKS
from cnncli.cli import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED
from cnncli.config.modes import stages_of
from cnncli.config.overrides import FOLDERS
from cnncli.config.reader import config_from_mapping
from cnncli.config.reference import with_reference
from cnncli.runs.folder import RunFolder
from tests.test_imports import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_COMMANDS = re.findall(r"^```sh\n(python3 [^\n]*)\n```$", README, re.M)


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(title: str) -> list[str]:
    """What stands in backticks or as digits in the first cells of a section's table."""
    cells = re.findall(r"^\| ([^|]*) \|", section(title), re.M)
    return [word for cell in cells for word in re.findall(r"`([^`]*)`|^([\d, ]+)$", cell) for word in word if word]


def test_the_two_commands_are_one_line_each() -> None:
    """Whoever has Python and a package index copies one line, and the versions are those that were tested."""
    start = "python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt "

    train, test = FIRST_COMMANDS
    assert train == f"{start}. && cnncli train configs/quickstart.yaml"
    assert test == f"{start}'.[test]' && python -m pytest"


def test_continuous_integration_runs_the_two_commands() -> None:
    """What the README promises is what is tried on every change, and its failure is the end."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    for command in FIRST_COMMANDS:
        assert f"\n    {command}\n)\n" in script
    assert "\nset -euo pipefail\n" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(("failing", "code"), [("pip", 4), ("cnncli", 3), ("python", 5), ("", 0)])
def test_continuous_integration_fails_where_a_command_does(failing: str, code: int, tmp_path: Path) -> None:
    """The exit code of a link in the chain is that of the script, and nothing runs after it."""
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
        == {"pip": "", "cnncli": "", "python": "trained\n", "": "trained\ntested\nchecked\ntested\n"}[failing]
    )
    assert not (checkout / ".venv").exists()


def test_the_constraints_pin_names_and_versions_alone() -> None:
    """No address, no option, no range; every requirement of the project is there, cnncli itself is not."""
    import tomllib

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["dev"]]
    names = {re.match(r"[A-Za-z0-9_.-]+", one)[0].lower().replace("_", "-") for one in wanted}  # type: ignore[index]
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}

    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.!]+", pin)] == []
    assert names - {"cnncli"} - pinned == set()
    assert "cnncli" not in pinned


def test_the_reference_is_the_current_one() -> None:
    """Every setting is described as the schema has it; `python -m scripts.write_reference` mends it."""
    assert with_reference(README) == README


def test_the_map_shows_the_rooms_in_their_order() -> None:
    """The folders and modules of the package, none missing and none that does not exist yet."""
    there = {path.name for path in Path(cnncli.__file__).parent.iterdir() if not path.name.startswith("_")} - {
        "py.typed"
    }
    order = [name for part in PACKAGES for name in (f"{part}.py", f"{part}/") if name.rstrip("/") in there]
    shown = [name for name in first_column("How it works") if name.endswith((".py", "/"))]

    assert shown == order
    assert {name.rstrip("/") for name in shown} == there


def test_every_file_of_a_run_is_described() -> None:
    """The table has what the run folder can hold, and nothing else."""
    properties = [name for name, value in vars(RunFolder).items() if isinstance(value, property)]
    names = {getattr(RunFolder(Path("run")), name).relative_to("run").as_posix() for name in properties}

    assert {name.rstrip("/") for name in first_column("A run")} == names


def test_the_exit_codes_are_those_of_the_code() -> None:
    """A script can rely on them."""
    codes = [int(word) for cell in first_column("Scripts") for word in cell.split(",")]

    assert codes == [
        *(errors.EXIT_DONE, errors.EXIT_BUG, errors.EXIT_USER, errors.EXIT_MINIMUM_MISSED),
        *(EXIT_INTERRUPTED, *(128 + number for number in (SIGTERM, SIGHUP, SIGXCPU)), EXIT_PIPE_CLOSED),
    ]


def test_the_variables_are_there() -> None:
    """Those that name folders, and one example each of a setting in the environment."""
    shown = first_column("Environment")

    assert set(shown) >= {*FOLDERS, "CNNCLI_<SETTING>", "KERAS_HOME", "NO_COLOR"}


@pytest.mark.parametrize("variable", re.findall(r"`(CNNCLI_[A-Z_]+=\w+)`", README))
def test_a_setting_in_the_environment_is_one(variable: str) -> None:
    """The examples set what they seem to set."""
    name, _, value = variable.partition("=")

    config = config_from_mapping({"data": {"path": "."}}, environment={name: value}, check_paths=False)

    assert config != config_from_mapping({"data": {"path": "."}}, environment={}, check_paths=False)


def test_the_overrides_can_be_typed() -> None:
    """The examples of `key=value`, quotes included, are settings."""
    shown = [shlex.split(text)[0] for text in re.findall(r"`('?[a-z_]+\.[a-z_.]+=[^`]*)`", section("Settings"))]

    assert len(shown) == 3
    assert config_from_mapping({"data": {"path": "."}}, shown, environment={}, check_paths=False)


@pytest.mark.parametrize("mode", ["feature-extraction", "fine-tuning", "from-scratch"])
def test_the_modes_have_the_stages_of_the_table(mode: str) -> None:
    """Their names, in their order."""
    row = re.search(rf"^\| `{mode}` \| ([^|]*) \|", section("How it works"), re.M)
    config = config_from_mapping({"data": {"path": "."}, "mode": mode}, environment={}, check_paths=False)

    assert row is not None
    assert re.findall(r"`([\w-]+)`", row[1]) == [stage.name for stage in stages_of(config)]


def test_the_networks_are_counted() -> None:
    """As many as `cnncli backbones` lists."""
    assert f"{len(NETWORKS)} networks are known by name" in " ".join(README.split())


@pytest.mark.parametrize("network", [name for name, info in NETWORKS.items() if info.options])
def test_the_options_of_a_network_are_described(network: str) -> None:
    """Each in a row with the network's name, and with its default where a row has one option."""
    rows = re.findall(rf"^\| [^|]*\b{network}\b[^|]* \| ([^|]*) \| ([^|]*) \|", section("Settings"), re.M)
    found = {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}

    assert set(found) == set(NETWORKS[network].options)


def test_links_lead_somewhere() -> None:
    """Files are there, and so are headings."""
    headings = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.M)
    }
    for target in re.findall(r"\]\(([^)]*)\)", README):
        assert target[1:] in headings if target.startswith("#") else (ROOT / target).is_file(), target


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"])
def test_a_checkout_is_all_a_reader_needs(name: str) -> None:
    """No page sends its reader to a document outside of the repository; CONTRIBUTING names data that tests can use."""
    text = (ROOT / name).read_text(encoding="utf-8")

    assert set(re.findall(r"\.\./[\w./-]*", text)) <= {"../shared/data/dogs-vs-cats", "../shared/weights"}
    assert "../shared" not in README
