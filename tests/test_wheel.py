"""The sdist and the wheel work alone: an environment of their own, outside the repository.

`CNNCLI_TEST_PYTHON` names the interpreter of the environment, by default that of the tests. Installing takes minutes,
and asks the package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = os.environ.get("CNNCLI_TEST_PYTHON", sys.executable)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def run(*words: str | Path, cwd: Path) -> str:
    """Return the output of a program that knows nothing of this checkout."""
    variables = {"CNNCLI_CACHE": str(cwd / "cache"), "KERAS_HOME": str(cwd / "keras"), "PATH": os.environ["PATH"]}
    kept = {name: os.environ[name] for name in ("HOME", "PIP_CONFIG_FILE") if name in os.environ}
    done = subprocess.run([*map(str, words)], cwd=cwd, env={**kept, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(PYTHON, "-m", "venv", folder / "tools", cwd=folder)
    run(folder / "tools/bin/pip", "install", "--quiet", "build", cwd=folder)
    run(folder / "tools/bin/python", "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of an environment with nothing but the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("alone")
    run(PYTHON, "-m", "venv", folder / "venv", cwd=folder)
    (wheel,) = built.glob("*.whl")
    run(folder / "venv/bin/pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return folder / "venv/bin"


def test_the_wheel_contains_one_package(built: Path) -> None:
    """The wheel installs the package cnncli and no other, with configs, sample images and man pages."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"cnncli"}
    assert "cnncli/shipped/configs/quickstart.yaml" in names
    assert sum(name.startswith("cnncli/shipped/data/sample/") for name in names) == 240
    assert sum("/share/man/man1/" in name for name in names) > 50


def test_the_sdist_has_the_tests_and_no_data(built: Path) -> None:
    """The sdist has what the checkout has: sources, tests, pages and the sample, but no other data."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"tests/test_wheel.py", "docs/index.md", "constraints.txt", "scripts/write_man.py", "Dockerfile"}
    assert {name.split("/")[1] for name in names if name.startswith("data/")} == {"README.md", "sample"}


def test_the_wheel_trains_and_predicts_alone(installed: Path, tmp_path: Path) -> None:
    """In an empty folder, the installed cnncli writes a config, trains it, and predicts an image."""
    cnncli = installed / "cnncli"
    assert "shipped" in run(
        installed / "python", "-c", "from cnncli.config.templates import shipped_root as r; print(r())", cwd=tmp_path
    )
    run(cnncli, "init", "--template", "quickstart", cwd=tmp_path)
    run(cnncli, "train", "quickstart.yaml", cwd=tmp_path)
    assert "cats" in run(cnncli, "predict", "data/sample/test/cats/cat.0.jpg", "--top", "1", cwd=tmp_path)
    assert (installed.parent / "share/man/man1/cnncli-train.1").is_file()
