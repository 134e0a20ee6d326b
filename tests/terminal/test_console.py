"""Messages and progress on a terminal, in a file, in ASCII, and with --quiet."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest

from cnncli.errors import Message
from cnncli.terminal.console import FIRST_LINE_S, LOGGER, ONCE, Console, Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Terminal(io.StringIO):
    """A stream that behaves like a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture(autouse=True)
def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the width of the terminal to 80 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


SCORES = "loss 0.120 (val 0.100) · accuracy 95.0 % (val 98.1 %)"


def without_styles(stream: io.StringIO) -> str:
    """Return a stream's text without bold and colors."""
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())


def plain(**options: object) -> tuple[Console, io.StringIO, Clock]:
    """Return a console that writes to a text stream, with the stream and its clock."""
    stream, clock = io.StringIO(), Clock()
    return Console(stream, clock=clock, **options), stream, clock  # type: ignore[arg-type]


def write_messages(console: Console) -> None:
    """Write one message of every kind."""
    LOGGER.info("say")
    LOGGER.debug("detail")
    console.phase("phase", "text")
    LOGGER.warning("warn")


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["say", "phase       text", "warning: warn"]),
        ({"verbose": True}, ["say", "detail", "phase       text", "warning: warn"]),
        ({"quiet": True}, ["warning: warn"]),
        ({"quiet": True, "verbose": True}, ["warning: warn"]),
    ],
)
def test_what_is_shown_at_each_level(options: dict[str, bool], lines: list[str]) -> None:
    """--quiet leaves only warnings, --verbose adds debug messages, and --quiet wins."""
    console, stream, _ = plain(**options)
    write_messages(console)

    assert stream.getvalue().splitlines() == lines


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages do not mix with results on stdout."""
    write_messages(Console())
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err.startswith("say\n")


def test_a_warning_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is not printed a second time by the logger behind the console."""
    Console()
    LOGGER.warning("look")

    assert capsys.readouterr().err.count("look") == 1


