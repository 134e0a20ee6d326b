"""What an error carries, and how a path is shown."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli import errors
from cnncli.errors import CnncliError, ConfigError, DataError, ImageError, MinimumMissedError, printable

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CnncliError)]


def test_an_error_carries_all_its_problems() -> None:
    """Several problems are several lines, of one error."""
    error = ConfigError(["a.yaml:1:1: one", "a.yaml:2:1: two"])

    assert error.problems == ("a.yaml:1:1: one", "a.yaml:2:1: two")
    assert str(error) == "a.yaml:1:1: one\na.yaml:2:1: two"


def test_one_problem_is_one_line() -> None:
    """A single text is one problem, not one per character."""
    assert DataError("no images").problems == ("no images",)


def test_a_image_error_names_the_image_and_the_reason() -> None:
    """The facts ride on the exception beside the sentence."""
    error = ImageError(Path("cats/1.jpg"), "truncated")

    assert (error.path, error.reason, str(error)) == (Path("cats/1.jpg"), "truncated", "cats/1.jpg: truncated")
    assert isinstance(error, DataError)


def test_exit_codes() -> None:
    """A missed minimum exits with 3, every other error of the user's with 2."""
    assert {kind: kind.exit_code for kind in TREE} == {kind: 3 if kind is MinimumMissedError else 2 for kind in TREE}


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_stands_for_and_is_in_the_tree(kind: type[CnncliError]) -> None:
    """Each class has a sentence of its own and a line in the drawing at the top of the module."""
    assert inspect.getdoc(kind)
    assert kind.__doc__ != CnncliError.__doc__ or kind is CnncliError
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or "")


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
    """Bytes that are no UTF-8 and control characters are escaped, everything else is left."""
    assert printable(path) == shown


@given(st.binary().map(os.fsdecode) | st.text())
def test_any_path_can_be_printed(path: str) -> None:
    """Whatever a file system calls a file, a UTF-8 terminal can show it on one line."""
    text = printable(path)

    text.encode("utf-8")
    assert len(text.splitlines()) <= 1
    assert text.isprintable()
