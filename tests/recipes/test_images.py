"""What is said while images are looked at."""

from __future__ import annotations

import io

from cnncli.recipes.images import comparing_images
from cnncli.terminal.console import Console


def _said(seconds: list[float]) -> str:
    """After ten comparisons of images, when the clock stands at these times."""
    screen = io.StringIO()
    clock = [0.0]
    console = Console(screen, live=False, clock=lambda: clock[-1])
    with comparing_images(console) as comparing:
        for number, now in enumerate(seconds):
            clock.append(now)
            comparing(number * 10**9, len(seconds) * 10**9)
    return screen.getvalue()


def test_a_search_that_takes_long_is_shown() -> None:
    """From the moment on at which one begins to wonder."""
    said = _said([0.0, 1.0, 4.0, 15.0, 30.0]).splitlines()
    assert said[0].startswith("comparing images: 3,000/5,000 · ")
    assert said[-1].startswith("comparing images: 4,000 million pairs in 26 s")


def test_a_short_search_is_nobodys_business() -> None:
    """As with most folders."""
    assert _said([0.0, 1.0, 2.0]) == ""
