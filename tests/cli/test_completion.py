"""`cnncli completion`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from cnncli.cli import main
from cnncli.cli.app import app
from cnncli.cli.completion import VARIABLE

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def with_cnncli(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which a shell finds this cnncli."""
    program = tmp_path / "bin/cnncli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cnncli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_calls_cnncli(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script of each shell requests completions in the way that cnncli answers."""
    assert main(["completion", shell]) == 0
    assert f"_CNNCLI_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_valid(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The shell parses its script without an error."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    subprocess.run([shell, "-n"], input=capsys.readouterr().out, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["report", ""], ["frozen", "tuned"]),
        (["predict", "photo.jpg", "--run", "tu"], ["tuned"]),
        (["evaluate", "tuned", "froz"], ["frozen"]),
        (["report", "2026-01-02"], ["2026-01-02T000000Z_tuned"]),
        (["report", "other"], []),
    ],
)
def test_names_of_runs_are_completed(
    words: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name stands once, the newest first; directories are offered when a date is typed."""
    for name in ("2026-01-01T000000Z_frozen", "2026-01-02T000000Z_tuned", "2026-01-03T000000Z_frozen", ".logs"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("CNNCLI_RUNS", str(tmp_path))

    assert completed(words) == expected


def test_runs_of_another_folder_are_completed(tmp_path: Path) -> None:
    """--runs-dir before the name decides where runs are looked for."""
    (tmp_path / "2026-01-01T000000Z_there").mkdir()

    assert completed(["report", "--runs-dir", str(tmp_path), "t"]) == ["there"]


def test_a_path_is_completed_by_the_shell() -> None:
    """A text with a separator is a path, which the shell completes by itself."""
    (item,) = BashComplete(app, {}, "cnncli", VARIABLE).get_completions(["report"], f".{os.sep}ru")

    assert item.type == "dir"


def completed(words: list[str]) -> list[str]:
    """Return what can stand for the last of the words."""
    return [item.value for item in BashComplete(app, {}, "cnncli", VARIABLE).get_completions(words[:-1], words[-1])]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_and_choices(
    with_cnncli: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the script sourced, bash completes a command, an option and a choice."""
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for words, expected in ((["ru"], "runs"), (["train", "--res"], "--resume"), (["completion", "f"], "fish")):
        line = " ".join(["cnncli", *words])
        ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _cnncli_completion cnncli; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{ask}"], env=with_cnncli, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [expected], words
