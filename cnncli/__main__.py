"""Run `cnncli` as `python -m cnncli`."""

from __future__ import annotations

from cnncli.cli import run

if __name__ == "__main__":
    run()
