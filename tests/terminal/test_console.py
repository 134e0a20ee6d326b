"""Messages and progress: on a terminal, in a file, in ASCII, quietly."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cnncli.terminal.console import LINE_EVERY_S, Console


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def _a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests has no say in how a terminal looks."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


@dataclass
class Figures:
    """Those of an epoch."""

    loss: float = 0.12
    accuracy: float = 0.95
    val_loss: float = 0.1
    val_accuracy: float = 0.981
    seconds: float = 2.0
    images_per_s: float = 1900.0


def plain(**options: object) -> tuple[Console, io.StringIO, Clock]:
    """A console that writes lines to a text, with its clock."""
    stream, clock = io.StringIO(), Clock()
    return Console(stream, clock=clock, **options), stream, clock  # type: ignore[arg-type]


def spoken(console: Console) -> None:
    """One message of every kind."""
    console.say("say")
    console.detail("detail")
    console.phase("phase", "text")
    console.warn("warn")


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["say", "phase       text", "warning: warn"]),
        ({"verbose": True}, ["say", "detail", "phase       text", "warning: warn"]),
        ({"quiet": True}, ["warning: warn"]),
        ({"quiet": True, "verbose": True}, ["warning: warn"]),
    ],
)
def test_what_is_said_at_each_volume(options: dict[str, bool], lines: list[str]) -> None:
    """Quiet leaves warnings, verbose adds details."""
    console, stream, _ = plain(**options)
    spoken(console)

    assert stream.getvalue().splitlines() == lines


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout belongs to results."""
    spoken(Console())
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err.startswith("say\n")


def test_a_warning_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The logger behind the console does not print it a second time."""
    Console().warn("look")

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
    """A terminal has colors, unless NO_COLOR is set to anything, or it is a dumb one, or someone said otherwise."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    Console(stream, **options).warn("look")

    assert ("\x1b[" in stream.getvalue()) == colored


def test_no_colors_in_a_file() -> None:
    """What is no terminal gets no escape codes."""
    console, stream, _ = plain()
    spoken(console)

    assert "\x1b" not in stream.getvalue()


def test_plain_progress_is_a_line_now_and_then_and_one_at_the_end() -> None:
    """A line at most every ten seconds, with rate and time left; the last one sums up."""
    console, stream, clock = plain()
    with console.progress(4000, "decoding") as progress:
        for _ in range(40):
            clock.now += 0.5
            progress.advance(100)

    assert stream.getvalue().splitlines() == [
        "decoding: 2,000/4,000 · 200 images/s · 10 s left",
        "decoding: 4,000/4,000 · 200 images/s",
        "decoding: 4,000 images in 20 s · 200 images/s",
    ]


def test_short_work_is_one_line() -> None:
    """What is over before ten seconds only sums up."""
    console, stream, clock = plain()
    with console.progress(10, "hashing", "files") as progress:
        clock.now += 2
        progress.update(10)

    assert stream.getvalue() == "hashing: 10 files in 2.0 s · 5 files/s\n"


def test_progress_without_a_total() -> None:
    """Where the number is unknown, the rate is shown and no time left."""
    console, stream, clock = plain()
    with console.progress(None, "looking", "files") as progress:
        clock.now += LINE_EVERY_S
        progress.advance(50)

    assert stream.getvalue().splitlines()[0] == "looking: 50 · 5 files/s"


def test_time_left_follows_the_recent_rate() -> None:
    """A slow beginning does not spoil the estimate for ever."""
    console, stream, clock = plain()
    with console.progress(1000, "work") as progress:
        clock.now += 100
        progress.advance(1)
        for _ in range(40):
            clock.now += 1
            progress.advance(10)

    assert stream.getvalue().splitlines()[-2] == "work: 401/1,000 · 10 images/s · 1 min 00 s left"


def test_work_that_fails_does_not_claim_to_be_done() -> None:
    """No summary after an exception."""
    console, stream, _ = plain()

    with pytest.raises(KeyboardInterrupt), console.progress(10, "work"):
        raise KeyboardInterrupt

    assert stream.getvalue() == ""


def test_progress_of_nothing() -> None:
    """Zero images in zero seconds are no division by zero, and nothing to speak of."""
    console, stream, _ = plain()
    with console.progress(0, "work") as progress:
        progress.advance(0)

    assert stream.getvalue() == ""


def test_many_threads_may_advance() -> None:
    """No step is lost."""
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
    """Every epoch is a line with its figures, its rate and the time that is left of the stage."""
    console, stream, _ = plain()
    with console.training("head", 3, 3800) as training:
        for seconds in (2.0, 4.0, 3.0):
            training.advance(3800)
            training.epoch_done(Figures(seconds=seconds))

    figures = "loss 0.120 · accuracy 0.950 · val_loss 0.100 · val_accuracy 0.981 · 1,900 images/s"
    assert stream.getvalue().splitlines() == [
        f"head · epoch 1/3 · {figures} · 4.0 s left",
        f"head · epoch 2/3 · {figures} · 3.0 s left",
        f"head · epoch 3/3 · {figures}",
    ]


def test_a_long_epoch_says_how_far_it_is() -> None:
    """Within an epoch of minutes a line appears every ten seconds, counted from the epoch's beginning."""
    console, stream, clock = plain()
    with console.training("head", 2, 1000) as training:
        training.epoch_done(Figures())
        for _ in range(3):
            clock.now += 5
            training.advance(100)

    assert stream.getvalue().splitlines()[1] == ("head · epoch 2/2: 200/1,000 · 20 images/s · 40 s left")


