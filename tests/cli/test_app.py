"""The command-line interface as a whole: commands, help, messages and exit codes."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from cnncli.cli import main
from cnncli.cli.app import VERBS, LazyGroup, app
from cnncli.cli.options import Invocation, console_options, json_option, print_json, runs_dir_option
from cnncli.errors import ConfigError, Message, MinimumMissedError
from cnncli.runs.folder import create_run
from cnncli.runs.log import recording
from cnncli.terminal.console import Console
from cnncli.version import __version__

Verb = Callable[[Callable[[], None]], None]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Return a function that replaces every command with the given action."""

    def replace(action: Callable[..., None]) -> None:
        command = action if isinstance(action, click.Command) else click.command()(action)
        monkeypatch.setattr(LazyGroup, "get_command", lambda self, context, name: command)

    return replace


def raising(error: BaseException) -> Callable[[], None]:
    """Return an action that raises the given error."""

    def action() -> None:
        raise error

    return action


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command and group, preceded by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


COMMANDS = dict(commands(app))
EVERY_COMMAND = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def help_of(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the help text that a command prints for `--help`."""
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_commands_are_listed_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    """The main help lists the commands in the order of `VERBS`, starting with `train`, and ends with an example."""
    text = help_of((), capsys)

    assert re.findall(r"^  ([a-z-]+)  ", text[text.index("Commands:") :], re.M) == list(VERBS)
    assert next(iter(VERBS)) == "train"
    assert text.endswith("  Example:\n    cnncli train configs/quickstart.yaml\n")


@pytest.mark.parametrize("name", VERBS)
def test_the_short_help_is_the_first_sentence_of_the_help(name: str) -> None:
    """The short help in the list of commands equals the first sentence of the command's own help."""
    command = app.get_command(click.Context(app), name)

    assert command is not None
    assert command.get_short_help_str(limit=200) == VERBS[name]


def test_a_short_help_fits_on_one_line() -> None:
    """Each command's entry in the list of commands fits on one line of 80 columns."""
    assert max(len(text) for text in VERBS.values()) <= 80 - 2 - max(len(name) for name in VERBS) - 2


@EVERY_COMMAND
def test_every_command_has_help_that_ends_with_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of every command ends with an example that calls this command."""
    text = help_of(words, capsys)

    assert len(text.splitlines()) > 6
    assert re.search(rf"\n  Example:\n    cnncli {' '.join(words)}\b[^\n]*\n$", text)


@EVERY_COMMAND
def test_every_option_of_every_command_has_help(words: tuple[str, ...]) -> None:
    """No option of any command lacks a help text."""
    options = [option for option in COMMANDS[words].params if isinstance(option, click.Option)]

    assert [option.name for option in options if not option.help] == []


@EVERY_COMMAND
def test_every_command_accepts_the_shared_options(words: tuple[str, ...]) -> None:
    """--quiet, --verbose and --no-color are accepted after every command."""
    names = {name for option in COMMANDS[words].params for name in option.opts}

    if not isinstance(COMMANDS[words], click.Group):
        assert {"--quiet", "-q", "--verbose", "-v", "--no-color"} <= names


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints one line with the program name and the version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cnncli {__version__}\n"


@pytest.mark.parametrize(
    "command", [["-m", "cnncli"], ["-c", "import sys; from cnncli.cli import main; sys.exit(main())"]]
)
def test_python_m_cnncli_equals_the_entry_point(command: list[str]) -> None:
    """`python -m cnncli` and the `cnncli` entry point behave identically."""
    done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == (f"cnncli {__version__}\n", "")


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`cnncli` without arguments exits with 2 and prints its help to stderr."""
    assert main([]) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err.startswith("Usage: cnncli [OPTIONS] COMMAND")


def last_code(err: str) -> str:
    """Return the error code of the last error line in the given stderr output."""
    return re.findall(r"^error: .* \[([a-z-]+)\]$", err, re.M)[-1]


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["trian"], "train"),
        (["data", "chek"], "check"),
        (["cache", "lst"], "list"),
    ],
    ids=" ".join,
)
def test_an_unknown_command_suggests_the_closest_one(
    words: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for a mistyped command or subcommand suggests the closest name."""
    assert main(words) == 2
    first, second = capsys.readouterr().err.splitlines()

    assert last_code(first) == "usage-command-unknown"
    assert f"Did you mean {suggestion}?" in first
    assert second == f"Try 'cnncli{''.join(f' {word}' for word in words[:-1])} --help' for help."


def test_an_unknown_command_without_a_close_one_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """If no command is similar to the unknown one, the error lists all commands."""
    assert main(["xyzzy"]) == 2
    err = capsys.readouterr().err
    assert [name for name in VERBS if name not in err] == []


@pytest.mark.parametrize(
    ("option", "suggestion"),
    [("--jsn", "--json"), ("--verbos", "--verbose"), ("--quite", "--quiet"), ("--errors", ""), ("--wrong", "")],
)
def test_an_unknown_option_suggests_only_a_similar_one(
    option: str, suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for an unknown option suggests a similar option if there is one."""
    assert main(["runs", option]) == 2
    err = capsys.readouterr().err

    assert last_code(err) == "usage-option-unknown"
    assert re.findall(r"Did you mean (.*)\?", err) == [suggestion] * bool(suggestion)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["runs", "--jsn"], "usage-option-unknown"),
        (["--jsn"], "usage-option-unknown"),
        (["cache", "where", "surplus"], "usage-invalid"),
        (["runs", "--runs-dir"], "usage-invalid"),
        (["train"], "usage-argument-missing"),
        (["completion"], "usage-argument-missing"),
        (["predict", "a.jpg", "--top", "0"], "usage-value-invalid"),
        (["predict", ""], "usage-empty"),
        (["predict", "a.jpg", "--json", "--csv"], "usage-options-conflict"),
        (["predict", "a.jpg", "--top", "1", "--kaggle", "a.csv"], "usage-options-conflict"),
    ],
    ids=str,
)
def test_a_usage_error_is_one_line_and_a_pointer_to_help(
    words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A usage error exits with 2 and prints one line with its code and one line that points to --help."""
    assert main(words) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()

    assert captured.out == ""
    assert len(lines) == 2
    assert last_code(lines[0]) == code
    assert "\\" not in lines[0]
    assert lines[1].startswith("Try 'cnncli")


def test_every_problem_is_printed_on_its_own_line(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    """All problems of a phase are printed, one per line and without a traceback, and the exit code is 2."""
    problems = [Message("config-key-unknown", "a.yaml:1:1: one"), "a.yaml:2:1: two"]
    verb(raising(ConfigError(problems)))

    assert main(["train"]) == 2
    assert capsys.readouterr().err == "error: a.yaml:1:1: one [config-key-unknown]\nerror: a.yaml:2:1: two\n"


def test_a_missed_minimum_exits_with_3(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    """An accuracy below the required minimum exits with 3, so that scripts can tell it from a usage error."""
    verb(raising(MinimumMissedError("0.93 is below 0.95")))

    assert main(["train"]) == 3
    assert capsys.readouterr().err == "error: 0.93 is below 0.95\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_an_operating_system_error_is_not_a_bug(number: int, verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    """An operating system error, such as a full disk, is reported in one line that names the file, with exit code 2."""
    verb(raising(OSError(number, os.strerror(number), "/disk/model.keras")))

    assert main(["train"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: /disk/model.keras: {os.strerror(number)}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (["runs"], "CNNCLI_RUNS"),
        (["runs", "--runs-dir", "~nosuch/x"], None),
        (["evaluate", "~nosuch/x"], None),
        (["cache", "where"], "CNNCLI_CACHE"),
        (["cache", "list"], "CNNCLI_CACHE"),
    ],
)
def test_an_unknown_home_folder_is_not_a_bug(
    words: list[str], variable: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown `~user` in an option, argument or environment variable is reported in one line with exit code 2."""
    if variable:
        monkeypatch.setenv(variable, "~nosuch/x")

    assert main(words) == 2
    error = capsys.readouterr().err
    assert "~nosuch/x" in error
    assert error.count("\n") == 1


def test_a_lack_of_memory_is_not_a_bug(verb: Verb, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A command that runs out of memory prints one error line, exits with 2 and writes no bug log."""
    verb(raising(MemoryError("Unable to allocate 28 GiB")))

    assert main(["train"]) == 2
    assert "28 GiB" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_bug_is_one_line_and_its_traceback_is_in_a_log(
    verb: Verb, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an unexpected exception, `main` returns 1 and prints one line with the path of the log of the traceback."""
    monkeypatch.setenv("CNNCLI_RUNS", str(tmp_path / "runs"))
    verb(raising(ZeroDivisionError("first line\nsecond line")))

    assert main(["train"]) == 1
    (log,) = (tmp_path / "runs" / ".logs").iterdir()
    captured = capsys.readouterr()
    assert captured.err == (
        f"error: This is a bug in cnncli (ZeroDivisionError: first line second line). The traceback is in {log}\n"
    )
    assert "Traceback (most recent call last)" in log.read_text()
    assert log.read_text().endswith("ZeroDivisionError: first line\nsecond line\n")


def test_a_bug_in_a_command_with_runs_dir_is_logged_there(verb: Verb, tmp_path: Path) -> None:
    """The log of a bug is written inside the folder given by --runs-dir."""

    @click.command()
    @runs_dir_option
    def action(runs_dir: Path) -> None:
        raise ZeroDivisionError

    verb(action)

    assert main(["train", "--runs-dir", str(tmp_path / "r")]) == 1
    assert len(list((tmp_path / "r" / ".logs").iterdir())) == 1


def test_a_bug_in_a_run_is_in_the_log_of_the_run(
    verb: Verb, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The traceback of a bug during a run is written only to the log of that run."""
    run = create_run(tmp_path / "runs", "a", {"config.yaml": ""})

    def action() -> None:
        with recording(run):
            raise ZeroDivisionError("oh")

    verb(action)

    assert main(["train"]) == 1
    assert capsys.readouterr().err.endswith(f" is in {run.log}\n")
    assert "ZeroDivisionError: oh" in run.log.read_text()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.path.name]


def test_a_bug_is_printed_if_no_log_can_be_written(
    verb: Verb, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no log can be written, the traceback of a bug is printed to stderr, and `main` still does not raise."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNCLI_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    verb(raising(ZeroDivisionError("oh")))

    assert main(["train"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: ")
    assert "ZeroDivisionError: oh" in lines[-2]


def test_ctrl_c_exits_with_130(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C prints "Interrupted." and exits with 130, the code that shells expect."""
    verb(raising(KeyboardInterrupt()))

    assert main(["train"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


SIGTERM_IN_A_COMMAND = """
import signal, sys, types
import click
from cnncli.cli import main

@click.command()
def command():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        print("cleaned up")

sys.modules["cnncli.cli.train"] = types.SimpleNamespace(command=command)
before = signal.getsignal(signal.SIGTERM)
print(main(["train"]), signal.getsignal(signal.SIGTERM) is before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_exits_with_143_after_cleaning_up() -> None:
    """SIGTERM lets a command clean up before it exits with 143, and the previous signal handler is restored.

    The test uses a separate process, because libraries and threads of other tests are still active in this one.
    """
    done = subprocess.run(
        [sys.executable, "-c", SIGTERM_IN_A_COMMAND], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "cleaned up\n143 True\n", "Interrupted.\n")


def test_a_command_may_run_in_a_thread() -> None:
    """A command can run in a thread, where signal handlers cannot be set."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()

    assert codes == [0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("words", [["--help"], ["runs", "--json"]], ids=" ".join)
def test_a_closed_pipe_is_not_an_error(words: list[str], tmp_path: Path) -> None:
    """Writing to a closed pipe, as in `cnncli … | head -1`, exits silently with 141, the exit code for SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "cnncli", *words], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path)
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_not_a_bug(closed: str, tmp_path: Path) -> None:
    """A command succeeds even if stdout or stderr is closed."""
    command = f'"{sys.executable}" -m cnncli runs {closed}'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True)

    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_name_of_raw_bytes_can_be_printed(encoding: str) -> None:
    """Characters that the encoding of stdout cannot represent are escaped."""
    code = (
        "import sys, click; from cnncli import cli\n"
        "cli._run = lambda words, invocation: click.echo('\\udcff \\u732b') or print('\\udcff') or 0\n"
        "sys.exit(cli.main([]))"
    )
    variables = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\\udcff\n")


@pytest.mark.parametrize(
    ("words", "quiet", "verbose", "color"),
    [
        (["train"], False, False, True),
        (["-q", "train"], True, False, True),
        (["train", "-q"], True, False, True),
        (["--quiet", "train", "--quiet"], True, False, True),
        (["-v", "train"], False, True, True),
        (["train", "--verbose"], False, True, True),
        (["--no-color", "train"], False, False, False),
        (["train", "--no-color", "-v"], False, True, False),
    ],
)
def test_shared_options_before_or_after_the_command(
    words: list[str], quiet: bool, verbose: bool, color: bool, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared options have the same effect before and after the command name."""
    monkeypatch.setattr("cnncli.terminal.console.is_terminal", lambda stream: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    consoles: list[Console] = []

    @click.command()
    @console_options
    def action(console: Console) -> None:
        consoles.append(console)

    verb(action)

    assert main(words) == 0
    assert [(one.quiet, one.verbose, one.color) for one in consoles] == [(quiet, verbose, color)]


@pytest.mark.parametrize("words", [["-q", "runs", "-v"], ["-q", "-v", "runs"], ["runs", "-qv"]])
def test_quiet_and_verbose_exclude_each_other(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet and --verbose cannot be used together, before or after the command name."""
    assert main(words) == 2
    assert last_code(capsys.readouterr().err) == "usage-options-conflict"


def test_shared_options_of_one_call_do_not_reach_the_next(verb: Verb) -> None:
    """Shared options of one call to `main` do not affect the next call."""
    seen: list[bool] = []

    @click.command()
    @console_options
    @click.pass_context
    def action(context: click.Context, console: Console) -> None:
        seen.append(context.ensure_object(Invocation).quiet)

    verb(action)
    for words in (["-q", "train"], ["train"]):
        main(words)

    assert seen == [True, False]


def test_a_command_can_be_called_without_main() -> None:
    """A command invoked directly by click, without `main`, also receives a console."""
    from click.testing import CliRunner

    @click.command()
    @json_option
    @console_options
    def action(as_json: bool, console: Console) -> None:
        click.echo(f"{as_json} {console.quiet}")

    assert CliRunner().invoke(action, ["--json", "-q"]).output == "True True\n"


@pytest.mark.parametrize(("color", "escapes"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_errors_are_red_only_on_a_terminal(
    color: dict[str, str], escapes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors are colored only on a terminal, and not if NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["trian"])
    assert "\x1b" not in capsys.readouterr().err

    for name, value in color.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    main(["trian"])
    assert ("\x1b" in capsys.readouterr().err) == escapes


def test_json_output_is_valid_for_every_type(capsys: pytest.CaptureFixture[str]) -> None:
    """Paths are written as strings, NumPy scalars as numbers, NaN and Inf as null, and messages as objects."""
    import numpy as np

    print_json(
        {"path": Path("a") / "b", "n": np.int64(3), "p": np.array([0.5, np.nan]), "t": (1, float("inf")), "é": None}
    )
    print_json([Message("run-locked", "is in use"), Message.of("plain")])

    assert capsys.readouterr().out == (
        '{\n  "path": "a/b",\n  "n": 3,\n  "p": [\n    0.5,\n    null\n  ],\n'
        '  "t": [\n    1,\n    null\n  ],\n  "\\u00e9": null\n}\n'
        '[\n  {\n    "code": "run-locked",\n    "message": "is in use"\n  },\n  "plain"\n]\n'
    )


def test_the_shell_completes_commands() -> None:
    """The shell completion of click completes command names."""
    variables = {"_CNNCLI_COMPLETE": "bash_complete", "COMP_WORDS": "cnncli ru", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cnncli"], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )

    assert done.stdout == "plain,runs\n"
