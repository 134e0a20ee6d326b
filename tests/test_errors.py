"""Errors: messages, codes, exit codes, and paths that are safe to print."""

from __future__ import annotations

import copy
import errno
import inspect
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli import errors
from cnncli.errors import (
    CnncliError,
    ConfigError,
    DataError,
    ImageError,
    Message,
    MinimumMissedError,
    ParityError,
    printable,
    reason_of,
)

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CnncliError)]


def test_an_error_carries_all_its_problems() -> None:
    """One error contains all problems of a phase with their codes; text without a code has an empty code."""
    error = ConfigError([Message("config-key-unknown", "a.yaml:1:1: one", key="one"), "a.yaml:2:1: two"])

    assert error.problems == ("a.yaml:1:1: one", "a.yaml:2:1: two")
    assert str(error) == "a.yaml:1:1: one\na.yaml:2:1: two"
    assert error.codes == ("config-key-unknown", "")
    assert (error.code, error.facts) == ("config-key-unknown", {"key": "one"})


def test_one_problem_is_one_line() -> None:
    """A single string is one problem, not one problem per character."""
    assert DataError("no images").problems == ("no images",)


def test_an_image_error_names_the_image_and_the_reason() -> None:
    """The error has path and reason as attributes, and the code and facts of the reason."""
    error = ImageError(Path("cats/1.jpg"), Message("image-truncated", "truncated", line=3))

    assert (error.path, error.reason, str(error)) == (Path("cats/1.jpg"), "truncated", "cats/1.jpg: truncated")
    assert error.code == "image-truncated"
    assert error.facts == {"path": Path("cats/1.jpg"), "reason": "truncated", "line": 3}
    assert isinstance(error, DataError)


def test_exit_codes() -> None:
    """A missed minimum accuracy exits with 3, every other error class with 2."""
    assert {kind: kind.exit_code for kind in TREE} == {
        kind: 3 if kind in (MinimumMissedError, ParityError) else 2 for kind in TREE
    }


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_is_documented(kind: type[CnncliError]) -> None:
    """Each class has its own docstring."""
    assert inspect.getdoc(kind)
    assert kind.__doc__ != CnncliError.__doc__ or kind is CnncliError


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("cats/1.jpg", "cats/1.jpg"),
        ("Kätzchen/猫.jpg", "Kätzchen/猫.jpg"),
        (os.fsdecode(b"cats/\xff.jpg"), "cats/\\udcff.jpg"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
    ],
)
def test_a_path_is_shown_on_one_line_without_control_characters(path: str, shown: str) -> None:
    """Bytes that are not UTF-8 and control characters are escaped; all other characters are unchanged."""
    assert printable(path) == shown


@given(st.binary().map(os.fsdecode) | st.text())
def test_any_path_can_be_printed(path: str) -> None:
    """Every file name can be shown on one line of a UTF-8 terminal."""
    text = printable(path)

    text.encode("utf-8")
    assert len(text.splitlines()) <= 1
    assert text.isprintable()


def test_a_message_is_a_string_with_a_code_and_facts() -> None:
    """A message behaves like its text and can be copied."""
    message = Message("data-class-missing", "no class", path="cats")

    assert message == "no class"
    assert (message.code, message.facts) == ("data-class-missing", {"path": "cats"})
    assert Message.of(message) is message
    assert (Message.of("text").code, Message.of("text").facts) == ("", {})
    assert (copy.deepcopy(message).code, copy.deepcopy(message).facts) == (message.code, message.facts)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("a.parquet"), FileNotFoundError(errno.ENOENT, "gone", "a.parquet")]
)
def test_the_reason_of_a_missing_file_is_not_its_name(error: FileNotFoundError) -> None:
    """Some libraries give only the path, which messages have already."""
    assert "a.parquet" not in reason_of(error)