def test_quiet_training_and_progress_say_nothing() -> None:
    """--quiet leaves no line of progress."""
    console, stream, clock = plain(quiet=True)
    with console.training("head", 2, 10) as training, console.progress(5, "work") as progress:
        clock.now += 100
        training.advance(10)
        progress.advance(5)
        training.epoch_done(Figures())

    assert stream.getvalue() == ""


def test_bars_on_a_terminal() -> None:
    """A bar with counts, rate and time left moves on a terminal, and is gone when the work is done."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock=clock, color=False)
    with console.progress(12_000, "computing features") as progress:
        clock.now += 1
        progress.advance(1200)
        console.say("a message meanwhile")
    shown = stream.getvalue()

    assert re.search("computing features [━╸╺ ]{16} 1,200/12,000 · 1,200 images/s · 9.0 s left", shown)
    assert "a message meanwhile" in shown
    assert shown.rstrip().endswith("computing features: 1,200 images in 1.0 s · 1,200 images/s")
    assert not re.search(r"\x1b\[[\d;]*m", shown), "no colors were asked for"


def test_work_inside_work_on_a_terminal() -> None:
    """A second bar joins the first."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock=clock)
    with console.training("head", 2, 100) as training, console.progress(10, "scoring") as progress:
        clock.now += 1
        training.advance(50)
        progress.advance(5)
        training.epoch_done(Figures())

    assert "5/10" in stream.getvalue()
    assert "epoch 1/2" in stream.getvalue()


def test_a_bar_ends_with_its_work() -> None:
    """After an exception the terminal is as before, and the next bar is a new one."""
    stream = Terminal()
    console = Console(stream, clock=Clock())

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), console.progress(10, "work"):
            raise KeyboardInterrupt

    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 2


def test_markup_in_a_message_is_text() -> None:
    """Square brackets in a file name are no colors."""
    stream = Terminal()
    console = Console(stream, clock=Clock(), color=False)
    with console.progress(10, "[red]work[/]") as progress:
        console.say("a[b].jpg [bold]x[/bold]")
        progress.advance(10)

    assert "a[b].jpg [bold]x[/bold]" in stream.getvalue()
    assert "[red]work[/]" in stream.getvalue()


@pytest.mark.parametrize(
    "kind", [io.TextIOWrapper, type("TerminalWrapper", (io.TextIOWrapper,), {"isatty": Terminal.isatty})]
)
def test_ascii_terminals_get_ascii(kind: Callable[..., io.TextIOWrapper]) -> None:
    """Where an encoding has no dots and dashes, plain signs stand for them; nothing raises."""
    buffer = io.BytesIO()
    stream = kind(buffer, encoding="ascii", errors="strict")
    console, clock = Console(stream, clock=Clock()), Clock()
    with console.progress(3, "décode") as progress:
        clock.now += 1
        progress.advance(3)
        console.say("3 × 4 · 0.97–0.99 · 猫")
    console.table(["class", "n"], [["猫", "3"]])
    stream.flush()

    assert b"3 x 4 - 0.97-0.99 - \\u732b" in buffer.getvalue()


def test_a_table_in_a_file_is_aligned_text() -> None:
    """Numbers to the right, words to the left, two spaces between."""
    console, stream, _ = plain()
    console.table(["run", "accuracy"], [["vgg16", "0.97"], ["a", "–"]], title="runs")

    assert stream.getvalue() == "runs\nrun    accuracy\nvgg16      0.97\na             –\n"


def test_a_table_on_a_terminal_is_drawn() -> None:
    """Rich draws it, and takes brackets in a cell for what they are."""
    stream = Terminal()
    Console(stream, color=False).table(["run", "accuracy"], [["a[b]", "0.97"]])

    assert "─" in stream.getvalue()
    assert "a[b]" in stream.getvalue()


def test_nothing_is_lost_in_a_table_that_is_too_wide() -> None:
    """On 80 columns, cells are neither cut nor folded: what a table names can be copied."""
    stream, cells = (
        Terminal(),
        ["2026-11-21T151201Z_resnet50-features-finetuned", "feature-extraction", "EfficientNetLite0"],
    )
    Console(stream, color=False).table(["run", "mode", "backbone"], [cells])

    assert "  ".join(cells) in stream.getvalue()


def test_a_result_goes_to_stdout_even_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet silences messages, not results."""
    console = Console(quiet=True)
    console.table(["a"], [["message"]])
    console.table(["a"], [["result"]], to="stdout")
    captured = capsys.readouterr()

    assert (captured.out, captured.err) == ("a\nresult\n", "")


def test_a_closed_stderr_does_not_end_the_work() -> None:
    """A log viewer that went away is no reason to lose a training."""
    stream = io.StringIO()
    console = Console(stream)
    stream.close()
    spoken(console)


def test_a_process_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythonw has none."""
    monkeypatch.setattr(sys, "stderr", None)
    console = Console()
    spoken(console)
    with console.progress(1, "work") as progress:
        progress.advance()

    assert console.stream is None


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_bars_appear_when_stderr_alone_is_a_terminal() -> None:
    """With stdout in a pipe the bars still move, and the pipe holds the result alone."""
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
    """Start-up is not spent on what a file never shows."""
    code = (
        "import io, sys; from cnncli.terminal.console import Console; console = Console(io.StringIO())\n"
        "with console.progress(1, 'a') as progress: progress.advance()\n"
        "console.table(['a'], [['b']])\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
