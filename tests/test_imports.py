"""Packages import only earlier packages, and heavy packages are imported only where they are used."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cnncli
from cnncli.cli.app import VERBS

ROOT = Path(cnncli.__file__).parent

# The packages in their order: each may import those before it. The last is cnncli itself.
PACKAGES = (
    *(
        "version",
        "errors",
        "runtime",
        "terminal",
        "storage",
        "shards",
        "catalogue",
        "metrics",
        "images",
        "augmentation",
    ),
    *("config", "runs", "dataset", "networks", "engines", "features", "training", "evaluation", "inference"),
    *("explanation", "report", "export", "serving", "cluster", "recipes", "cli", "__main__", "cnncli"),
)
FILES = sorted(ROOT.rglob("*.py"))

# Packages that are slow to import and not needed to parse a command line.
HEAVY = ("tensorflow", "keras", "openvino", "sklearn", "matplotlib", "cv2", "h5py", "scipy")
# Packages that help does not need either.
MEDIUM = ("numpy", "PIL", "pydantic", "yaml", "rich")


def package(module: str) -> str:
    """Return the part of a module's full name after `cnncli`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "cnncli"


def module_of(path: Path) -> str:
    """Return the full name of the module in a file."""
    return ".".join(("cnncli", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every import in a file, including those in functions and for types."""
    parent = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parent[: len(parent) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                inner = f"{source}.{name.name}"
                yield node.lineno, inner if source == "cnncli" and importlib.util.find_spec(inner) else source
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def against_the_order(path: Path) -> list[str]:
    """Return a file's imports of later packages."""
    here = PACKAGES.index(package(module_of(path)))
    return [
        f"{path.relative_to(ROOT.parent)}:{line}: {PACKAGES[here]} imports {name}"
        for line, name in imports_of(path)
        if name.split(".")[0] == "cnncli" and PACKAGES.index(package(name)) > here
    ]


def test_every_package_has_a_place_in_the_order() -> None:
    """Every top-level folder and module of the package has a place in the import order."""
    assert {package(module_of(path)) for path in FILES} <= set(PACKAGES)
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_to_earlier_packages(path: Path) -> None:
    """No package imports a later package."""
    assert against_the_order(path) == []


def test_the_search_finds_imports_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports at the top, in functions, relative, by name and for types are all found."""
    (tmp_path / "errors.py").write_text("def f():\n    from cnncli.cli import app\n")
    (tmp_path / "runtime.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cnncli.terminal.console\n"
    )
    (tmp_path / "terminal.py").write_text(
        "from . import recipes\nimport importlib\nimportlib.import_module('cnncli.cli')\n"
    )
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.py").write_text("from ..features import store\nfrom . import files\nimport numpy\n")
    (tmp_path / "runs" / "__init__.py").write_text("from .files import sync\nfrom cnncli import train\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)

    assert {path.name: len(against_the_order(path)) for path in sorted(tmp_path.rglob("*.py"))} == {
        "errors.py": 1,
        "runtime.py": 1,
        "terminal.py": 2,
        "log.py": 1,
        "__init__.py": 1,
    }


def run_and_list_modules(words: list[str], folder: Path) -> tuple[int, set[str]]:
    """Run a command line in a new process, and return its exit code and the modules that it imported."""
    code = (
        "import json, sys\n"
        "from cnncli.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=folder, check=True)
    exit_code, modules = json.loads(done.stdout.splitlines()[-1])
    return exit_code, set(modules)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["-q", "--help"], ["trian"]], ids=" ".join)
def test_help_imports_nothing_slow(words: list[str], tmp_path: Path) -> None:
    """The help imports only click, so it appears at once."""
    code, modules = run_and_list_modules(words, tmp_path)

    assert code == (2 if words == ["trian"] else 0)
    assert not modules & {*HEAVY, *MEDIUM}


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_command_imports_nothing_heavy(verb: str, tmp_path: Path) -> None:
    """The module of a command imports nothing heavy before the command runs."""
    code, modules = run_and_list_modules([verb, "--help"], tmp_path)

    assert code == 0
    assert not modules & set(HEAVY)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["runs"], 0),
        (["runs", "--json"], 0),
        (["cache", "where"], 0),
        (["cache", "list"], 0),
        (["cache", "list", "--json"], 0),
        (["cache", "clear"], 0),
        (["backbones"], 0),
        (["backbones", "--json"], 0),
        (["config", "validate", "bad.yaml"], 2),
        (["config", "show", "bad.yaml"], 2),
        (["config", "schema"], 0),
        (["train", "bad.yaml"], 2),
        (["train", "nowhere.yaml"], 2),
        (["finetune"], 2),
        (["evaluate"], 2),
        (["predict", "a.jpg"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands_that_train_nothing_import_nothing_heavy(words: list[str], code: int, tmp_path: Path) -> None:
    """Listing commands, and commands that fail before a network is built, do not import TensorFlow."""
    (tmp_path / "bad.yaml").write_text(
        "data: {path: nowhere}\ntraining: {optimizer: {learning_rate: fast}}\nbackbon: 1\n"
    )
    exit_code, modules = run_and_list_modules(words, tmp_path)

    assert exit_code == code
    assert not modules & set(HEAVY)


def test_config_errors_are_reported_before_anything_else_is_imported(tmp_path: Path) -> None:
    """A wrong setting is reported before NumPy and the networks are imported."""
    (tmp_path / "bad.yaml").write_text("data: {path: nowhere}\nbackbon: 1\n")
    code, modules = run_and_list_modules(["train", "bad.yaml"], tmp_path)
    packages = {package(name) for name in modules if name.startswith("cnncli.")}

    assert code == 2
    assert not modules & {*HEAVY, "numpy", "PIL", "cnncli.recipes.train"}
    assert {name for name in modules if name.startswith("cnncli.dataset.")} <= {"cnncli.dataset.source"}
    assert not packages & {"networks", "engines", "features", "training", "evaluation", "inference", "report"}


def test_predicting_imports_no_training_code() -> None:
    """`predict` imports neither training code nor the config reader."""
    code = (
        "import json, sys\n"
        "import cnncli.cli.render, cnncli.cli.predict, cnncli.recipes.predict\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)

    assert not {*modules} & {*HEAVY, "pydantic", "yaml", "rich", "cnncli.recipes.train"}
    assert not {package(name) for name in modules if name.startswith("cnncli.")} & {
        "features",
        "training",
        "report",
    }
