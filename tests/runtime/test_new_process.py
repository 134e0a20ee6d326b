"""New Python processes."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

import cnncli
from cnncli.recipes.doctor import diagnose_installation
from cnncli.runtime.new_process import start_python

PACKAGE = Path(cnncli.__file__).parent


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with modules of names that cnncli imports, each of which leaves a file when it is imported."""
    for name in ("json", "numpy", "cnncli", "openvino"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "import json, cnncli; print(json.dumps(cnncli.__file__))"),
        ("-m", "cnncli.export.parity"),
        ("-m", "cnncli.training.batch_size"),
    ],
)
def test_a_new_process_imports_nothing_from_the_current_folder(words: tuple[str, ...], planted: Path) -> None:
    """A json.py or cnncli.py next to the images is not run, and cnncli is the one of this process."""
    with start_python(words, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate()

    assert not (planted / "imported").exists()
    assert words[0] == "-m" or output == f'"{cnncli.__file__}"\n'


def test_the_diagnosis_imports_nothing_from_the_current_folder(planted: Path) -> None:
    """`cnncli doctor` in a folder with an openvino.py asks the installed OpenVINO."""
    assert diagnose_installation().precision is not None
    assert not (planted / "imported").exists()


def test_only_one_module_starts_python() -> None:
    """No other module of the package uses sys.executable, which would import from the current folder."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "executable"
    }
    assert users == {"runtime/new_process.py"}
