"""The wording of all messages and of all help texts is approved."""

from __future__ import annotations

from tests.support.approve import APPROVED, wording


def test_the_wording_is_approved() -> None:
    """Messages and help texts equal the approved file, which `python -m tests.support.approve` writes."""
    assert wording().splitlines() == APPROVED.read_text(encoding="utf-8").splitlines()
