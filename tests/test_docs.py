"""The documentation: its commands run, its links resolve, and its tables are complete."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP, SIGTERM, SIGXCPU

import pytest

from cnncli import errors
from cnncli.catalogue.explanations import load_explanations
from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.cli import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, main
from cnncli.config.fields import all_settings
from cnncli.config.modes import stages_of
from cnncli.config.overrides import OTHER_VARIABLES
from cnncli.config.reader import config_from_mapping
from cnncli.runs.folder import run_files
from scripts.figures.packages import LAYERS, package_docs
from scripts.figures.session import copy_inputs, environment
from scripts.write_reference import fill_in, pages
from tests.cli.test_help import COMMANDS
from tests.support.commands import command_lines, parse
from tests.support.pages import DOCS, PAGES, ROOT, blocks, first_column, section
from tests.test_imports import FILES, PACKAGES, module_of, package

INSTALL = "python3 -m venv "
GENERATED = pages()


def _pages_with_commands() -> Iterator[object]:
    """Yield pages with commands. Pages of docs/ that train are slow tests: the README covers training."""
    for name, path in PAGES.items():
        commands = [command for block in blocks(path) if not block.reason for command in block.commands]
        trains = any(command.startswith(("cnncli train", "cnncli finetune")) for command in commands)
        if commands:
            tier = pytest.mark.slow if name.startswith("docs/") else pytest.mark.first
            yield pytest.param(name, marks=tier) if trains else name


def text_of(name: str) -> str:
    """Return the text of a page of docs/, written or generated, as on the site."""
    return GENERATED[name] if name in GENERATED else fill_in((DOCS / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature cache that all pages share."""
    return tmp_path_factory.mktemp("docs-cache")