@pytest.mark.parametrize(
    ("environment", "options", "colored"),
    [
        ({}, {}, True),
        ({"NO_COLOR": "1"}, {}, False),
        ({"NO_COLOR": ""}, {}, True),
        ({"TERM": "dumb"}, {}, False),
        ({}, {"color": False}, False),
        ({"NO_COLOR": "1"}, {"color": True}, True),
    ],
)
def test_colors_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], options: dict[str, bool], colored: bool
) -> None:
    """A terminal gets colors, unless NO_COLOR is set, it is a dumb terminal, or colors are disabled."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    Console(stream, **options)
    LOGGER.warning("look")

    assert ("\x1b[" in stream.getvalue()) == colored


def test_no_colors_in_a_file() -> None:
    """A stream that is not a terminal gets no escape codes."""
    console, stream, _ = plain()
    write_messages(console)

    assert "\x1b" not in stream.getvalue()


def test_plain_progress_is_a_line_now_and_then_and_one_at_the_end() -> None:
    """The first line is printed after ten seconds, others at growing intervals, and a summary at the end."""
    console, stream, clock = plain()
    with console.progress(40_000, "decoding") as progress:
        for _ in range(400):
            clock.now += 0.5
            progress.advance(100)

    assert stream.getvalue().splitlines() == [
        "decoding: 2,000/40,000 · 200 images/s · 3 min 10 s left",
        "decoding: 6,000/40,000 · 200 images/s · 2 min 50 s left",
        "decoding: 14,000/40,000 · 200 images/s · 2 min 10 s left",
        "decoding: 30,000/40,000 · 200 images/s · 50 s left",
        "decoding: 40,000 images in 3 min 20 s · 200 images/s",
    ]


def test_short_work_is_one_line() -> None:
    """A task of less than ten seconds prints only its summary."""
    console, stream, clock = plain()
    with console.progress(10, "hashing", "files") as progress:
        clock.now += 2
        progress.update(10)

    assert stream.getvalue() == "hashing: 10 files in 2.0 s · 5 files/s\n"


def test_progress_without_a_total() -> None:
    """If the total is unknown, the rate is shown without the time left."""
    console, stream, clock = plain()
    with console.progress(None, "looking", "files") as progress:
        clock.now += FIRST_LINE_S
        progress.advance(50)

    assert stream.getvalue().splitlines()[0] == "looking: 50 · 5 files/s"


def test_time_left_follows_the_recent_rate() -> None:
    """The time left follows the recent rate, so a slow start does not distort it."""
    clock = Clock()
    progress = Progress("work", 1000, "images", clock)
    clock.now += 100
    progress.advance(1)
    for _ in range(40):
        clock.now += 1
        progress.advance(10)

    assert progress.text() == "401/1,000 · 10 images/s · 1 min 00 s left"


def test_a_task_that_fails_has_no_summary() -> None:
    """A failed task prints no summary, which would suggest that it was completed."""
    console, stream, _ = plain()

    with pytest.raises(KeyboardInterrupt), console.progress(10, "work"):
        raise KeyboardInterrupt

    assert stream.getvalue() == ""


def test_progress_of_nothing() -> None:
    """Zero images in zero seconds print no line and do not divide by zero."""
    console, stream, _ = plain()
    with console.progress(0, "work") as progress:
        progress.advance(0)

    assert stream.getvalue() == ""


def test_many_threads_may_advance() -> None:
    """Steps reported by several threads are all counted."""
    console, stream, clock = plain()
    with console.progress(8000, "work") as progress:
        threads = [
            threading.Thread(target=lambda: [progress.advance() for _ in range(1000)])  # type: ignore[func-returns-value]
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.now += 1

    assert stream.getvalue() == "work: 8,000 images in 1.0 s · 8,000 images/s\n"


def test_the_line_of_an_epoch() -> None:
    """A finished epoch is a line with its metrics, without rate and time left, and fits 80 columns."""
    console, stream, _ = plain()
    with console.training("head", 20, 3800, done=1) as training:
        for _ in range(2):
            training.advance(3800)
            training.epoch_done(SCORES)

    lines = stream.getvalue().splitlines()
    assert lines == [f"head · epoch 2/20 · {SCORES}", f"head · epoch 3/20 · {SCORES}"]
    assert max(map(len, lines)) <= 80


def test_long_epochs_report_their_progress() -> None:
    """In an epoch of several minutes, a line is printed after a minute and then at growing intervals."""
    console, stream, clock = plain()
    with console.training("head", 2, 1000) as training:
        training.epoch_done(SCORES)
        for _ in range(18):
            clock.now += 10
            training.advance(20)

    assert stream.getvalue().splitlines()[1:] == [
        "head · epoch 2/2: 120/1,000 · 2 images/s · 7 min 20 s left",
        "head · epoch 2/2: 360/1,000 · 2 images/s · 5 min 20 s left",
    ]


def test_quiet_training_and_progress_show_nothing() -> None:
    """--quiet shows no progress."""
    console, stream, clock = plain(quiet=True)
    with console.training("head", 2, 10) as training, console.progress(5, "work") as progress:
        clock.now += 100
        training.advance(10)
        progress.advance(5)
        training.epoch_done(SCORES)

    assert stream.getvalue() == ""


def test_bars_on_a_terminal() -> None:
    """A terminal shows a bar with counts, rate and time left, which disappears when the task is done."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock=clock, color=False)
    with console.progress(12_000, "computing features") as progress:
        clock.now += 1
        progress.advance(1200)
        LOGGER.info("a message meanwhile")
    shown = stream.getvalue()

    assert re.search("computing features [━╸╺ ]{16} 1,200/12,000 · 1,200 images/s · 9.0 s left", shown)
    assert "a message meanwhile" in shown
    assert shown.rstrip().endswith("computing features: 1,200 images in 1.0 s · 1,200 images/s")
    assert not re.search(r"\x1b\[[\d;]*m", shown), "colors are switched off"


def test_a_task_within_a_task_on_a_terminal() -> None:
    """A second bar appears below the first."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock=clock)
    with console.training("head", 2, 100) as training, console.progress(10, "scoring") as progress:
        clock.now += 1
        training.advance(50)
        progress.advance(5)
        training.epoch_done(SCORES)

    assert "5/10" in stream.getvalue()
    assert "epoch 1/2" in stream.getvalue()


def test_a_bar_ends_with_its_task() -> None:
    """After an exception the terminal is restored, and the next task has a new bar."""
    stream = Terminal()
    console = Console(stream, clock=Clock())

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), console.progress(10, "work"):
            raise KeyboardInterrupt

    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 2


def test_markup_in_a_message_is_text() -> None:
    """Square brackets in a file name are not read as rich's markup."""
    stream = Terminal()
    console = Console(stream, clock=Clock(), color=False)
    with console.progress(10, "[red]work[/]") as progress:
        LOGGER.info("a[b].jpg [bold]x[/bold]")
        progress.advance(10)

    assert "a[b].jpg [bold]x[/bold]" in stream.getvalue()
    assert "[red]work[/]" in stream.getvalue()


