"""`cnncli completion`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.cli import main

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
