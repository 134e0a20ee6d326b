"""Examples in help texts, and command lines in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cnncli.cli import main
from cnncli.cli.app import app
from tests.support.commands import command_lines, parse
from tests.support.pages import PAGES

ROOT = Path(__file__).resolve().parents[2]


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that call each command that is not a group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*words, name))
        else:
            yield (*words, name)


def help_of(words: tuple[str, ...]) -> str:
    """Return the help text of a command, or of `cnncli` itself."""
    command: click.Command | None = app
    context = click.Context(app, info_name="cnncli", **app.context_settings)  # as in `cnncli` itself
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
        assert command is not None
        context = click.Context(command, parent=context, info_name=word)
    assert command is not None
    return command.get_help(context)


COMMANDS = list(leaves(app))
EVERY_COMMAND = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def test_command_lines_are_found_in_text() -> None:
    """Command lines are found after a prompt, in comments, joined by `&&`, and with a redirection."""
    text = (
        "$ cnncli train a.yaml 'b=[1, 2]' && cnncli evaluate --json > c.json\n#   cnncli runs  # all\nof cnncli train\n"
    )

    assert command_lines(text) == [["train", "a.yaml", "b=[1, 2]"], ["evaluate", "--json"], ["runs"]]


def test_subcommands_of_groups_are_found() -> None:
    """The search for commands includes the subcommands of groups."""
    assert len(COMMANDS) > 10
    assert ("config", "validate") in COMMANDS


@pytest.mark.parametrize("group", sorted({words[:-1] for words in COMMANDS}), ids=" ".join)
def test_the_list_of_commands_has_whole_sentences(group: tuple[str, ...]) -> None:
    """In a terminal of 80 columns, click shortens no description of a command to `...`."""
    section = help_of(group).partition("Commands:\n")[2].partition("Example:")[0]

    assert [line for line in section.splitlines() if line.endswith("...")] == []


@EVERY_COMMAND
def test_the_example_of_a_command_is_valid(words: tuple[str, ...]) -> None:
    """The example in the help of a command contains only arguments and options that the command accepts."""
    (example,) = command_lines(help_of(words).rpartition("Example:")[2])

    context = parse(example)

    assert context.command_path == " ".join(("cnncli", *words))


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_configs_named_in_examples_exist(words: tuple[str, ...]) -> None:
    """Every config named in an example exists in the repository."""
    for example in command_lines(help_of(words).rpartition("Example:")[2]):
        for word in example:
            if word.startswith("configs/"):
                assert list(ROOT.glob(word)), word


@EVERY_COMMAND
def test_every_command_is_in_the_documentation(words: tuple[str, ...]) -> None:
    """Every command is shown in at least one command line in the README or in docs/."""
    lines = [line for path in PAGES.values() for line in command_lines(path.read_text(encoding="utf-8"))]

    assert " ".join(words) in [" ".join(line[: len(words)]) for line in lines]


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", "", "--fix-splits", "--yes"],
        ["train", ""],
        ["train", "config.yaml", "--runs-dir", ""],
        ["init", ""],
        ["init", "train", "--out="],
        ["runs", "prune", ""],
        ["evaluate", ""],
        ["evaluate", "--data", ""],
        ["predict", ""],
        ["config", "validate", ""],
        ["summary", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty path, such as an unset shell variable, is refused instead of being read as the current folder."""
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "same.txt").write_text("equal in both splits")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)

    assert main(words) == 2
    assert "[usage-empty]" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