@pytest.mark.parametrize(
    "kind", [io.TextIOWrapper, type("TerminalWrapper", (io.TextIOWrapper,), {"isatty": Terminal.isatty})]
)
def test_ascii_terminals_get_ascii(kind: Callable[..., io.TextIOWrapper]) -> None:
    """Dots and dashes that an encoding lacks are replaced with ASCII characters."""
    buffer = io.BytesIO()
    stream = kind(buffer, encoding="ascii", errors="strict")
    console, clock = Console(stream, clock=Clock()), Clock()
    with console.progress(3, "décode") as progress:
        clock.now += 1
        progress.advance(3)
        LOGGER.info("3 × 4 · 0.97–0.99 · 猫")
    stream.flush()

    assert b"3 x 4 - 0.97-0.99 - \\u732b" in buffer.getvalue()


def test_a_table_in_a_file_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are aligned right and words left, with two spaces between columns."""
    Console().table(["run", "accuracy"], [["vgg16", "0.97"], ["a", "–"]])

    assert capsys.readouterr().out == "run    accuracy\nvgg16      0.97\na             –\n"


def test_a_table_on_a_terminal_is_drawn() -> None:
    """Headings are bold and underlined, and brackets in a cell are text."""
    with redirect_stdout(Terminal()) as screen:
        Console(screen).table(["run", "accuracy"], [["a[b]", "0.97"]])

    assert screen.getvalue().splitlines() == [
        "\x1b[1mrun   accuracy\x1b[0m",
        "──────────────",
        "a[b]      0.97",
    ]


RUNS = (
    ["run", "mode", "backbone", "accuracy", "images"],
    [["2026-11-21T151201Z_resnet50-features-finetuned", "feature-extraction", "EfficientNetLite0", "97.0 %", "2,000"]],
)


@pytest.mark.parametrize(("width", "hidden"), [(120, []), (84, ["mode"]), (68, ["mode", "backbone"])])
def test_a_narrow_terminal_hides_the_least_important_columns(
    width: int, hidden: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remaining cells are complete, so that they can be copied, and no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    columns, rows = RUNS
    with redirect_stdout(Terminal()) as screen:
        Console(color=False).table(columns, rows, optional=["mode", "backbone", "images"])
    shown = without_styles(screen)

    assert [column for column in columns if column not in shown.splitlines()[0]] == hidden
    assert rows[0][0] in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_long_path_is_wrapped_between_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and quantities are not broken, and removing the spaces from a cell gives the path again."""
    monkeypatch.setenv("COLUMNS", "30")
    path = "data/training_set/golden_retriever/1.jpg"
    with redirect_stdout(Terminal()) as screen:
        Console(color=False).table(["path", "size"], [[path, "1.2 MB"]])
    lines = without_styles(screen).splitlines()[2:]

    assert "".join(line.removesuffix("1.2 MB").strip() for line in lines) == path
    assert lines[0].endswith("1.2 MB")
    assert max(map(len, lines)) <= 30


def test_a_message_is_wrapped_between_words_on_a_terminal() -> None:
    """Words, commands and the code stay whole, and a suggested command stays on one line so that it can be copied."""
    stream = Terminal()
    console = Console(stream)
    text = "After fixing this, resume with: `cnncli train runs/2026-11-28T105708Z_quickstart` or start a new run"
    console.show(logging.ERROR, Message("data-class-missing", text))
    console.show(logging.INFO, f"cnncli predict --run {'long/' * 20} IMAGE.jpg")
    lines = without_styles(stream).splitlines()

    assert lines == [
        "error: After fixing this, resume with:",
        "`cnncli train runs/2026-11-28T105708Z_quickstart` or start a new run",
        "[data-class-missing]",
        f"cnncli predict --run {'long/' * 20} IMAGE.jpg",
    ]


def test_a_record_marked_once_is_shown_once_by_each_console() -> None:
    """The runs of a sweep log the same warning about their dataset, which a console shows only the first time."""
    shown = []
    for _ in range(2):
        _, file, _ = plain()
        for text in ("few images", "few images", "other images"):
            LOGGER.warning(text, extra=ONCE)
        LOGGER.warning("again")
        LOGGER.warning("again")
        shown.append(file.getvalue().splitlines())

    assert shown == [[f"warning: {text}" for text in ("few images", "other images", "again", "again")]] * 2