@pytest.fixture
def workspace(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configs and the sample, in which the commands of a page run."""
    folder = copy_inputs(tmp_path)
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CNNCLI_RUNS")
    monkeypatch.setenv("CNNCLI_CACHE", str(cache))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", list(_pages_with_commands()))
def test_the_commands_of_a_page_run(name: str, workspace: Path) -> None:
    """All commands and Python examples of a page run successfully in order."""
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(PAGES[name]):
        for command in block.commands if block.reason is None else ():
            _run(command)
        if block.language == "python":
            exec(compile(block.body, name, "exec"), names)


def _run(line: str) -> None:
    """Run a shell line; run cnncli in this process if possible, to avoid importing TensorFlow again."""
    if line.startswith(INSTALL):
        return  # .ci/run runs them; see test_readme.py
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)
        if words[0] == "cd":
            os.chdir(words[1])
        elif words[0] == "cnncli" and not set(words) & {"|", "<", ">"}:
            assert main(words[1:]) == 0, part
        elif words[0] == "cnncli" and words[-2] == ">":
            with Path(words[-1]).open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
                assert main(words[1:-2]) == 0, part
        else:
            subprocess.run(["bash", "-o", "pipefail", "-c", part], check=True, cwd=_folder_of(words), timeout=120)


def _folder_of(words: list[str]) -> Path:
    """Return the folder in which a command runs: the checkout for scripts and tests."""
    return ROOT if words[0] == "python" else Path.cwd()


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_parse(name: str) -> None:
    """Every command is accepted by cnncli, including those that need a download, a specific run or minutes."""
    for block in blocks(PAGES[name]):
        for line in block.commands:
            for words in command_lines(line):
                parse(words)
            if block.reason is not None:
                is_script = line.startswith("python scripts/") and (ROOT / line.split()[1]).is_file()
                assert command_lines(line) or is_script, line


def test_examples_of_contributing_are_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules shown in CONTRIBUTING can be imported unchanged."""
    examples = [block.body for block in blocks(ROOT / "CONTRIBUTING.md") if block.body.startswith('"""')]
    monkeypatch.syspath_prepend(str(tmp_path))

    assert len(examples) == 4
    for number, example in enumerate(examples):
        (tmp_path / f"contributing_{number}.py").write_text(example, encoding="utf-8")
        importlib.import_module(f"contributing_{number}")


@pytest.mark.parametrize("name", PAGES)
def test_commands_within_the_text_exist(name: str) -> None:
    """Every command in backticks starts with the name of a command and has only options of that command."""
    prose = re.sub(r"^```.*?^```$", "", PAGES[name].read_text(encoding="utf-8"), flags=re.M | re.S)
    commands = {" ".join(words) for words in COMMANDS}
    for text in re.findall(r"`cnncli ([a-z][^`]*)`", prose):
        words = text.split()
        assert commands & {" ".join(words[:n]) for n in (1, 2, 3)}, text


def test_every_line_of_the_installation_is_that_of_the_readme() -> None:
    """The pages install cnncli with the first part of the tested command."""
    lines = [line for path in PAGES.values() for block in blocks(path) for line in block.commands]
    installing = [line for line in lines if line.startswith(INSTALL)]

    assert len(installing) == 3
    assert all(line.startswith(min(installing, key=len).removesuffix(".")) for line in installing)


def links_of(text: str) -> list[str]:
    """Return the targets of links and images, except those on other servers."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    found = re.findall(r"\]\(([^)]*)\)", prose) + re.findall(r'(?:src|srcset)="([^"]*)"', prose)
    return [target for target in found if "://" not in target]


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a page's headings, and explicit anchors."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
    return slugs | set(re.findall(r"\{ #([\w-]+) \}", text))


@pytest.mark.parametrize("name", [*PAGES, *(f"docs/{name}" for name in GENERATED if name.endswith(".md"))])
def test_links_resolve(name: str) -> None:
    """All linked pages, figures and headings exist."""
    generated = name.removeprefix("docs/")
    text = GENERATED[generated] if generated in GENERATED else PAGES[name].read_text(encoding="utf-8")
    for target in links_of(text):
        file, _, anchor = target.removesuffix("#only-light").removesuffix("#only-dark").partition("#")
        path = os.path.normpath(Path(name).parent / file) if file else name
        inside = path.removeprefix("docs/")
        assert inside in GENERATED or (ROOT / path).is_file(), target
        if anchor:
            found = GENERATED[inside] if inside in GENERATED else (ROOT / path).read_text(encoding="utf-8")
            assert anchor in anchors_of(found), target


def test_every_page_is_in_the_navigation() -> None:
    """mkdocs.yml lists every page, written or generated, exactly once."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}

    assert sorted(re.findall(r"[\w/-]+\.md", text)) == sorted(written | {n for n in GENERATED if n.endswith(".md")})


def test_figures_are_small_and_have_two_variants() -> None:
    """Each figure has a light and a dark variant of less than 200 kB each."""
    figures = sorted((DOCS / "figures").iterdir())
    names = {path.name for path in figures}

    assert all(path.stat().st_size < 200_000 for path in figures)
    assert {name.replace("-light.", "-dark.") for name in names} == {name for name in names if "-dark." in name}


def test_the_packages_are_in_import_order() -> None:
    """The layers of the diagram list all packages in import order, with a description of each."""
    order = [name for layer in reversed(LAYERS.values()) for name in layer]

    assert order == [name for name in PACKAGES if name not in ("__main__", "cnncli", "version")]
    assert list(package_docs()) == [name for name in order if name in {package(module_of(path)) for path in FILES}]
    assert all(package_docs().values())


def test_every_file_of_a_run_is_described() -> None:
    """The table of the run directory lists all files that a run can contain."""
    assert set(first_column(text_of("reference/run-directory.md"))) == {file.name for file in run_files()}


def test_every_command_is_in_the_reference() -> None:
    """The reference contains the help of each command."""
    titles = set(re.findall(r"^## cnncli (.*)$", text_of("reference/commands.md"), re.M))

    assert titles >= {" ".join(words) for words in COMMANDS}


def test_every_setting_is_in_the_reference() -> None:
    """The reference contains each setting, with values and default, as a line or as the heading of a group."""
    text = text_of("reference/settings.md")
    keys = [
        setting.key
        for setting in all_settings()
        if not re.match(r"training\.stages\.N\.\w+\.|backbone\.N\.", setting.key)
    ]

    assert [key for key in keys if f"| `{key}` |" not in text and f"\n## {key}\n" not in text] == []
    assert "| `data.path` | a folder of images | required | " in text
    assert "| `data.fit` | stretch, crop or pad | `stretch` | " in text
    assert "| `training.optimizer.learning_rate` | a number above 0 | `0.001` | " in text


def test_every_network_and_optimizer_is_in_the_reference() -> None:
    """The reference contains each name of the catalogue, with its options."""
    networks, optimizers = text_of("reference/networks.md"), text_of("reference/optimizers.md")

    assert [name for name in NETWORKS if f"| `{name}` |" not in networks] == []
    options = [(name, option) for name, info in NETWORKS.items() for option in info.options]
    assert [pair for pair in options if "| `{}` | `{}` |".format(*pair) not in networks] == []
    assert [name for name in OPTIMIZERS if f"\n## {name}\n" not in optimizers] == []
    arguments = {argument for info in OPTIMIZERS.values() for argument in info.arguments}
    assert [name for name in arguments if f"| `{name}` |" not in optimizers] == []


def test_every_code_is_in_the_reference() -> None:
    """The reference explains each code of an error or a warning, at an anchor named after the code."""
    text = text_of("reference/errors.md")

    assert [code for code in load_explanations() if f"| `{code}`{{ #{code} }} |" not in text] == []


def test_the_exit_codes_are_those_of_the_code() -> None:
    """The table of exit codes is complete."""
    cells = first_column(section(text_of("how-to/scripts.md"), "Exit codes"))

    assert [int(word) for cell in cells for word in cell.split(",")] == [
        *(errors.EXIT_DONE, errors.EXIT_BUG, errors.EXIT_USER, errors.EXIT_MINIMUM_MISSED),
        *(EXIT_INTERRUPTED, *(128 + number for number in (SIGTERM, SIGHUP, SIGXCPU)), EXIT_PIPE_CLOSED),
    ]


def test_the_environment_variables_are_described() -> None:
    """The table contains the variables for folders, and an example of a setting."""
    shown = first_column(section(text_of("how-to/scripts.md"), "Environment variables"))

    assert set(shown) == {*OTHER_VARIABLES, "CNNCLI_<SETTING>", "KERAS_HOME", "NO_COLOR", "PYTHON_CPU_COUNT"}


@pytest.mark.parametrize(
    "variable", sorted({v for name in PAGES for v in re.findall(r"`(CNNCLI_[A-Z_]+=\w+)`", PAGES[name].read_text())})
)
def test_a_setting_in_the_environment_is_one(variable: str) -> None:
    """Each example of an environment variable changes the setting that it names."""
    name, _, value = variable.partition("=")

    config = config_from_mapping({"data": {"path": "."}}, environment={name: value}, check_paths=False)

    assert config != config_from_mapping({"data": {"path": "."}}, environment={}, check_paths=False)


@pytest.mark.parametrize("name", PAGES)
def test_overrides_and_examples_of_yaml_are_settings(name: str) -> None:
    """Every `key=value` in backticks, quotes included, and every YAML block is accepted."""
    text = PAGES[name].read_text(encoding="utf-8")
    overrides = [shlex.split(found)[0] for found in re.findall(r"`('?[a-z_]+\.[a-z_.]+=[^`]*)`", text)]
    shown = [one for one in overrides if not one.endswith("=N")]
    for override in shown:
        config_from_mapping({"data": {"path": "."}}, [override], environment={}, check_paths=False)
    import yaml

    for block in blocks(PAGES[name]):
        if block.language == "yaml":
            settings = {"data": {"path": "."}, **yaml.safe_load(block.body)}
            config_from_mapping(settings, environment={}, check_paths=False)


@pytest.mark.parametrize("mode", ["feature-extraction", "fine-tuning", "from-scratch"])
def test_the_modes_have_the_stages_of_the_table(mode: str) -> None:
    """The table of modes lists the stages of each mode in order."""
    row = re.search(rf"^\| `{mode}` \| ([^|]*) \|", text_of("how-to/configure.md"), re.M)
    config = config_from_mapping({"data": {"path": "."}, "mode": mode}, environment={}, check_paths=False)

    assert row is not None
    assert re.findall(r"`([\w-]+)`", row[1]) == [stage.name for stage in stages_of(config)]
