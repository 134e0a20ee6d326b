"""`cnncli` in forked processes that can be killed. The parent imports everything and computes nothing.

TensorFlow starts its threads with the first computation, and threads do not survive a fork.
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

TIMEOUT_S = 300.0
POLL_S = 0.0005
MODULES = ("recipes.train", "recipes.resume", "recipes.evaluate", "recipes.predict", "cli.train", "cli.render")


@functools.cache
def preload() -> None:
    """Import the modules that training needs, once for all children."""
    from cnncli.networks.backend import import_keras

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_keras()
    for name in MODULES:
        import_module(f"cnncli.{name}")


class Child:
    """A running command.

    Args:
        words: Command line without `cnncli`.
        output: File for stdout and stderr.
        environment: Additional environment variables.
        before: Function that runs first in the child and can inject a fault there.
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
            _run_command(words, output, environment or {}, before)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the command runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, seconds: float = TIMEOUT_S) -> int | None:
        """Wait at most `seconds`, and return the exit code, or None if the command is still running."""
        deadline = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return self._code

    def end(self) -> int:
        """Wait for the end and return the exit code; raise AssertionError if the command hangs."""
        code = self.wait()
        if code is None:
            self.send(signal.SIGKILL)
            self.wait()
            raise AssertionError(f"hangs: {self.printed()}")
        return code

    def send(self, number: int) -> None:
        """Send a signal if the command is still running."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def printed(self) -> str:
        """Return the output so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")


def _run_command(
    words: Sequence[str], output: Path, environment: Mapping[str, str], before: Callable[[], object] | None
) -> None:
    """Replace this forked process by the command; never return."""
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