def test_the_text_of_a_phase_is_wrapped_between_words() -> None:
    """On a terminal, further lines are indented like the first; in a file, the text is one line."""
    text = "2,562 parameters train from head_logits on in float32 · 3,413,024 frozen, openvino float32 · 140 images"
    stream = Terminal()
    Console(stream).phase("stage head", text)
    lines = without_styles(stream).splitlines()
    console, file, _ = plain()
    console.phase("stage head", text)

    assert [line[:12] for line in lines] == ["stage head  ", " " * 12]
    assert " ".join(line[12:] for line in lines) == text
    assert max(map(len, lines)) <= 80
    assert file.getvalue() == f"stage head  {text}\n"


def test_a_table_in_a_file_keeps_all_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Piped output does not depend on a terminal's width."""
    columns, rows = RUNS
    Console().table(columns, rows, optional=columns)

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [columns, " ".join(rows[0]).split()]


HOSTILE = "cat\x1b[31m\nred\r"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_control_characters_are_escaped_everywhere(kind: type[io.StringIO], capsys: pytest.CaptureFixture[str]) -> None:
    """A class or file name cannot color the screen, move the cursor or break a line."""
    stream, clock = kind(), Clock()
    console = Console(stream, color=False, verbose=True, live=False, clock=clock)
    console.table([HOSTILE, "n"], [[HOSTILE, "1"]])
    console.phase("phase", HOSTILE)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        console.show(level, Message("data-class-missing", HOSTILE))
    with console.progress(2, HOSTILE) as progress, console.training(HOSTILE, 2, 10) as training:
        clock.now += 20
        progress.advance()
        training.epoch_done(SCORES)
    shown = without_styles(stream) + capsys.readouterr().out

    assert shown.count(r"cat\x1b[31m\nred\r") == 10
    assert not set(shown) & {"\x1b", "\r"}


def test_warnings_and_errors_end_with_their_code() -> None:
    """Warnings and errors end with their code, which `cnncli errors` explains; text without a code does not."""
    console, stream, _ = plain()
    logging.getLogger("cnncli.example").warning(Message("data-class-missing", "no class"))
    console.show(logging.ERROR, Message("data-class-missing", "no class"))
    logging.getLogger("cnncli.example").info(Message("data-class-missing", "note"))
    logging.getLogger("cnncli.example").warning("plain")

    assert stream.getvalue().splitlines() == [
        "warning: no class [data-class-missing]",
        "error: no class [data-class-missing]",
        "note",
        "warning: plain",
    ]


def test_codes_are_dim_on_a_terminal() -> None:
    """Codes are dimmed, so that the message stands out."""
    stream = Terminal()
    Console(stream).show(logging.WARNING, Message("data-class-missing", "no class"))

    assert stream.getvalue() == "\x1b[33mwarning:\x1b[0m no class \x1b[2m[data-class-missing]\x1b[0m\n"


def test_a_result_goes_to_stdout_even_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet suppresses messages, but not results."""
    console = Console(quiet=True)
    console.phase("message")
    console.table(["a"], [["result"]])
    captured = capsys.readouterr()

    assert (captured.out, captured.err) == ("a\nresult\n", "")


def test_a_closed_stderr_does_not_end_the_work() -> None:
    """If stderr is closed, messages are dropped and the work continues."""
    stream = io.StringIO()
    console = Console(stream)
    stream.close()
    write_messages(console)


def test_a_process_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are dropped in a process without stderr, such as pythonw."""
    monkeypatch.setattr(sys, "stderr", None)
    console = Console()
    write_messages(console)
    with console.progress(1, "work") as progress:
        progress.advance()

    assert console.stream is None


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_bars_appear_if_only_stderr_is_a_terminal() -> None:
    """If stdout is a pipe, bars still appear on stderr, and the pipe gets only the result."""
    code = (
        "from cnncli.terminal.console import Console\n"
        "console = Console()\n"
        "with console.progress(3, 'decoding') as progress:\n"
        "    progress.advance(3)\n"
        "    print('result')\n"
    )
    leader, follower = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    os.close(follower)
    screen = os.read(leader, 65536).decode()
    os.close(leader)

    assert done.stdout.decode().split() == ["result"]
    assert "decoding" in screen
    assert "\x1b[" in screen


def test_plain_consoles_do_not_import_rich() -> None:
    """Rich is imported only for terminals, because its import takes long."""
    code = (
        "import io, sys; from cnncli.terminal.console import Console; console = Console(io.StringIO())\n"
        "with console.progress(1, 'a') as progress: progress.advance()\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
