"""Progress of work on a dataset."""

from __future__ import annotations

import io

from cnncli.dataset.watching import watching
from cnncli.terminal.console import Console


def shown(seconds: list[float]) -> str:
    """Return what is shown of comparisons that are reported at these times."""
    screen = io.StringIO()
    clock = [0.0]
    console = Console(screen, live=False, clock=lambda: clock[-1])
    with watching(console) as progress:
        assert progress.comparing is not None
        for number, now in enumerate(seconds):
            clock.append(now)
            progress.comparing(number * 10**9, len(seconds) * 10**9)
    return screen.getvalue()


def test_a_long_search_is_shown() -> None:
    """Progress appears after a few seconds, and a summary at the end."""
    lines = shown([0.0, 1.0, 4.0, 15.0, 30.0]).splitlines()
    assert lines[-1].startswith("comparing images: 4,000 million pairs in 26 s")


def test_a_short_search_is_not_shown() -> None:
    """Most folders are compared at once."""
    assert shown([0.0, 1.0, 2.0]) == ""
