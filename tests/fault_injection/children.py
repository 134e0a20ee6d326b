"""`cnncli` in processes that can be killed, forked from this one: it has imported everything, and computed nothing yet.

TensorFlow's threads do not survive a fork; as long as nothing has been computed there are none.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

PATIENCE_S = 300.0
LOOK_S = 0.0005
MODULES = ("recipes.train", "recipes.resume", "recipes.evaluate", "recipes.predict", "cli.train", "cli.outcome")


@functools.cache
def preload() -> None:
    """Import what a training needs, once for all children."""
    from cnncli.networks.backend import import_keras

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_keras()
    for name in MODULES:
        import_module(f"cnncli.{name}")


class Child:
    """A command that runs.

    Args:
        words: what follows `cnncli` on the command line.
        output: file for what it prints, on both streams.
        environment: variables of its own.
        before: called in the child first, to do harm to it from within.
    """

    def __init__(
        self,
        words: Sequence[str],
        output: Path,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        preload()
        sys.stdout.flush()
        sys.stderr.flush()
        self.output = output
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(words, output, environment or {}, before)

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number where one ended it; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, seconds: float = PATIENCE_S) -> int | None:
        """Its exit code, None where it still runs after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return self._code

    def end(self) -> int:
        """Its exit code; AssertionError where it hangs."""
        code = self.wait()
        if code is None:
            self.send(signal.SIGKILL)
            self.wait()
            raise AssertionError(f"hangs: {self.said()}")
        return code

    def send(self, number: int) -> None:
        """Send a signal, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def said(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")


def _become(
    words: Sequence[str], output: Path, environment: Mapping[str, str], before: Callable[[], object] | None
) -> None:
    """Turn this forked process into the command; never returns."""
    code = 1
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.environ.update(environment)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if before is not None:
            before()
        from cnncli.cli import main

        code = main(list(words))
    finally:
        os._exit(code)
