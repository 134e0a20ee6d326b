"""Find messages logged during a test by their codes."""

from __future__ import annotations

import pytest

from cnncli.errors import Message


def messages_in(caplog: pytest.LogCaptureFixture) -> list[Message]:
    """Return the logged messages that have a code, in order."""
    return [record.msg for record in caplog.records if isinstance(record.msg, Message)]


def message_in(caplog: pytest.LogCaptureFixture, code: str) -> Message:
    """Return the only logged message with this code."""
    (found,) = [message for message in messages_in(caplog) if message.code == code]
    return found


def codes_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the codes of the logged messages, in order."""
    return [message.code for message in messages_in(caplog)]
