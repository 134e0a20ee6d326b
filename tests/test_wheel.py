"""The sdist and the wheel work alone: an environment of their own, outside the repository.

`CNNCLI_TEST_PYTHON` names the interpreter of the environment, by default that of the tests. Installing takes minutes,
and asks the package index.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = os.environ.get("CNNCLI_TEST_PYTHON", sys.executable)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def environment(cwd: Path) -> dict[str, str]:
    """Return the variables of a program that knows nothing of this checkout."""
    variables = {"CNNCLI_CACHE": str(cwd / "cache"), "KERAS_HOME": str(cwd / "keras"), "PATH": os.environ["PATH"]}
    return {name: os.environ[name] for name in ("HOME", "PIP_CONFIG_FILE") if name in os.environ} | variables


def run(*words: str | Path, cwd: Path) -> str:
    """Return the output of a program that knows nothing of this checkout."""
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment(cwd), capture_output=True, text=True)
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


@pytest.fixture(scope="module")
def trained(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that was empty, in which the installed cnncli has written a config and trained it."""
    folder = tmp_path_factory.mktemp("trained")
    run(installed / "cnncli", "init", "--template", "quickstart", cwd=folder)
    run(installed / "cnncli", "train", "quickstart.yaml", cwd=folder)
    return folder


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


def test_the_wheel_trains_and_predicts_alone(installed: Path, trained: Path) -> None:
    """The installed cnncli trains with its own config and sample images, and predicts one of them."""
    python, image = installed / "python", "data/sample/test/cats/cat.0.jpg"
    shipped = "from cnncli.config.templates import shipped_root as r; print(r())"
    assert "shipped" in run(python, "-c", shipped, cwd=trained)
    assert "cats" in run(installed / "cnncli", "predict", image, "--top", "1", cwd=trained)
    assert (installed.parent / "share/man/man1/cnncli-train.1").is_file()


def test_the_wheel_serves_with_its_extra(built: Path, installed: Path, trained: Path) -> None:
    """With the extra [serve], the installed cnncli answers over HTTP until it is interrupted."""
    (wheel,) = built.glob("*.whl")
    run(installed / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[serve]", cwd=trained)
    image = (trained / "data/sample/test/cats/cat.0.jpg").read_bytes()
    words = [str(installed / "cnncli"), "-q", "serve", "--port", "0"]
    with subprocess.Popen(words, cwd=trained, env=environment(trained), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            with urlopen(f"{address}health", timeout=60) as answer:
                assert answer.status == 200
            request = Request(f"{address}predict", image, {"Content-Type": "image/jpeg"})
            with urlopen(request, timeout=60) as answer:
                assert b'"cats"' in answer.read()
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0
