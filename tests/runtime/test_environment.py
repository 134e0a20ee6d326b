"""The environment of a run is recorded, and recording it cannot fail."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.runtime.environment import cpu, environment, git, package_version


def test_the_environment_is_plain_data_with_the_versions_that_decide_a_result() -> None:
    """The record is JSON with the version of every package that computes."""
    record = environment()

    assert json.loads(json.dumps(record)) == record
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(record["packages"]) == {"cnncli", "tensorflow", "keras", "openvino", "nncf", "numpy", "pillow"}
    assert record["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert record["platform"]


def test_a_package_that_is_not_installed_has_no_version() -> None:
    """The version of a missing package is None."""
    assert package_version("no-such-package-anywhere") is None


def test_the_processor_is_described() -> None:
    """The record contains the processor's model, its cores, and the threads that this process may use."""
    record = cpu()

    assert record["model"]
    assert 1 <= record["threads"] <= record["cores"]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="other systems have no /proc/cpuinfo")
def test_only_flags_that_matter_are_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only processor flags that select kernels are recorded."""
    text = "processor : 0\nmodel name : Testium 1\nflags : fpu avx2 amx_bf16 avx512_bf16\n\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **options: text)

    assert (cpu()["model"], cpu()["flags"]) == ("Testium 1", ["avx2", "avx512_bf16", "amx_bf16"])


@pytest.mark.parametrize("text", ["", "Processor without colon\n", "processor : 0\nBogoMIPS : 50.00\n"])
def test_a_processor_without_flags_is_accepted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """ARM processors and containers, whose descriptions have no flags, are accepted."""
    monkeypatch.setattr(Path, "read_text", lambda self, **options: text)

    assert cpu()["flags"] is None


def run_git(folder: Path, *words: str) -> str:
    """Run git in a folder without the user's settings."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record has the commit, and whether tracked files were modified."""
    monkeypatch.chdir(tmp_path)
    run_git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a")
    run_git(tmp_path, "add", "a.txt")
    run_git(tmp_path, "commit", "-q", "-m", "a")

    assert git() == {"commit": run_git(tmp_path, "rev-parse", "HEAD"), "modified": False}

    (tmp_path / "untracked.txt").write_text("")
    assert git() == {"commit": run_git(tmp_path, "rev-parse", "HEAD"), "modified": False}

    (tmp_path / "a.txt").write_text("b")
    assert git() == {"commit": run_git(tmp_path, "rev-parse", "HEAD"), "modified": True}


def test_there_is_no_commit_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds for a repository without commits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git() is None

    run_git(tmp_path, "init", "-q")
    assert git() is None


def test_there_is_no_commit_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git records no commit."""
    monkeypatch.setenv("PATH", "")

    assert git() is None
    assert environment()["git"] is None


def test_a_git_that_hangs_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a timeout, no commit is recorded."""

    def hang(*command: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("git", 5)

    monkeypatch.setattr(subprocess, "run", hang)

    assert git() is None


def test_recording_imports_none_of_the_packages() -> None:
    """Versions come from metadata, which takes no time at the start."""
    code = (
        "import sys; from cnncli.runtime.environment import environment; environment();"
        "print([name for name in ('tensorflow', 'keras', 'openvino', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
