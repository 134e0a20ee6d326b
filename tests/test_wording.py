"""The wording of all messages and of all help is the approved one."""

from __future__ import annotations

from tests.support.approve import APPROVED, wording


def test_the_wording_is_approved() -> None:
    """Changed wording is approved by running `python -m tests.support.approve` and reading the diff."""
    assert wording().splitlines() == APPROVED.read_text(encoding="utf-8").splitlines()
