"""Man pages are written for all commands, and groff has nothing to complain about."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.write_man import write
from tests.cli.test_help import COMMANDS


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all man pages."""
    folder = tmp_path_factory.mktemp("man")
    write(folder)
    return folder


def test_every_command_has_a_page(pages: Path) -> None:
    """There is a page for cnncli, each command and each group of commands."""
    paths = {"-".join(words[:n]) for words in COMMANDS for n in range(1, len(words) + 1)}

    assert {path.name for path in pages.iterdir()} == {"cnncli.1", *(f"cnncli-{path}.1" for path in paths)}


def test_pages_are_valid_roff(pages: Path) -> None:
    """The formatter groff accepts all pages without a warning."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    files = sorted(pages.iterdir())
    done = subprocess.run(["groff", "-man", "-Kutf8", "-ww", "-z", *files], capture_output=True, text=True, check=True)

    assert done.stderr == ""


def test_a_page_has_the_text_of_the_help(pages: Path) -> None:
    """A page has the synopsis, the options with their help, and the example of the command."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", pages / "cnncli-init.1"], capture_output=True, text=True, check=True
    )
    text = " ".join(done.stdout.split())

    assert "SYNOPSIS cnncli init [OPTIONS] [DIR|TABLE]" in text
    assert "--force Replace an existing file." in text
    assert "EXAMPLES cnncli init flowers --out flowers.yaml" in text
